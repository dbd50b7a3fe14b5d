//! What a sidecar file says about its data file: nothing, something that no checksum is in, or checksums.
//!
//! Invariants:
//! - A sidecar in which something looks like a checksum never counts as one that holds none.
//! - If one of its sums is this file's by name, that one decides; otherwise the file has to have one of them.

mod json;
mod notes;
mod sums;
mod text;
mod tokens;
mod unit;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use hashbrown::HashMap;

pub use notes::Notes;
pub use sums::{Demand, FoundSums, Mismatch, Sum, Summer};
use tokens::{Token, tokens};
use unit::{Names, Naming, Unit, unit_of};

use crate::types::{Algorithm, FileIdentity, FileTime};

/// A sidecar that is longer is not read, and releases nothing: who knows what is in it?
pub const SIDECAR_BYTES_MAX: usize = 256 << 10;

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

/// What a sidecar says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Nothing: the file is complete.
    Silent,
    /// Something in which no checksum is, such as "done" or a number of rows: the file is complete.
    Other,
    /// The file is complete if it has these sums.
    Demands(Demand),
    /// Something is in it that looks like a checksum and is none that is known; what, for people.
    Odd(String),
}

impl Statement {
    /// Of a sidecar that is not read.
    pub fn too_long() -> Statement {
        Statement::Odd(format!("the sidecar is longer than {SIDECAR_BYTES_MAX} bytes"))
    }
}

/// True for a sidecar that was as it is before its file was made. Only the kernel sets these times. (An upstream that writes a
/// file under a temporary name may rename it after it has written the sidecar: the file is older all the same.)
pub fn is_older(sidecar: &FileIdentity, born: Option<FileTime>) -> bool {
    born.is_some_and(|born| sidecar.ctime < born)
}

/// What a sidecar of `name` says.
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

/// Of all sums those count that are closest to this file's name.
fn judge(units: Vec<Unit>) -> Statement {
    let with_sums = || units.iter().filter(|unit| !unit.sums.is_empty());
    let Some(naming) = with_sums().map(|unit| unit.naming).max() else { return Statement::Other };
    let counted: Vec<&Unit> = with_sums().filter(|unit| unit.naming == naming).collect();
    let all = || counted.iter().flat_map(|unit| &unit.sums);
    let is_any_known = all().any(|token| token.algorithm().is_some());
    let is_odd = |token: &&Token| token.algorithm().is_none() && !(is_any_known && token.foreign.is_some());
    if let Some(odd) = all().find(is_odd) {
        let text = "that is no MD5, SHA-1, SHA-256, SHA-384 or SHA-512";
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

/// Sums of one kind are of several files, perhaps; those of different kinds are of one.
fn by_algorithm(sums: Vec<Sum>) -> Vec<Vec<Sum>> {
    let of = |algorithm| sums.iter().filter(|sum| sum.algorithm == algorithm).cloned().collect();
    let groups = Algorithm::ALL.into_iter().map(of);
    groups.filter(|group: &Vec<Sum>| !group.is_empty()).collect()
}

/// The sums in a text, line by line.
fn lines(text: &[u8], names: &Names) -> Vec<Unit> {
    // Mac OS of old ended lines in CR.
    let end = if text.contains(&b'\n') { b'\n' } else { b'\r' };
    // A sum in groups may go on in the next line: by its first digits it belongs to one.
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

/// A line that has this file's name and no sum is about the one that stands next to it, as certutil and Format-List write it:
/// in the next line, or above in the same paragraph, and in the same record if the lines' keys tell where one begins.
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

/// Each line's record: one begins with every line that has the key which comes first of those that come again.
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

/// The sum and the name in a line as `sha256sum` and its like write it, plain (`HASH  NAME`, `HASH *NAME`), or tagged
/// (`SHA256 (NAME) = HASH`; OpenSSL leaves the blanks out).
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
    // A leading backslash says that the name is escaped.
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    let of = line[end..].trim_ascii_start();
    let of = of.strip_prefix(b"*").unwrap_or(of);
    // What has another sum in it is no name, unless it is the file's.
    let is_name = names.is(of) || tokens(of).is_empty();
    sum(&line[..end]).filter(|_| is_name).map(|sum| (sum, of))
}

#[cfg(test)]
mod tests;
