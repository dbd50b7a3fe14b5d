//! Where lines come from.

use std::time::Duration;

use super::cursor::{Cursor, Stream};
use super::error::Error;

/// A line that is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The lines with which it is numbered.
    pub stream: Stream,
    /// Its number there, from 1: the `seq` in its text, in a lake without the shard.
    pub number: u64,
    /// A JSON object, without its newline.
    pub text: &'a [u8],
}

/// Lines in order.
pub trait Source {
    /// Passes on the lines that come next and are durable, `most` at most, but never a part of a group: one that is larger
    /// comes alone and whole. Returns how many there were; 0 if there is nothing new.
    ///
    /// # Errors
    /// `take` fails; lines are gone; or the manifests cannot be read. [`Source::cursor`] says which lines were passed on.
    fn read(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error>;

    /// Waits until there may be something new, at most so long. Also returns early when a signal is to end the process.
    fn wait(&mut self, at_most: Duration);

    /// The cursor after the last line that was passed on.
    fn cursor(&self) -> &Cursor;
}
