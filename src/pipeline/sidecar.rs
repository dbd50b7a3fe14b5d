//! What a sidecar file says about its data file: nothing, or its SHA-256.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::types::Sha256;

/// More of a sidecar than this is not read.
pub const SIDECAR_BYTES_MAX: usize = 64 << 10;

/// The name of `name`'s sidecar.
pub fn sidecar_name(name: &OsStr, suffix: &OsStr) -> OsString {
    let mut sidecar = name.to_owned();
    sidecar.push(suffix);
    sidecar
}

/// The name whose sidecar `name` is, if it is one.
pub fn data_name(name: &OsStr, suffix: &OsStr) -> Option<OsString> {
    let stem = name.as_bytes().strip_suffix(suffix.as_bytes())?;
    (!stem.is_empty()).then(|| OsString::from_vec(stem.to_vec()))
}

/// The SHA-256 in a sidecar of `name`: a bare one, or the line for `name` as `sha256sum` (GNU coreutils) writes it,
/// plain (`HASH  NAME`, `HASH *NAME`) or tagged (`SHA256 (NAME) = HASH`). None if it holds none: then it says only
/// that the file is complete.
pub fn expected_sha256(content: &[u8], name: &OsStr) -> Option<Sha256> {
    let mut lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let (first, rest) = (lines.next()?, lines);
    let only_line = rest.clone().next().is_none();
    let named = std::iter::once(first).chain(rest).filter_map(parse_line).find(|(_, of)| is_name(of, name));
    match named {
        Some((sha256, _)) => Some(sha256),
        // A single line counts whatever path it names: upstreams compute the sum where the file was made.
        None if only_line => parse_line(first).map(|(sha256, _)| sha256),
        None => None,
    }
}

/// The hash and the name in a line; the name is empty if the line has none.
fn parse_line(line: &[u8]) -> Option<(Sha256, &[u8])> {
    if let Some(tagged) = line.strip_prefix(b"SHA256 (") {
        let end = tagged.windows(4).rposition(|window| window == b") = ")?;
        return Some((Sha256::from_hex(&tagged[end + 4..])?, &tagged[..end]));
    }
    // A leading backslash says that the name is escaped.
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(64)?;
    let sha256 = Sha256::from_hex(digits)?;
    match rest {
        [] => Some((sha256, b"")),
        [b' ' | b'\t', name @ ..] => {
            Some((sha256, name.trim_ascii_start().strip_prefix(b"*").unwrap_or(name.trim_ascii_start())))
        }
        _ => None,
    }
}

fn is_name(path: &[u8], name: &OsStr) -> bool {
    path.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn expected(content: &str) -> Option<String> {
        expected_sha256(content.as_bytes(), OsStr::new("foo.csv")).map(|sha256| sha256.hex())
    }

    #[test]
    fn every_form_that_sha256sum_writes() {
        let hex = Some(HEX.to_owned());
        assert_eq!(expected(HEX), hex);
        assert_eq!(expected(&format!("{}\n", HEX.to_uppercase())), hex);
        assert_eq!(expected(&format!("{HEX}  foo.csv\n")), hex);
        assert_eq!(expected(&format!("{HEX} *foo.csv\r\n")), hex);
        assert_eq!(expected(&format!("{HEX}  /export/today/foo.csv\n")), hex);
        assert_eq!(expected(&format!("{HEX}  made-elsewhere.csv\n")), hex);
        assert_eq!(expected(&format!("\\{HEX}  foo\\n.csv\n")), hex);
        assert_eq!(expected(&format!("SHA256 (foo.csv) = {HEX}\n")), hex);
        let other = "0".repeat(64);
        assert_eq!(expected(&format!("{other}  bar.csv\n{HEX}  foo.csv\n")), hex);
    }

    #[test]
    fn anything_else_says_only_that_the_file_is_complete() {
        for content in ["", "\n\n", "done", "2026-01-01", &HEX[..63], &format!("{HEX}0"), &format!("x{HEX}")] {
            assert_eq!(expected(content), None, "{content:?}");
        }
        let others = format!("{HEX}  bar.csv\n{HEX}  baz.csv\n");
        assert_eq!(expected(&others), None);
    }

    #[test]
    fn names_go_there_and_back() {
        let (name, suffix) = (OsStr::new("foo.csv"), OsStr::new(".ok"));
        assert_eq!(data_name(&sidecar_name(name, suffix), suffix).as_deref(), Some(name));
        assert_eq!(data_name(name, suffix), None);
        assert_eq!(data_name(suffix, suffix), None);
    }
}
