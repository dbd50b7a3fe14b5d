//! The layout of the warehouse: in which directory a file is published, according to `--layout` and `--name-pattern`.
//!
//! Invariants:
//! - The directory is a function of the file's path in staging and of the time at which it was found complete. It is
//!   computed before the file is hashed, and recorded with HASHED; nothing computes it again for a file that is HASHED.
//! - It is below the warehouse: no component is empty, `.` or `..`, begins with `.` or `_`, or has more than 255 bytes.
//! - It is not among the manifests, and with the longest name the whole path still fits into the journal.

mod date;
mod error;
mod escape;
mod pattern;
mod template;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use regex_automata::util::captures::Captures;

pub use error::Error;
use escape::escape;
use pattern::NamePattern;
use template::{Component, Piece};

use super::names::NAME_BYTES_MAX;
use crate::journal::format::PATH_BYTES_MAX;
use crate::journal::record::LayoutRule;
use crate::limits::PARTITION_LEVELS_MAX;
use crate::types::UnixMillis;

/// The value that Hive, Spark and others read as NULL.
const NULL_VALUE: &[u8] = b"__HIVE_DEFAULT_PARTITION__";

/// Why a file has no place in the warehouse, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMatch(pub String);

/// The directories that are not for files of the warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reserved {
    None,
    /// The manifests are in the warehouse's own directory: their years are not for files.
    Years,
    /// The manifests are in this directory below the warehouse.
    Below(PathBuf),
}

/// A layout, ready to be used.
#[derive(Clone, Debug)]
pub struct Layout {
    rule: LayoutRule,
    components: Vec<Component>,
    pattern: Option<NamePattern>,
    reserved: Reserved,
    /// Bytes that a directory's path may have below the warehouse.
    room: usize,
}

impl Default for Layout {
    /// `ingest_date={ingest_date}`.
    fn default() -> Layout {
        let rule = LayoutRule::default();
        let components = template::parse(&rule.template, None).unwrap_or_default();
        Layout { rule, components, pattern: None, reserved: Reserved::None, room: PATH_BYTES_MAX / 2 }
    }
}

impl Layout {
    /// Reads a template and a pattern.
    ///
    /// # Errors
    /// One of them is not valid, or they do not fit together.
    pub fn new(rule: LayoutRule) -> Result<Layout, Error> {
        let pattern = rule.name_pattern.as_deref().map(NamePattern::new).transpose()?;
        pattern.as_ref().map(template::check_groups).transpose()?;
        let components = template::parse(&rule.template, pattern.as_ref())?;
        if pattern.is_none()
            && let Some(error) = template::first_group(&rule.template, &components)
        {
            return Err(error);
        }
        Ok(Layout { rule, components, pattern, ..Layout::default() })
    }

    /// Checks a template alone; which groups there are is not known.
    ///
    /// # Errors
    /// It is not valid, whatever the pattern.
    pub fn check_template(text: &str) -> Result<(), Error> {
        template::parse(text, None).map(drop)
    }

    /// Checks a pattern alone.
    ///
    /// # Errors
    /// It is not valid.
    pub fn check_pattern(text: &str) -> Result<(), Error> {
        template::check_groups(&NamePattern::new(text)?)
    }

    /// The same layout for a warehouse and its manifests. `are_one`: both paths lead to the same directory.
    #[must_use]
    pub fn within(mut self, warehouse: &Path, manifests: &Path, are_one: bool) -> Layout {
        self.reserved = match manifests.strip_prefix(warehouse) {
            _ if are_one => Reserved::Years,
            Ok(below) if below.as_os_str().is_empty() => Reserved::Years,
            Ok(below) => Reserved::Below(below.to_path_buf()),
            Err(_) => Reserved::None,
        };
        // Two slashes, and the terminator that the kernel counts.
        self.room = PATH_BYTES_MAX.saturating_sub(warehouse.as_os_str().len() + NAME_BYTES_MAX + 3);
        self
    }

    /// Template and pattern, as they were given.
    pub fn rule(&self) -> &LayoutRule {
        &self.rule
    }

    /// The directory below the warehouse in which a file is published: a path without `.` and `..`, empty for the
    /// warehouse itself. `path` is the file's path below staging.
    ///
    /// # Errors
    /// The pattern does not match the file's name, or a value cannot be in a path.
    pub fn dir(&self, path: &OsStr, complete_at: UnixMillis) -> Result<PathBuf, NoMatch> {
        let bytes = path.as_bytes();
        let (subdir, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
            None => (&b""[..], bytes),
        };
        let found = match &self.pattern {
            Some(pattern) => Some(pattern.search(name).ok_or_else(|| {
                NoMatch(format!("--name-pattern {} does not match the name {}", pattern.text(), text(name)))
            })?),
            None => None,
        };
        let time = complete_at.rfc3339();
        let values = Values { name, subdir, date: &time[..10], hour: &time[11..13], found: found.as_ref() };
        let mut dir: Vec<OsString> = Vec::with_capacity(self.components.len());
        for component in &self.components {
            if let [Piece::Subdir] = component[..] {
                for part in subdir.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
                    let mut out = Vec::new();
                    put_value("subdir", part, &mut out)?;
                    dir.push(checked(out)?);
                }
            } else {
                dir.push(checked(values.fill(component)?)?);
            }
        }
        self.fits(dir.iter().collect(), dir.len(), OsStr::from_bytes(name))
    }

    /// Refuses a directory that is too deep, too long, or not for files.
    fn fits(&self, dir: PathBuf, levels: usize, name: &OsStr) -> Result<PathBuf, NoMatch> {
        if levels > PARTITION_LEVELS_MAX {
            return Err(NoMatch(format!("its directory would have more than {PARTITION_LEVELS_MAX} levels")));
        }
        if dir.as_os_str().len() > self.room {
            return Err(NoMatch("its path would be too long".to_owned()));
        }
        let path = dir.join(name);
        let is_taken = match &self.reserved {
            Reserved::None => false,
            Reserved::Years => path.iter().next().is_some_and(is_year),
            Reserved::Below(manifests) => path.starts_with(manifests) || manifests.starts_with(&path),
        };
        match is_taken {
            true => Err(NoMatch(format!("{} is for manifests", dir.display()))),
            false => Ok(dir),
        }
    }
}

/// Four digits, as the manifests' years.
fn is_year(name: &OsStr) -> bool {
    name.len() == 4 && name.as_bytes().iter().all(u8::is_ascii_digit)
}

/// What fields are replaced by.
struct Values<'a> {
    name: &'a [u8],
    subdir: &'a [u8],
    date: &'a str,
    hour: &'a str,
    found: Option<&'a Captures>,
}

impl Values<'_> {
    /// The name of one directory.
    fn fill(&self, component: &[Piece]) -> Result<Vec<u8>, NoMatch> {
        let mut out = Vec::new();
        for piece in component {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::IngestDate => out.extend_from_slice(self.date.as_bytes()),
                Piece::IngestHour => out.extend_from_slice(self.hour.as_bytes()),
                Piece::Subdir => put_value("subdir", self.subdir, &mut out)?,
                Piece::Group { name, number, date } => {
                    let span = self.found.and_then(|found| found.get_group(*number));
                    let value = span.and_then(|span| self.name.get(span.range())).unwrap_or_default();
                    match date {
                        None => put_value(name, value, &mut out)?,
                        Some(format) => {
                            let date = format.read(value);
                            let date = date.ok_or_else(|| {
                                NoMatch(format!("{{{name}}}: {} is no date {}", text(value), format.text()))
                            })?;
                            out.extend_from_slice(date.as_bytes());
                        }
                    }
                }
            }
        }
        Ok(out)
    }
}

/// Appends the value of a field, escaped.
fn put_value(field: &str, value: &[u8], out: &mut Vec<u8>) -> Result<(), NoMatch> {
    let why = match value {
        b"" => "is empty",
        b"." | b".." | NULL_VALUE => "cannot be a value",
        _ => {
            escape(value, out);
            return Ok(());
        }
    };
    Err(NoMatch(format!("{{{field}}}: \"{}\" {why}", text(value))))
}

/// The name of a directory, if it may be one.
fn checked(name: Vec<u8>) -> Result<OsString, NoMatch> {
    let value = name.splitn(2, |byte| *byte == b'=').nth(1);
    let why = match name[..] {
        [] => "a directory would have no name",
        [b'.' | b'_', ..] => "a directory's name cannot begin with . or _",
        _ if name.len() > NAME_BYTES_MAX => "a directory's name would have more than 255 bytes",
        _ if value == Some(NULL_VALUE) => "readers would take it for a missing value",
        _ => return Ok(OsString::from_vec(name)),
    };
    Err(NoMatch(format!("{why}: {}", text(&name))))
}

/// Bytes of a name, for people.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests;
