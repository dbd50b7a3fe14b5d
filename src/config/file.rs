//! The text of a configuration file: keys, values, and where each of them is. Which keys there are is not known here.
//!
//! Invariants: any bytes give a result; after a mistake, reading continues with the next line.

mod toml;

use std::path::Path;

use crate::fs::operators;
use crate::limits::{CONFIG_BYTES_MAX, CONFIG_PROBLEMS_MAX};
pub use toml::{Entry, Kind, Value};

/// A file that was read.
#[derive(Debug)]
pub struct File {
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    /// What is in it, in this order.
    pub entries: Vec<Entry>,
    problems: Vec<Problem>,
}

/// Something that is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is, in bytes.
    pub at: usize,
    /// What it is.
    pub text: String,
}

/// Where something is: both are counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<File, operators::Unread> {
        Ok(File::parse(&operators::read(path, CONFIG_BYTES_MAX)?))
    }

    /// Reads the content of a file.
    pub fn parse(bytes: &[u8]) -> File {
        // Editors of other systems begin a file with this mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => File::of_text(text),
            Err(error) => {
                let at = error.valid_up_to();
                let mut file = File::empty(&String::from_utf8_lossy(&bytes[..at]));
                file.refuse(at, "this is not UTF-8: save the file as UTF-8".to_owned());
                file
            }
        }
    }

    fn empty(text: &str) -> File {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(end, _)| end + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        File { text: text.to_owned(), lines, entries: Vec::new(), problems: Vec::new() }
    }

    fn of_text(text: &str) -> File {
        let mut file = File::empty(text);
        let (mut entries, problems) = toml::read(text);
        problems.into_iter().for_each(|(at, text)| file.refuse(at, text));
        // Of a line with a mistake in it, the rest says nothing.
        entries.retain(|entry| !file.has_problem(file.line(entry.at), file.line(entry.value.at)));
        for entry in entries {
            match file.entries.iter().find(|first| first.key == entry.key).map(|first| first.at) {
                Some(first) => {
                    let line = file.line(first) + 1;
                    file.refuse(entry.at, format!("duplicate key `{}`: line {line} has it already", entry.key));
                }
                None => file.entries.push(entry),
            }
        }
        file
    }

    /// Adds a problem.
    pub fn refuse(&mut self, at: usize, text: String) {
        let before = self.problems.partition_point(|problem| problem.at <= at);
        self.problems.insert(before, Problem { at, text });
    }

    /// The problems in the order of the file, at most [`CONFIG_PROBLEMS_MAX`].
    pub fn problems(&self) -> impl Iterator<Item = (Position, &str)> {
        let reported = self.problems.iter().take(CONFIG_PROBLEMS_MAX);
        reported.map(|problem| (self.position(problem.at), &*problem.text))
    }

    /// True if one of these lines has a problem.
    fn has_problem(&self, first: usize, last: usize) -> bool {
        let next = self.problems.partition_point(|problem| self.line(problem.at) < first);
        self.problems.get(next).is_some_and(|problem| self.line(problem.at) <= last)
    }

    /// The line of a byte, counted from 0.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    fn position(&self, at: usize) -> Position {
        let line = self.line(at);
        let start = self.lines.get(line).copied().unwrap_or_default();
        let before = self.text.get(start..at).unwrap_or_default();
        Position { line: line + 1, column: before.chars().count() + 1 }
    }
}
