//! Profiles a CSV file: rows, columns, header, and the first fault.
//!
//! Invariants:
//! - It takes the pieces of a file in order, as they are hashed: no extra reads, and nothing is kept beyond the header.
//! - The boundaries between pieces make no difference to a whole file.
//! - What a `.gz` unpacks to is limited, and so are the time and the memory that it takes.

mod blocks;
pub mod gzip;
mod header;
mod text;

use crate::journal::record::{Profile, Validation};
use gzip::{Gunzip, unpacked_bytes_max};
use text::Text;

/// The suffix of files whose text is compressed, and is unpacked.
const GZIP: &[u8] = b".gz";
/// Suffixes of files whose bytes are not the text itself.
const NO_TEXT: [&[u8]; 9] = [GZIP, b".bz2", b".xz", b".zst", b".lz4", b".br", b".zip", b".parquet", b".tar"];
/// Suffixes of files whose fields are separated by tabs, whatever the options say.
const TABBED: [&[u8]; 2] = [b".tsv", b".tab"];

/// Profiles one file.
pub struct Profiler {
    text: Text,
    gunzip: Option<Gunzip>,
}

impl Profiler {
    /// A profiler for a file of this name and size; None if its bytes are no text, not even a compressed one. `look` says
    /// how it is parsed, except for the delimiter of tab-separated files.
    pub fn of(name: &[u8], look: &Validation, size: u64) -> Option<Profiler> {
        let name = name.to_ascii_lowercase();
        let (name, is_packed) = match name.strip_suffix(GZIP) {
            Some(name) => (name, true),
            None => (name.as_slice(), false),
        };
        let is_one_of = |endings: &[&[u8]]| endings.iter().any(|ending| name.ends_with(ending));
        let delimiter = if is_one_of(&TABBED) { b'\t' } else { look.delimiter };
        (!is_one_of(&NO_TEXT)).then(|| Profiler {
            text: Text::new(delimiter, look),
            gunzip: is_packed.then(|| Gunzip::new(unpacked_bytes_max(size))),
        })
    }

    /// True once a fault was found: no more needs to be fed.
    pub fn has_fault(&self) -> bool {
        self.text.has_fault()
    }

    /// Adds the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.has_fault() {
            return;
        }
        let Some(gunzip) = &mut self.gunzip else { return self.text.feed(piece) };
        let text = &mut self.text;
        let unpacked = gunzip.feed(piece, &mut |unpacked| {
            text.feed(unpacked);
            !text.has_fault()
        });
        if let Err(fault) = unpacked {
            self.text.break_off(fault.to_string());
        }
    }

    /// The profile of the whole file.
    pub fn finish(mut self) -> Profile {
        if let Some(Err(fault)) = self.gunzip.map(Gunzip::finish) {
            self.text.break_off(fault.to_string());
        }
        self.text.finish()
    }
}

#[cfg(test)]
mod tests;
