//! Completes a manifest after a crash: the batch that was being written, and any other text after the last whole line.
//!
//! Invariants:
//! - Whole lines stay, whatever they contain.
//! - Only one thing is ever cut off: a last line that has no end and that this ingestor cannot complete.

use serde::de::IgnoredAny;

use super::line::LINE_BYTES_MAX;
use crate::fs::{self, Fs};

/// Bytes read at once when a manifest is searched.
const SEARCH_BYTES: usize = 256 << 10;

/// Makes sure that the manifest has each of `lines` once, durably; returns how many were missing.
pub(super) fn complete<F: Fs>(fs: &F, file: &F::File, lines: &[Vec<u8>]) -> fs::Result<usize> {
    let found = search(fs, file, lines)?;
    // After a failed fsync the kernel marks the pages clean, so a line that is found here may exist in the page cache
    // only. Dropping the cache does not help where another process has written to the same page since. So every found
    // line is written again, which makes its page dirty, and is synced below.
    for (line, at) in lines.iter().zip(&found.at) {
        if let Some(at) = at {
            fs::write_all_at(fs, file, line, *at)?;
        }
    }
    let missing_before = |limit: u64| {
        let missing = lines.iter().zip(&found.at).filter(|(_, at)| at.is_none_or(|at| at >= limit));
        missing.flat_map(|(line, _)| line.iter().copied()).collect::<Vec<u8>>()
    };
    // After the last line that is not one of `lines`, there can only be this batch, as the crash left it.
    let batch = missing_before(found.others_end);
    if is_torn_from(fs, file, found.others_end, found.len, &batch)? {
        fs::write_all_at(fs, file, &batch, found.others_end)?;
    } else {
        // The tail is not of this batch. Whole lines stay, whatever they contain.
        let rest = missing_before(u64::MAX);
        let end = end_last_line(fs, file, found.lines_end, found.len, lines)?;
        fs::write_all_at(fs, file, &rest, end)?;
    }
    fs.sync_data(file)?;
    Ok(found.at.iter().filter(|at| at.is_none()).count())
}

/// The end of the file's last whole line. A torn line after it, left by another ingestor's crash, is cut off; that
/// ingestor's recovery writes it again.
pub(super) fn end_of_lines<F: Fs>(fs: &F, file: &F::File) -> fs::Result<u64> {
    let len = fs.stat_file(file)?.identity.size;
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(SEARCH_BYTES as u64);
        // Read the last byte alone first: it is nearly always the newline.
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

/// Makes the file, whose last newline is before `start`, end with a whole line; returns its new end. A record that lacks
/// only its newline (an editor may save it like this, and a power cut leave a zero in its place) gets one. It cannot be
/// torn, since no proper prefix of a JSON object is a JSON object. Any other text is cut off, and so is one of `lines`,
/// which the caller writes.
fn end_last_line<F: Fs>(fs: &F, file: &F::File, start: u64, len: u64, lines: &[Vec<u8>]) -> fs::Result<u64> {
    if start >= len {
        return Ok(start);
    }
    let end = match whole_record(fs, file, start, len)? {
        Some(record) if !lines.contains(&record) => {
            let end = start + record.len() as u64;
            fs::write_all_at(fs, file, b"\n", end - 1)?;
            end
        }
        _ => start,
    };
    if end < len {
        fs.set_len(file, end)?;
    }
    // Durable before anything follows: of two writes, a power cut may keep the later one alone.
    fs.sync_data(file)?;
    Ok(end)
}

/// The record between `start` and the file's end, with the newline that it lacks; None if there is anything else.
fn whole_record<F: Fs>(fs: &F, file: &F::File, start: u64, len: u64) -> fs::Result<Option<Vec<u8>>> {
    if len - start >= LINE_BYTES_MAX as u64 {
        return Ok(None);
    }
    let mut last = vec![0; (len - start) as usize];
    let read = fs::read_full_at(fs, file, &mut last, start)?;
    let is_read = read == last.len();
    last.truncate(last.iter().rposition(|byte| *byte != 0).map_or(0, |end| end + 1));
    let is_record = is_read && last.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(&last).is_ok();
    last.push(b'\n');
    Ok(is_record.then_some(last))
}

/// The result of searching a manifest.
pub(super) struct LinesFound {
    /// For each requested line, its offset.
    pub(super) at: Vec<Option<u64>>,
    /// The end of the last whole line that was not requested.
    others_end: u64,
    /// The end of the last line that has a newline, whatever it contains.
    lines_end: u64,
    /// The end of the last byte that was read.
    len: u64,
}

/// Reads the manifest from beginning to end. Text that is not a line of an ingestor (with zeros where a power cut lost a
/// sector, or written by another program) is skipped.
pub(super) fn search<F: Fs>(fs: &F, file: &F::File, lines: &[Vec<u8>]) -> fs::Result<LinesFound> {
    let wanted: hashbrown::HashMap<&[u8], usize> =
        lines.iter().enumerate().map(|(index, line)| (line.as_slice(), index)).collect();
    let mut search = LinesFound { at: vec![None; lines.len()], others_end: 0, lines_end: 0, len: 0 };
    let mut pending: Vec<u8> = Vec::new();
    let mut piece = vec![0; SEARCH_BYTES];
    let mut offset = 0;
    // Bytes of the current line that were dropped, and whether they may belong to an object.
    let (mut passed_over, mut passed_object) = (0, true);
    loop {
        let read = fs.read_at(file, &mut piece, offset)?;
        if read == 0 {
            // Not the size that stat returned before: a process that does not take the lock may append meanwhile.
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
            // Longer than any line of an ingestor: skip it and keep only its last byte, which may end an object.
            let passed = pending.len() - 1;
            let begins = if passed_over == 0 { pending.starts_with(b"{") } else { passed_object };
            passed_object = begins && !pending.contains(&0);
            passed_over += passed as u64;
            pending.drain(..passed);
        }
    }
}

/// True for a line that looks like a JSON object: it contains no raw zero.
fn is_line(line: &[u8]) -> bool {
    line.starts_with(b"{") && is_end_of_line(line)
}

fn is_end_of_line(line: &[u8]) -> bool {
    line.ends_with(b"}\n") && !line.contains(&0)
}

/// True if the file from `start` to its end is `batch` as far as it was written: a prefix, perhaps with zeros where
/// sectors are missing.
fn is_torn_from<F: Fs>(fs: &F, file: &F::File, start: u64, len: u64, batch: &[u8]) -> fs::Result<bool> {
    let length = len - start;
    if length > batch.len() as u64 {
        return Ok(false);
    }
    let mut tail = vec![0; length as usize];
    let read = fs::read_full_at(fs, file, &mut tail, start)?;
    Ok(tail[..read].iter().zip(batch).all(|(there, expected)| *there == 0 || there == expected))
}
