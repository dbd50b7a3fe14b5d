//! Names in the directory of temporary files.
//!
//! Invariant: names of uploads and of temporary files differ in their first letters: `up-`, or a hex digit and 31 more.

use std::ffi::OsString;

use crate::fs::Fs;

/// What names of uploads begin with.
pub(super) const PREFIX: &str = "up-";
/// Hex digits of an id.
pub(super) const ID_DIGITS: usize = 32;

/// 32 hex digits that nobody else draws.
pub(super) fn random<F: Fs>(fs: &F) -> String {
    fs.random().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the upload to which this file belongs: `up-ID`.
pub(super) fn upload_of(name: &[u8]) -> Option<&[u8]> {
    name.starts_with(PREFIX.as_bytes()).then(|| name.get(..PREFIX.len() + ID_DIGITS)).flatten()
}

/// The name of a part's file.
pub(super) fn part_name(upload: &str, number: u16, etag: &str) -> OsString {
    OsString::from(format!("{PREFIX}{upload}-{number:05}-{etag}"))
}
