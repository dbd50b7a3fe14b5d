//! A source of lines in memory: it keeps the contract of [`Source`], so that a test of what is behind it needs no manifests.

use std::collections::VecDeque;
use std::time::Duration;

use csv_ingestor::follow::{Cursor, Error, Line, Source, Stream};

/// See the module.
#[derive(Debug, Default)]
pub struct MemorySource {
    /// Lines that come together: a group, or one line.
    units: VecDeque<Vec<(Stream, u64, Vec<u8>)>>,
    cursor: Cursor,
    /// What a read fails with when all lines were read.
    pub fails_at_end: Option<Error>,
}

impl MemorySource {
    /// Adds lines that come together.
    pub fn push(&mut self, lines: Vec<(Stream, u64, Vec<u8>)>) {
        self.units.push_back(lines);
    }

    /// Where it begins.
    pub fn set_cursor(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    /// So many lines of one stream, each by itself, from number `from`.
    pub fn with_lines(stream: Stream, from: u64, count: u64) -> MemorySource {
        let mut source = MemorySource::default();
        for number in from..from + count {
            source.push(vec![(stream, number, format!("{{\"seq\":{number}}}").into_bytes())]);
        }
        source
    }
}

impl Source for MemorySource {
    fn read(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        let mut count = 0;
        while let Some(unit) = self.units.front().filter(|unit| count == 0 || count + unit.len() <= most) {
            for (stream, number, text) in unit {
                take(Line { stream: *stream, number: *number, text })?;
                self.cursor.pass(*stream, *number);
            }
            count += unit.len();
            self.units.pop_front();
            if count >= most {
                break;
            }
        }
        match self.fails_at_end.take_if(|_| count == 0) {
            Some(error) => Err(error),
            None => Ok(count),
        }
    }

    fn wait(&mut self, _: Duration) {}

    fn cursor(&self) -> &Cursor {
        &self.cursor
    }
}
