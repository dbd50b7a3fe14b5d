//! Names that are made of others.
//!
//! Invariants: every name fits [`NAME_BYTES_MAX`]; what the name's end says of the file (its extensions) stays its end.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The longest name that Linux's file systems take.
pub const NAME_BYTES_MAX: usize = 255;

/// Endings that compress what the extension before them says.
const COMPRESSIONS: [&[u8]; 6] = [b"gz", b"bz2", b"xz", b"zst", b"lz4", b"br"];

/// `STEM-SUFFIX.EXT`; the stem is cut where the name would have more bytes than `bytes_max`.
pub fn suffixed_name(name: &OsStr, suffix: &str, bytes_max: usize) -> OsString {
    let bytes = name.as_bytes();
    let (mut stem, mut extension) = bytes.split_at(extension_start(bytes));
    // An "extension" that leaves no room for the suffix is none.
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

/// The first `room` bytes, without half a UTF-8 character at the end.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    match std::str::from_utf8(stem) {
        Ok(text) => &stem[..text.floor_char_boundary(room)],
        Err(_) => &stem[..room],
    }
}

/// Where the extension begins, its dot included: `.csv`, and `.csv.gz` as one. A leading dot begins none.
fn extension_start(name: &[u8]) -> usize {
    let last_dot = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let Some(dot) = last_dot(name) else { return name.len() };
    if !COMPRESSIONS.iter().any(|ending| name[dot + 1..].eq_ignore_ascii_case(ending)) {
        return dot;
    }
    last_dot(&name[..dot]).unwrap_or(dot)
}
