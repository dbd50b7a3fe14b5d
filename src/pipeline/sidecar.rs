//! Parses what a sidecar says about its data file: nothing, text without a checksum, or checksums.
//!
//! Invariants:
//! - A sidecar with anything that looks like a checksum never counts as one without.
//! - If the sidecar has this file's name beside a sum, that sum decides; otherwise the file must have one of the sums.

mod json;
mod notes;
mod sums;
mod template;
mod text;
mod tokens;
mod unit;

use std::ffi::OsStr;

use hashbrown::HashMap;

pub use notes::Notes;
pub use sums::{Demand, FoundSums, Mismatch, Sum, Summer};
pub use template::SidecarNames;
use tokens::{Token, tokens};
use unit::{Names, Naming, Unit, unit_of};

use crate::types::{Algorithm, FileIdentity, FileTime};

/// A longer sidecar is not read and releases nothing, because its content is unknown.
pub const SIDECAR_BYTES_MAX: usize = 256 << 10;

/// The content of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Empty: the file is complete.
    Silent,
    /// Text without a checksum, such as "done" or a number of rows: the file is complete.
    Other,
    /// The file is complete if it has these sums.
    Demands(Demand),
    /// It has something that looks like a checksum, but of no known kind; the text is for people.
    Odd(String),
}

impl Statement {
    /// The statement of a sidecar that is too long to be read.
    pub fn too_long() -> Statement {
        Statement::Odd(format!("the sidecar is longer than {SIDECAR_BYTES_MAX} bytes"))
    }
}

/// True for a sidecar whose last change precedes the creation of its file. Only the kernel sets these times. (An upstream
/// that writes a file under a temporary name may rename it after it has written the sidecar; the file is still the older
/// one.)
pub fn is_older(sidecar: &FileIdentity, born: Option<FileTime>) -> bool {
    born.is_some_and(|born| sidecar.ctime < born)
}

/// Parses the sidecar of `name`.
pub fn statement(content: &[u8], name: &OsStr) -> Statement {
    if content.len() > SIDECAR_BYTES_MAX {
        return Statement::too_long();
    }
    let (text, has_zeros) = text::decode(content);
    if text.trim_ascii().is_empty() {
        return if has_zeros { Statement::Odd("the sidecar holds zeros".to_owned()) } else { Statement::Silent };
    }
    let names = Names::of(name);
    let units = json::units(&text, &names).unwrap_or_else(|| lines(&text, &names));
    judge(units)
}

/// Of all sums, only those count that are most closely tied to this file's name.
fn judge(units: Vec<Unit>) -> Statement {
    let with_sums = || units.iter().filter(|unit| !unit.sums.is_empty());
    let Some(naming) = with_sums().map(|unit| unit.naming).max() else { return Statement::Other };
    let counted: Vec<&Unit> = with_sums().filter(|unit| unit.naming == naming).collect();
    let all = || counted.iter().flat_map(|unit| &unit.sums);
    let is_any_known = all().any(|token| token.algorithm().is_some());
    let is_odd = |token: &&Token| token.algorithm().is_none() && !(is_any_known && token.foreign.is_some());
    if let Some(odd) = all().find(is_odd) {
        let text = "not an MD5, SHA-1, SHA-256, SHA-384 or SHA-512";
        return Statement::Odd(match &odd.foreign {
            Some(label) => format!("the sidecar holds a sum called {label}: {text}"),
            None => format!("the sidecar holds {} hex digits: {text}", odd.hex.len()),
        });
    }
    let sums = |unit: &Unit| -> Vec<Sum> {
        let sum = |token: &Token| Some(Sum { algorithm: token.algorithm()?, hex: token.hex.clone() });
        unit.sums.iter().filter_map(sum).collect()
    };
    let groups = if naming == Naming::None {
        vec![counted.into_iter().flat_map(sums).collect()]
    } else {
        counted.into_iter().map(sums).flat_map(by_algorithm).collect()
    };
    Statement::Demands(Demand { groups })
}

/// Groups sums by algorithm. Several sums of one algorithm may belong to several files, so one of them must match; sums
/// of different algorithms belong to one file, so each algorithm must.
fn by_algorithm(sums: Vec<Sum>) -> Vec<Vec<Sum>> {
    let of = |algorithm| sums.iter().filter(|sum| sum.algorithm == algorithm).cloned().collect();
    let groups = Algorithm::ALL.into_iter().map(of);
    groups.filter(|group: &Vec<Sum>| !group.is_empty()).collect()
}

/// The sums in a text, line by line.
fn lines(text: &[u8], names: &Names) -> Vec<Unit> {
    // Classic Mac OS ended lines with CR.
    let end = if text.contains(&b'\n') { b'\n' } else { b'\r' };
    // A sum in digit groups may continue on the next line: it belongs to the line of its first digits.
    let mut all = tokens(text).into_iter().peekable();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == end).collect();
    let (mut units, mut begin) = (Vec::new(), 0);
    for line in &lines {
        let mut sums = Vec::new();
        while let Some(token) = all.next_if(|token| token.begin < begin + line.len()) {
            sums.push(Token { begin: token.begin - begin, ..token });
        }
        begin += line.len();
        units.push(match known_form(line.trim_ascii(), names) {
            Some((sum, of)) => {
                let naming = match names.is(of) {
                    true => Naming::Exact,
                    false if names.places(of).is_empty() => Naming::None,
                    false => Naming::Beside,
                };
                Unit { naming, sums: vec![sum] }
            }
            None => unit_of(line, sums, names),
        });
    }
    bind(&mut units, &lines);
    units
}

/// A line with this file's name and no sum is about a sum nearby, as certutil and Format-List write it: on the next line,
/// or above in the same paragraph, and in the same record if the keys of the lines show where records begin.
fn bind(units: &mut [Unit], lines: &[&[u8]]) {
    let (records, is_empty) = (records(lines), |index: &usize| lines[*index].trim_ascii().is_empty());
    for at in 0..units.len() {
        if units[at].naming != Naming::Beside || !units[at].sums.is_empty() {
            continue;
        }
        let has_sums = |index: &usize| {
            units.get(*index).is_some_and(|unit| !unit.sums.is_empty()) && records[*index] == records[at]
        };
        let above = || (0..at).rev().take_while(|index| !is_empty(index)).find(has_sums);
        if let Some(index) = Some(at + 1).filter(has_sums).or_else(above) {
            units[index].naming = units[index].naming.max(Naming::Beside);
        }
    }
}

/// The record number of each line. A record begins with every line that has the record key: the first key in the text
/// that occurs more than once.
fn records(lines: &[&[u8]]) -> Vec<usize> {
    let key = |line: &[u8]| -> Option<Vec<u8>> {
        let end = line.iter().position(|byte| b":=".contains(byte))?;
        Some(line[..end].trim_ascii().to_vec()).filter(|key| !key.is_empty())
    };
    let keys: Vec<Option<Vec<u8>>> = lines.iter().map(|line| key(line)).collect();
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    keys.iter().flatten().for_each(|key| *counts.entry(key).or_default() += 1);
    let first = keys.iter().flatten().find(|key| counts[key.as_slice()] > 1);
    let mut record = 0;
    let number = |key: &Option<Vec<u8>>| {
        record += usize::from(first.is_some() && key.as_ref() == first);
        record
    };
    keys.iter().map(number).collect()
}

/// The sum and the name in a line as `sha256sum` and similar tools write it, plain (`HASH  NAME`, `HASH *NAME`) or tagged
/// (`SHA256 (NAME) = HASH`; OpenSSL omits the blanks).
fn known_form<'a>(line: &'a [u8], names: &Names) -> Option<(Token, &'a [u8])> {
    let sum = |digits: &[u8]| {
        let found = tokens(digits);
        let is_all = found.len() == 1 && found.iter().all(|token| token.hex.len() == digits.len());
        found.into_iter().next().filter(|_| is_all)
    };
    if let Some(equals) = memchr::memrchr(b'=', line)
        && let Some(sum) = sum(line[equals + 1..].trim_ascii())
    {
        let tagged = line[..equals].trim_ascii().strip_suffix(b")")?;
        let (tag, name) = tagged.split_at_checked(memchr::memchr(b'(', tagged)?)?;
        let is_of_a_tag = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/".contains(byte);
        return tag.trim_ascii().iter().all(is_of_a_tag).then(|| (sum.labelled(tag), &name[1..]));
    }
    // A leading backslash means that the name is escaped.
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    let of = line[end..].trim_ascii_start();
    let of = of.strip_prefix(b"*").unwrap_or(of);
    // Text with another sum in it is not a name, unless it is this file's.
    let is_name = names.is(of) || tokens(of).is_empty();
    sum(&line[..end]).filter(|_| is_name).map(|sum| (sum, of))
}

#[cfg(test)]
mod tests;
