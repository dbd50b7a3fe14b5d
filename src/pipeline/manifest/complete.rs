//! Completing a manifest: what a crash has left of a batch, and what else stands behind its last whole line.
//!
//! Invariants:
//! - Whole lines stay, whatever they are.
//! - What is cut off is a last line that has no end, and is not ours to complete.

use serde::de::IgnoredAny;

use super::line::LINE_BYTES_MAX;
use crate::fs::{self, Fs};

/// Bytes read at once while a manifest is searched.
const SEARCH_BYTES: usize = 256 << 10;

/// Sees to it that every one of `lines` stands in the manifest, once, durably; returns how many were missing.
pub(super) fn complete<F: Fs>(fs: &F, file: &F::File, lines: &[Vec<u8>]) -> fs::Result<usize> {
    let found = search(fs, file, lines)?;
    // What is found may be in the page cache alone, left clean there by a sync that failed; and where others have written
    // to the same page since, the cache could not be emptied of it. Written once more, it is synced below.
    for (line, at) in lines.iter().zip(&found.at) {
        if let Some(at) = at {
            fs::write_all_at(fs, file, line, *at)?;
        }
    }
    let missing_before = |limit: u64| {
        let missing = lines.iter().zip(&found.at).filter(|(_, at)| at.is_none_or(|at| at >= limit));
        missing.flat_map(|(line, _)| line.iter().copied()).collect::<Vec<u8>>()
    };
    // Behind the last line that is not one of ours to write, only our own batch can stand: as it was left.
    let batch = missing_before(found.others_end);
    if is_torn_from(fs, file, found.others_end, found.len, &batch)? {
        fs::write_all_at(fs, file, &batch, found.others_end)?;
    } else {
        // Something else was torn there. Whole lines stay, whatever they are.
        let rest = missing_before(u64::MAX);
        let end = end_last_line(fs, file, found.lines_end, found.len, lines)?;
        fs::write_all_at(fs, file, &rest, end)?;
    }
    fs.sync_data(file)?;
    Ok(found.at.iter().filter(|at| at.is_none()).count())
}

/// The end of the file's last whole line. What another ingestor's crash left behind it is cut off; that one's recovery will
/// write its line anew.
pub(super) fn end_of_lines<F: Fs>(fs: &F, file: &F::File) -> fs::Result<u64> {
    let len = fs.stat_file(file)?.identity.size;
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(SEARCH_BYTES as u64);
        // The last byte alone first: it is nearly always the newline.
        let start = if end == len { end - 1 } else { start };
        let mut piece = vec![0; (end - start) as usize];
        fs::read_full_at(fs, file, &mut piece, start)?;
        if let Some(newline) = piece.iter().rposition(|byte| *byte == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    end_last_line(fs, file, end, len, &[])
}

/// Sees to it that the file, whose last newline stands before `start`, ends behind a whole line; returns where. A record that
/// lacks nothing but its newline (an editor may save a file so) gets that; it is no torn one, since no beginning of an
/// object is an object. What else stands there is cut off, and so is one of `lines`, which the caller writes.
fn end_last_line<F: Fs>(fs: &F, file: &F::File, start: u64, len: u64, lines: &[Vec<u8>]) -> fs::Result<u64> {
    if start >= len {
        return Ok(start);
    }
    if len - start < LINE_BYTES_MAX as u64 {
        let mut last = vec![0; (len - start) as usize];
        let read = fs::read_full_at(fs, file, &mut last, start)?;
        let is_whole =
            read == last.len() && last.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(&last).is_ok();
        last.push(b'\n');
        if is_whole && !lines.contains(&last) {
            fs::write_all_at(fs, file, b"\n", len)?;
            return Ok(len + 1);
        }
    }
    fs.set_len(file, start)?;
    fs.sync_data(file)?;
    Ok(start)
}

/// What a search through a manifest found.
pub(super) struct Search {
    /// For each line asked for, where it stands.
    pub(super) at: Vec<Option<u64>>,
    /// Behind the last whole line that was not asked for.
    others_end: u64,
    /// Behind the last line that has its end, whatever it holds.
    lines_end: u64,
    /// Behind the last byte that was read.
    len: u64,
}

/// Reads the manifest from its beginning to its end. A line that is none (with zeros where a power cut took a sector,
/// or what somebody else wrote) is passed over.
pub(super) fn search<F: Fs>(fs: &F, file: &F::File, lines: &[Vec<u8>]) -> fs::Result<Search> {
    let wanted: hashbrown::HashMap<&[u8], usize> =
        lines.iter().enumerate().map(|(index, line)| (line.as_slice(), index)).collect();
    let mut search = Search { at: vec![None; lines.len()], others_end: 0, lines_end: 0, len: 0 };
    let mut pending: Vec<u8> = Vec::new();
    let mut piece = vec![0; SEARCH_BYTES];
    let mut offset = 0;
    // Bytes of the line under way that are not kept, and whether they may be an object's.
    let (mut passed_over, mut passed_object) = (0, true);
    loop {
        let read = fs.read_at(file, &mut piece, offset)?;
        if read == 0 {
            // Not what stat said before: somebody who does not ask for the lock may append meanwhile.
            search.len = offset;
            return Ok(search);
        }
        offset += read as u64;
        pending.extend_from_slice(&piece[..read]);
        let mut taken = 0;
        while let Some(length) = pending[taken..].iter().position(|byte| *byte == b'\n') {
            let line = &pending[taken..=taken + length];
            let start = search.lines_end;
            search.lines_end += std::mem::take(&mut passed_over) + length as u64 + 1;
            let is_whole = search.lines_end - start == line.len() as u64;
            let is_object = if is_whole { is_line(line) } else { passed_object && is_end_of_line(line) };
            match wanted.get(line).filter(|_| is_whole) {
                Some(index) => search.at[*index] = Some(start),
                None if is_object => search.others_end = search.lines_end,
                None => {}
            }
            taken += length + 1;
        }
        pending.drain(..taken);
        if pending.len() > LINE_BYTES_MAX {
            // No line of ours: it is passed over, and only its last byte kept, which may be an object's end.
            let passed = pending.len() - 1;
            let begins = if passed_over == 0 { pending.starts_with(b"{") } else { passed_object };
            passed_object = begins && !pending.contains(&0);
            passed_over += passed as u64;
            pending.drain(..passed);
        }
    }
}

/// A line of JSON has no raw zero in it, and is an object.
fn is_line(line: &[u8]) -> bool {
    line.starts_with(b"{") && is_end_of_line(line)
}

fn is_end_of_line(line: &[u8]) -> bool {
    line.ends_with(b"}\n") && !line.contains(&0)
}

/// True if everything from `start` to the file's end is `batch`, as far as it was written: its beginning, perhaps with
/// zeros where sectors are missing.
fn is_torn_from<F: Fs>(fs: &F, file: &F::File, start: u64, len: u64, batch: &[u8]) -> fs::Result<bool> {
    let length = len - start;
    if length > batch.len() as u64 {
        return Ok(false);
    }
    let mut tail = vec![0; length as usize];
    let read = fs::read_full_at(fs, file, &mut tail, start)?;
    Ok(tail[..read].iter().zip(batch).all(|(there, expected)| *there == 0 || there == expected))
}
