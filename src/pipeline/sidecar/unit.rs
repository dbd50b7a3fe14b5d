//! Sums that belong together, and whether they are this file's.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use super::tokens::{Token, tokens};

/// How sure it is that sums are those of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Naming {
    /// Nothing says so.
    None,
    /// Its name is found beside them.
    Beside,
    /// They stand in a line of a known form with exactly its name.
    Exact,
}

/// Sums that belong together: those of a line, or of a JSON object.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) naming: Naming,
    pub(super) sums: Vec<Token>,
}

/// A file's name, as it may stand in a sidecar.
pub(super) struct Names {
    pub(super) plain: Vec<u8>,
    /// As sha256sum escapes it.
    escaped: Vec<u8>,
}

impl Names {
    pub(super) fn of(name: &OsStr) -> Names {
        let plain = name.as_bytes().to_vec();
        let mut escaped = Vec::with_capacity(plain.len());
        for byte in &plain {
            match byte {
                b'\\' => escaped.extend_from_slice(b"\\\\"),
                b'\n' => escaped.extend_from_slice(b"\\n"),
                b'\r' => escaped.extend_from_slice(b"\\r"),
                byte => escaped.push(*byte),
            }
        }
        Names { plain, escaped }
    }

    /// True for the name, or for a path that ends in it: upstreams compute the sum where the file was made.
    pub(super) fn is(&self, path: &[u8]) -> bool {
        [&self.plain, &self.escaped].into_iter().any(|name| {
            path.strip_suffix(&name[..]).is_some_and(|before| before.last().is_none_or(|byte| b"/\\".contains(byte)))
        })
    }

    /// Where the name stands in a text, by itself or at a path's end.
    pub(super) fn places(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        for name in [&self.plain, &self.escaped] {
            for begin in memchr::memmem::find_iter(text, name) {
                let end = begin + name.len();
                let before = begin.checked_sub(1).and_then(|at| text.get(at));
                let ends = match (text.get(end), text.get(end + 1)) {
                    (Some(b'.' | b'-'), Some(next)) => !is_of_names(*next),
                    (Some(next), _) => !is_of_names(*next) || b".-".contains(next),
                    (None, _) => true,
                };
                if ends && before.is_none_or(|byte| !is_of_names(*byte)) {
                    places.push(begin..end);
                }
            }
        }
        places
    }
}

fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"._-".contains(&byte)
}

/// The sums in a text that is a whole by itself, and whether this file's name stands beside them.
pub(super) fn unit(text: &[u8], names: &Names) -> Unit {
    unit_of(text, tokens(text), names)
}

/// `sums` are those in the text.
pub(super) fn unit_of(text: &[u8], mut sums: Vec<Token>, names: &Names) -> Unit {
    let places = names.places(text);
    // A file may be called by its sum; what is a name does not count, unless there is nothing else.
    if text.trim_ascii() != names.plain {
        sums.retain(|token| !places.iter().any(|place| place.contains(&token.begin)));
    }
    // `SUM NAME, SUM NAME`: each stands before its name.
    if let (Some(place), true) =
        (places.first(), sums.first().is_some_and(|sum| text[..sum.begin].trim_ascii().is_empty()))
    {
        let before = sums.iter().rposition(|sum| sum.begin < place.start);
        if let Some(last) = before {
            let algorithm = sums[last].algorithm();
            let is_anothers = |at: usize, sum: &Token| at != last && sum.algorithm() == algorithm;
            let mut at = 0;
            sums.retain(|sum| {
                at += 1;
                !is_anothers(at - 1, sum)
            });
        }
    }
    let naming = if places.is_empty() { Naming::None } else { Naming::Beside };
    Unit { naming, sums }
}
