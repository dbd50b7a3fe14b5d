//! Batches of lines for a command or a webhook.
//!
//! Invariants:
//! - A group is never cut: a batch holds all its lines or none. A group that has more lines or bytes than a batch may have
//!   comes alone.
//! - An error ends following only after the lines before it were delivered.

use super::cursor::{Cursor, Stream};
use super::error::Error;
use super::source::{Line, Source};
use super::spliced::Spliced;

/// What a batch may have, at most.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Lines.
    pub lines: usize,
    /// Bytes of lines.
    pub bytes: usize,
}

/// A line of a batch. Its text begins where that of the line before ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    stream: Stream,
    number: u64,
    end: usize,
}

/// Lines that are delivered together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    places: Vec<Place>,
    before: Cursor,
    after: Cursor,
}

impl Batch {
    fn after(cursor: Cursor) -> Batch {
        Batch { before: cursor.clone(), after: cursor, ..Batch::default() }
    }

    fn push(&mut self, line: &Line<'_>) {
        self.text.extend_from_slice(line.text);
        self.places.push(Place { stream: line.stream, number: line.number, end: self.text.len() });
        self.after.pass(line.stream, line.number);
    }

    fn append(&mut self, other: &Batch) {
        other.lines().for_each(|line| self.push(&line));
    }

    fn fits(&self, other: &Batch, most: Most) -> bool {
        self.len() + other.len() <= most.lines && self.text.len() + other.text.len() <= most.bytes
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if there is no line.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let begins = std::iter::once(0).chain(self.places.iter().map(|place| place.end));
        let texts = self.places.iter().zip(begins);
        texts.map(|(place, begin)| Line {
            stream: place.stream,
            number: place.number,
            text: &self.text[begin..place.end],
        })
    }

    /// Each line with its cursor and a newline.
    pub fn spliced(&self) -> Vec<u8> {
        let (mut spliced, mut out) = (Spliced::after(self.before.clone()), Vec::new());
        self.lines().for_each(|line| spliced.append(&line, &mut out));
        out
    }

    /// The cursor before the first line.
    pub fn before(&self) -> &Cursor {
        &self.before
    }

    /// The cursor after the last line.
    pub fn cursor(&self) -> &Cursor {
        &self.after
    }
}

/// Makes batches of what a source has.
pub struct Batcher {
    most: Most,
    /// A line, or all of a group, that did not fit into the batch before.
    left: Batch,
    /// What ends following, once the batch before it is delivered.
    failed: Option<Error>,
}

impl Batcher {
    /// Makes batches that have at most `most`.
    pub fn new(most: Most) -> Batcher {
        Batcher { most, left: Batch::default(), failed: None }
    }

    /// The next batch; an empty one if there is nothing new.
    ///
    /// # Errors
    /// Those of [`Source::read`].
    pub fn next(&mut self, source: &mut dyn Source) -> Result<Batch, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut batch = std::mem::take(&mut self.left);
        if batch.is_empty() {
            batch = Batch::after(source.cursor().clone());
        }
        while batch.len() < self.most.lines && batch.text.len() < self.most.bytes {
            // One line, or all of a group.
            let mut unit = Batch::after(batch.after.clone());
            let read = source.read(1, &mut |line| {
                unit.push(&line);
                Ok(())
            });
            match read {
                Ok(_) if unit.is_empty() => break,
                Ok(_) if batch.is_empty() || batch.fits(&unit, self.most) => batch.append(&unit),
                Ok(_) => {
                    self.left = unit;
                    break;
                }
                Err(error) if batch.is_empty() => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(batch)
    }
}
