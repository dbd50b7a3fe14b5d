//! Manifests as a crash, or another program, may leave them; and the conditions that must hold after a repair,
//! expressed in whole lines and bytes, without the repair's own terms.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use csv_ingestor::journal::ingest::{Ingest, Order, Target};
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::{DuplicateAction, KeyRule, Settings};
use csv_ingestor::pipeline::manifest::{self, LINE_BYTES_MAX};
use csv_ingestor::types::{FileIdentity, FileTime, IngestId, Sha256, UnixMillis};
use serde::de::IgnoredAny;

/// Number of lines in [`POOL`].
const LINES: u64 = 8;
/// Bytes of one step.
const STEP_BYTES: usize = 4;
/// Kinds of steps.
pub const KINDS: u8 = 14;
/// The longest manifest, and one that is longer than the longest line and than one read: these are slow.
pub const FILE_BYTES_MAX: usize = 16 << 10;
/// See [`FILE_BYTES_MAX`].
pub const LONG_FILE_BYTES_MAX: usize = 320 << 10;

/// Lines as the ingestor writes them, of different lengths; one is longer than two sectors.
pub static POOL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| (0..LINES).map(line).collect());

fn line(id: u64) -> Vec<u8> {
    let name = match id {
        3 => format!("/in/{}.csv", "\u{1}é".repeat(200)).into_bytes(),
        5 => b"/in/\xff\n{}.csv".to_vec(),
        _ => format!("/in/{id}.csv").into_bytes(),
    };
    line_of(id, &name)
}

/// The line of a file with this name.
pub fn line_of(id: u64, source_path: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    manifest::line(
        Some("07070707070707070707070707070707"),
        &ingest_of(id, PathBuf::from(OsString::from_vec(source_path.to_vec()))),
        &mut line,
    );
    line
}

/// A file with this name, on its way, and with the same name in the warehouse.
pub fn ingest_of(id: u64, source_path: PathBuf) -> Ingest {
    let time = FileTime { sec: 1_767_323_000, nsec: 0 };
    let settings = Settings {
        input: "/in".into(),
        warehouse: "/warehouse".into(),
        manifests: "/manifests".into(),
        duplicates: DuplicateAction::Keep,
        duplicates_dir: None,
    };
    Ingest {
        id: IngestId(id),
        state: FileState::Moved,
        group: None,
        identity: FileIdentity { device: 1, inode: id, size: 14, mtime: time, ctime: time },
        discovered_at: UnixMillis(1_767_323_045_778_u64.saturating_add(id)),
        order: Order::default(),
        target: Some(Target {
            sha256: Sha256([id as u8; 32]),
            warehouse_path: source_path.clone(),
            copy: None,
            verified_by: None,
            upload: None,
        }),
        source_path,
        sidecar: None,
        key_rule: KeyRule::default(),
        settings: Arc::new(settings),
        duplicate: None,
        profiled: None,
        quarantined: None,
        claimed: None,
    }
}

/// The lines that are due, selected by the bits of a byte.
pub fn expected(bits: u8) -> Vec<Vec<u8>> {
    POOL.iter().enumerate().filter(|(index, _)| bits >> index & 1 != 0).map(|(_, line)| line.clone()).collect()
}

/// The manifest that these steps make, at most `bytes_max` long; `batch` are the lines that are due.
pub fn content(steps: &[u8], batch: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let batch = batch.concat();
    let mut content = Vec::new();
    let mut rest = steps;
    while let Some((step, behind)) = rest.split_first_chunk::<STEP_BYTES>() {
        rest = behind;
        let (kind, low, place) = (step[0] % KINDS, step[1], usize::from(u16::from_le_bytes([step[2], step[3]])));
        let line = &POOL[usize::from(low) % POOL.len()];
        match kind {
            // Lines of the ingestor, and the beginning of one.
            0 | 1 => content.extend_from_slice(line),
            2 => content.extend_from_slice(&line[..place % line.len()]),
            // The beginning of the batch, and its end.
            3 => content.extend_from_slice(&batch[..place.min(batch.len())]),
            4 => content.extend_from_slice(&batch[batch.len() - place.min(batch.len())..]),
            // Lines of another program.
            5 => content.extend_from_slice(format!("{{\"n\":{low}}}\n").as_bytes()),
            6 => content.extend_from_slice(format!("{{\"n\":{low},\"to").as_bytes()),
            7 => {
                let (bytes, behind) = rest.split_at(rest.len().min(usize::from(low % 32)));
                content.extend_from_slice(bytes);
                rest = behind;
            }
            8 => content.push(b'\n'),
            // One or more sectors that a power cut lost.
            9 => {
                let from = (place % 64 * 512).min(content.len());
                let to = (from + 512 * (1 + usize::from(low % 4))).min(content.len());
                content[from..to].fill(0);
            }
            10 if low.is_multiple_of(16) => content.resize((content.len() + place * 8).min(bytes_max), low / 16),
            10 => content.resize(content.len() + place % 2048, 0),
            11 => {
                if let Some(byte) = content.get_mut(place) {
                    *byte ^= low;
                }
            }
            12 => content.truncate(content.len().saturating_sub(place % 512)),
            _ => content.extend_from_slice(&POOL[usize::from(low) % 3]),
        }
        content.truncate(bytes_max);
    }
    content
}

/// The whole lines of a manifest, each with its end, and the bytes after the last.
pub fn lines(content: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let torn = lines.pop_if(|last| !last.ends_with(b"\n")).unwrap_or(&[]);
    (lines, torn)
}

/// The manifest with a newline after its last record, if that alone is missing: an editor may save it like this, or a power
/// cut leave zeros there. The record counts as a whole line, unless it is due: then the repair writes it.
pub fn ended(before: &[u8], due: &[Vec<u8>]) -> Vec<u8> {
    let (whole, torn) = lines(before);
    let zeros = torn.iter().rev().take_while(|byte| **byte == 0).count();
    let record = &torn[..torn.len() - zeros];
    let is_object = record.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(record).is_ok();
    let is_due = due.iter().any(|due| due.strip_suffix(b"\n") == Some(record));
    if is_object && torn.len() < LINE_BYTES_MAX && !is_due {
        [&whole.concat(), record, b"\n"].concat()
    } else {
        before.to_vec()
    }
}

fn count(lines: &[&[u8]], wanted: &[u8]) -> usize {
    lines.iter().filter(|line| **line == wanted).count()
}

fn has_zeros(line: &[u8]) -> bool {
    line.contains(&0)
}

/// The lines that are due and not in the manifest.
pub fn missing<'a>(before: &[u8], due: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
    let (there, _) = lines(before);
    due.iter().map(Vec::as_slice).filter(|line| !there.contains(line)).collect()
}

/// Must hold after any repair, also one after a crash during a repair: no whole line is lost, those that are due occur
/// once, and there is no line that nothing has written.
pub fn assert_lines_kept(before: &[u8], after: &[u8], due: &[Vec<u8>]) {
    let ((were, _), (are, torn)) = (lines(before), lines(after));
    assert!(torn.is_empty(), "it does not end with a line end");
    for line in due {
        assert_eq!(count(&are, line), count(&were, line).max(1), "a line that is due");
    }
    let mut rest = are.iter();
    for line in were.iter().filter(|line| !has_zeros(line)) {
        assert!(rest.any(|there| there == line), "a line is lost: {:?}", String::from_utf8_lossy(line));
    }
    for line in are.iter().filter(|line| !has_zeros(line)) {
        let is_known = were.contains(line) || due.iter().any(|due| due == line);
        assert!(is_known, "a line that nothing has written: {:?}", String::from_utf8_lossy(line));
    }
}

/// Must hold after a repair that was not interrupted: the whole lines are followed by the missing ones; or, if a power
/// cut lost sectors of what was being written, the old bytes with the lost ones filled in.
pub fn assert_repaired(before: &[u8], after: &[u8], due: &[Vec<u8>]) {
    assert_lines_kept(before, after, due);
    let (were, _) = lines(before);
    let appended = after == [were.concat(), missing(before, due).concat()].concat();
    let filled_in = has_zeros(before)
        && after.len() >= before.len()
        && before.iter().zip(after).all(|(was, is)| *was == 0 || was == is);
    assert!(appended || filled_in, "neither appended to nor filled in");
}

/// True if nothing may be cut off: the bytes after another program's last whole line are the beginning of the lines
/// that are due.
pub fn is_begun(before: &[u8], due: &[Vec<u8>]) -> bool {
    let (were, torn) = lines(before);
    let is_due = |line: &[u8]| due.iter().any(|due| due == line);
    let ours = were.iter().rev().take_while(|line| is_due(line)).count();
    let (others, ours) = were.split_at(were.len() - ours);
    let is_object = |line: &&[u8]| line.starts_with(b"{") && line.ends_with(b"}\n") && !has_zeros(line);
    let batch: Vec<u8> = due
        .iter()
        .filter(|line| ours.contains(&line.as_slice()) || !others.contains(&line.as_slice()))
        .flatten()
        .copied()
        .collect();
    others.last().is_none_or(is_object) && batch.starts_with(&[&ours.concat(), torn].concat())
}
