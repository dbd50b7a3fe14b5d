//! The index of a journal's lines by their numbers: in which manifest, and where.
//!
//! ```text
//! MANIFESTS/.csv-ingestor/lines/JOURNAL/00000000000000000001.idx    header, entries
//!                                       00000000000000040961.idx
//! ```
//!
//! Invariants:
//! - It is a hint. An entry is written when its lines are durable, and is itself not synced; a reader looks at the line to
//!   which it leads, and searches the manifests if that is another one. It may be removed at any time.
//! - The entries of a file, and the files by their names, ascend by the number of their first line.
//! - A file has at most [`LINE_INDEX_ENTRIES_MAX`] entries.

mod find;
mod search;
mod write;

use std::path::{Path, PathBuf};

use super::line::{MANIFEST_NAME, hour_dir};
use crate::journal::hex;
use crate::limits::LINE_INDEX_ENTRIES_MAX;
use crate::types::UnixMillis;

pub use find::{Finder, journals};
pub use search::search;
pub use write::Numbers;

/// Below the manifests: the directory that readers of manifests ignore, and in it that of all indexes.
const DIR: &str = ".csv-ingestor/lines";
const MAGIC: [u8; 8] = *b"CSVI-LNX";
const VERSION: u16 = 1;
/// Bytes of the header, and of an entry.
pub(super) const ENTRY_BYTES: usize = 32;
/// The digits of a file's name: the number of the first line, zero-padded.
const NAME_DIGITS: usize = 20;
const NAME_END: &str = ".idx";
const HOUR_MS: u64 = 3_600_000;

/// Lines with consecutive numbers that were written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of the first.
    pub first: u64,
    /// How many there are; at least one.
    pub lines: u32,
    /// The manifest's hour: hours since 1970-01-01T00:00:00Z.
    pub hour: u32,
    /// Where the first begins.
    pub offset: u64,
    /// When they were written, by the wall clock: seconds since 1970-01-01T00:00:00Z.
    pub written_at: u32,
}

impl Entry {
    /// The number of the last line.
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.lines) - 1
    }

    /// The path of the manifest.
    pub fn manifest(&self, root: &Path) -> PathBuf {
        hour_dir(root, UnixMillis(u64::from(self.hour) * HOUR_MS)).join(MANIFEST_NAME)
    }

    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.lines.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.hour.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.written_at.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// None if these are not the bytes of an entry: torn by a crash, or lost with it.
    fn decode(bytes: &[u8]) -> Option<Entry> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let entry = Entry {
            first: u64_at(0)?,
            lines: u32_at(8)?,
            hour: u32_at(12)?,
            offset: u64_at(16)?,
            written_at: u32_at(24)?,
        };
        let is_one = u32_at(28)? == crc32c::crc32c(&bytes[..28]);
        let fits = entry.first > 0 && entry.lines > 0 && entry.first.checked_add(u64::from(entry.lines)).is_some();
        (is_one && fits).then_some(entry)
    }
}

/// The header of a journal's files.
fn header(journal: &[u8; 16]) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..28].copy_from_slice(journal);
    let checksum = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The directory of a journal's index.
fn dir(root: &Path, journal: &[u8; 16]) -> PathBuf {
    root.join(DIR).join(hex(journal))
}

fn name(first: u64) -> String {
    format!("{first:0NAME_DIGITS$}{NAME_END}")
}

/// The number of the first line in the file with this name; None if it is no name of such a file.
fn first_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_END).filter(|digits| digits.len() == NAME_DIGITS)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Where an entry is in its file.
const fn offset_of(place: u64) -> u64 {
    (place + 1) * ENTRY_BYTES as u64
}

/// How many whole entries a file of this length has, at most.
fn entries_in(file_bytes: u64) -> u64 {
    (file_bytes / ENTRY_BYTES as u64).saturating_sub(1).min(LINE_INDEX_ENTRIES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_its_bytes_and_any_other_byte_spoils_it() {
        let entry = Entry { first: 300, lines: 7, hour: 494_000, offset: 1 << 33, written_at: 1_800_000_000 };
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes), Some(entry));
        assert_eq!(entry.last(), 306);
        for at in 0..ENTRY_BYTES {
            let mut other = bytes;
            other[at] ^= 16;
            assert_eq!(Entry::decode(&other), None);
        }
        assert_eq!(Entry::decode(&bytes[..31]), None);
        assert_eq!(Entry::decode(&[0; ENTRY_BYTES]), None);
        assert_eq!(Entry::decode(&Entry { lines: 0, ..entry }.encode()), None);
        assert_eq!(Entry::decode(&Entry { first: u64::MAX, ..entry }.encode()), None);
    }

    #[test]
    fn a_file_is_named_by_its_first_line() {
        assert_eq!(first_in(&name(40_961)), Some(40_961));
        assert_eq!(first_in(&name(u64::MAX)), Some(u64::MAX));
        for other in ["1.idx", "0000000000000000000a.idx", "00000000000000000001", "99999999999999999999.idx"] {
            assert_eq!(first_in(other), None);
        }
    }

    #[test]
    fn the_manifest_of_an_entry_is_that_of_its_hour() {
        let at = UnixMillis(1_763_457_909_123);
        let entry = Entry { first: 1, lines: 1, hour: at.hour() as u32, offset: 0, written_at: 0 };
        assert_eq!(entry.manifest(Path::new("/m")), Path::new("/m/2025/11/18/09/manifest.jsonl"));
    }
}
