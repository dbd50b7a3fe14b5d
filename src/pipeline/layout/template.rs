//! Reads a template.
//!
//! Invariants:
//! - A template is a sequence of directories; each consists of text and fields, and is never empty.
//! - The text in it is kept as it is: it has no character that a reader would unescape, begins no hidden name, and says
//!   nothing about the date of ingestion that is not true.

use super::date::DateFormat;
use super::error::Error;
use super::escape::is_escaped;
use super::pattern::NamePattern;
use crate::limits::{LAYOUT_LEVELS_MAX, LAYOUT_TEXT_BYTES_MAX};
use crate::types::PARTITION_PREFIX;

/// The option, for messages.
const OPTION: &str = "--layout";

/// The fields that need no pattern.
const BUILT_IN: [&str; 3] = ["ingest_date", "ingest_hour", "subdir"];

/// A part of a directory's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text.
    Text(String),
    /// The day on which the file was found complete, UTC: YYYY-MM-DD.
    IngestDate,
    /// The hour, UTC: two digits.
    IngestHour,
    /// The file's directory in staging.
    Subdir,
    /// A group of the pattern.
    Group {
        /// Its name.
        name: String,
        /// Its number; 0 as long as the pattern is unknown.
        number: usize,
        /// How the date in it is written.
        date: Option<DateFormat>,
    },
}

/// The name of one directory. `[Subdir]` alone stands for any number of them.
pub(super) type Component = Vec<Piece>;

/// Reads a template. Without a pattern, the numbers of groups are 0.
pub(super) fn parse(text: &str, pattern: Option<&NamePattern>) -> Result<Vec<Component>, Error> {
    if text.len() > LAYOUT_TEXT_BYTES_MAX {
        return Err(Error::whole(OPTION, format!("it is longer than {LAYOUT_TEXT_BYTES_MAX} bytes")));
    }
    let (mut components, mut keys) = (Vec::new(), Vec::new());
    let mut begin = 0;
    // A format may contain a slash, so braces come first.
    while begin <= text.len() {
        let end = end_of_component(text, begin);
        let component = parse_component(text, begin, end, pattern)?;
        if let Some(key) = key_of(&text[begin..end]) {
            if keys.contains(&key) {
                return Err(refuse(text, begin, format!("{key}= is there twice: readers take it for one column")));
            }
            keys.push(key);
        }
        components.push(component);
        begin = end + 1;
    }
    if components.len() > LAYOUT_LEVELS_MAX {
        return Err(refuse(text, 0, format!("it has more than {LAYOUT_LEVELS_MAX} directories")));
    }
    Ok(components)
}

/// Refuses groups that have the name of a built-in field: a template could not name both.
pub(super) fn check_groups(pattern: &NamePattern) -> Result<(), Error> {
    match pattern.groups().find(|name| BUILT_IN.contains(name)) {
        Some(name) => Err(Error::whole(super::pattern::OPTION, format!("a group cannot have the name {name}"))),
        None => Ok(()),
    }
}

fn refuse(text: &str, byte: usize, what: impl Into<String>) -> Error {
    Error::new(OPTION, text, byte, what.into())
}

/// The key of `key=value`.
fn key_of(component: &str) -> Option<&str> {
    outside_of_fields(component).find(|(_, c)| *c == '=').map(|(at, _)| &component[..at])
}

/// Where the component that begins at `begin` ends: at the next slash outside of braces.
fn end_of_component(text: &str, begin: usize) -> usize {
    let mut is_in_field = false;
    for (at, byte) in text.bytes().enumerate().skip(begin) {
        match byte {
            b'{' => is_in_field = true,
            b'}' => is_in_field = false,
            b'/' if !is_in_field => return at,
            _ => {}
        }
    }
    text.len()
}

fn parse_component(text: &str, begin: usize, end: usize, pattern: Option<&NamePattern>) -> Result<Component, Error> {
    let component = &text[begin..end];
    check_component(text, begin, component)?;
    let mut pieces = Vec::new();
    let mut at = begin;
    while at < end {
        let rest = &text[at..end];
        if let Some(field) = rest.strip_prefix('{') {
            let Some((field, _)) = field.split_once('}') else {
                return Err(refuse(text, at, "this { has no }"));
            };
            pieces.push(parse_field(text, at + 1, field, pattern)?);
            at += field.len() + 2;
            continue;
        }
        let length = rest.find('{').unwrap_or(rest.len());
        check_text(text, at, &rest[..length])?;
        pieces.push(Piece::Text(rest[..length].to_owned()));
        at += length;
    }
    if component.starts_with(PARTITION_PREFIX)
        && pieces != [Piece::Text(PARTITION_PREFIX.to_owned()), Piece::IngestDate]
    {
        let what = "ingest_date= is followed by {ingest_date} and nothing else: audits rely on it";
        return Err(refuse(text, begin, what));
    }
    Ok(pieces)
}

fn check_component(text: &str, begin: usize, component: &str) -> Result<(), Error> {
    if component.is_empty() {
        return Err(refuse(text, begin, "a directory without a name"));
    }
    if component.starts_with(['.', '_']) {
        return Err(refuse(text, begin, "a directory's name cannot begin with . or _: readers skip it"));
    }
    if component.starts_with('=') {
        return Err(refuse(text, begin, "there is no key before ="));
    }
    let outside: Vec<usize> = outside_of_fields(component).filter(|(_, c)| *c == '=').map(|(at, _)| at).collect();
    match outside[..] {
        [_, second, ..] => Err(refuse(text, begin + second, "a second = in one directory's name")),
        [first] if component[..first].contains('{') => {
            Err(refuse(text, begin, "a field before =: the key must be the same for all files"))
        }
        [first] if first + 1 == component.len() => Err(refuse(text, begin + first, "there is no value after =")),
        _ => Ok(()),
    }
}

/// The characters outside of braces, and where they are.
fn outside_of_fields(component: &str) -> impl Iterator<Item = (usize, char)> {
    let mut is_in_field = false;
    component.char_indices().filter(move |(_, c)| {
        let was_in_field = is_in_field;
        is_in_field = *c == '{' || is_in_field && *c != '}';
        !was_in_field && !is_in_field
    })
}

fn check_text(text: &str, at: usize, piece: &str) -> Result<(), Error> {
    let bad = piece.char_indices().find(|(_, c)| match u8::try_from(*c) {
        Ok(byte) if byte.is_ascii() => byte == b'}' || byte != b'=' && is_escaped(byte),
        _ => c.is_control(),
    });
    match bad {
        Some((offset, '}')) => Err(refuse(text, at + offset, "this } has no {")),
        Some((offset, bad)) => Err(refuse(text, at + offset, format!("{bad:?} cannot be in a directory's name"))),
        None => Ok(()),
    }
}

fn parse_field(text: &str, at: usize, field: &str, pattern: Option<&NamePattern>) -> Result<Piece, Error> {
    let (name, format) = match field.split_once(':') {
        Some((name, format)) => (name, Some(format)),
        None => (field, None),
    };
    if let Some(format) = format
        && BUILT_IN.contains(&name)
    {
        return Err(refuse(text, at, format!("{{{name}}} has no format, and not :{format}")));
    }
    Ok(match name {
        "ingest_date" => Piece::IngestDate,
        "ingest_hour" => Piece::IngestHour,
        "subdir" => Piece::Subdir,
        _ => {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.is_empty();
            if !is_name {
                return Err(refuse(text, at, "a field's name has letters, digits and _ only"));
            }
            let number = match pattern {
                None => 0,
                Some(pattern) => pattern.group(name).ok_or_else(|| refuse(text, at, unknown(name)))?,
            };
            let date = format.map(DateFormat::new).transpose();
            let date = date.map_err(|(byte, what)| refuse(text, at + name.len() + 1 + byte, what))?;
            Piece::Group { name: name.to_owned(), number, date }
        }
    })
}

/// What is wrong with a field that no group has.
fn unknown(name: &str) -> String {
    format!("{{{name}}} is none of {{ingest_date}}, {{ingest_hour}} and {{subdir}}, and no group of --name-pattern")
}

/// The first group in a template that was read without a pattern.
pub(super) fn first_group(text: &str, components: &[Component]) -> Option<Error> {
    components.iter().flatten().find_map(|piece| match piece {
        Piece::Group { name, .. } => {
            let at = text.find(&format!("{{{name}")).map_or(0, |at| at + 1);
            Some(refuse(text, at, unknown(name)))
        }
        _ => None,
    })
}
