//! Names that are made from other names.
//!
//! Invariants: every name fits [`NAME_BYTES_MAX`]; the extensions stay at the end of the name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The longest name that Linux file systems accept.
pub const NAME_BYTES_MAX: usize = 255;

/// Extensions of compression formats: the extension before them belongs to the file's type.
const COMPRESSIONS: [&[u8]; 6] = [b"gz", b"bz2", b"xz", b"zst", b"lz4", b"br"];

/// `STEM-SUFFIX.EXT`. The stem is cut so that the name has at most `bytes_max` bytes.
pub fn suffixed_name(name: &OsStr, suffix: &str, bytes_max: usize) -> OsString {
    let bytes = name.as_bytes();
    let (mut stem, mut extension) = bytes.split_at(extension_start(bytes));
    // An "extension" that leaves no room for the suffix does not count as one.
    if extension.len() + suffix.len() + 2 > bytes_max {
        (stem, extension) = (bytes, b"");
    }
    let room = bytes_max - extension.len() - suffix.len() - 1;
    let mut result = cut(stem, room).to_vec();
    result.push(b'-');
    result.extend_from_slice(suffix.as_bytes());
    result.extend_from_slice(extension);
    OsString::from_vec(result)
}

/// The name without its extension, if it has one.
pub fn stem(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    OsStr::from_bytes(&bytes[..extension_start(bytes)])
}

/// The first `room` bytes, fewer if that would split a UTF-8 character.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    match std::str::from_utf8(stem) {
        Ok(text) => &stem[..text.floor_char_boundary(room)],
        Err(_) => &stem[..room],
    }
}

/// Where the extension begins, including its dot: `.csv`, and `.csv.gz` as one. A leading dot does not begin an
/// extension.
fn extension_start(name: &[u8]) -> usize {
    let last_dot = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let Some(dot) = last_dot(name) else { return name.len() };
    if !COMPRESSIONS.iter().any(|ending| name[dot + 1..].eq_ignore_ascii_case(ending)) {
        return dot;
    }
    last_dot(&name[..dot]).unwrap_or(dot)
}
