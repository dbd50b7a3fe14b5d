//! Groups sums that belong together, and decides whether they are this file's.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use super::tokens::{Token, tokens};

/// How certain it is that sums belong to this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Naming {
    /// Nothing indicates it.
    None,
    /// Its name is beside them.
    Beside,
    /// They are in a line of a known form with exactly its name.
    Exact,
}

/// Sums that belong together: those of a line, or of a JSON object.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) naming: Naming,
    pub(super) sums: Vec<Token>,
}

/// A file's name, in the forms that a sidecar may use.
pub(super) struct Names {
    pub(super) plain: Vec<u8>,
    /// The name as sha256sum escapes it.
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

    /// The ranges of the name in a text, by itself or at the end of a path.
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

/// The sums in a self-contained text, and whether this file's name is beside them.
pub(super) fn unit(text: &[u8], names: &Names) -> Unit {
    unit_of(text, tokens(text), names)
}

/// The same, with the sums of the text already found.
pub(super) fn unit_of(text: &[u8], mut sums: Vec<Token>, names: &Names) -> Unit {
    let places = names.places(text);
    // A file may be named by a hash: a name does not count as a sum, unless the text has nothing else.
    if text.trim_ascii() != names.plain {
        sums.retain(|token| !places.iter().any(|place| place.contains(&token.begin)));
    }
    // `SUM NAME, SUM NAME`: each sum precedes its name.
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
