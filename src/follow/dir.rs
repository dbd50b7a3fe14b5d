//! Lines from a directory of manifests, which several ingestors may share.
//!
//! Invariants:
//! - It only reads, and needs only the manifests. The index of lines makes it fast: with it, the work grows with the number of
//!   new lines, and without it, with the number of all lines.
//! - The lines of a journal come in the order of their numbers. Those of several journals are mixed.

mod ends;
mod manifest;
mod scan;
mod stream;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::ends::{Ends, Last};
use self::scan::Scan;
use self::stream::Lines;
use super::cursor::{Cursor, Stream};
use super::error::Error;
use super::source::{Line, Source};
use super::wake::Wake;
use crate::fs::Fs;
use crate::limits::{FOLLOW_FIRST_LOOK_INTERVAL, FOLLOW_LOOK_INTERVAL, FOLLOW_STREAMS_MAX};
use crate::pipeline::manifest::numbers::journals;

/// A directory of manifests that is followed.
pub struct Dir<F: Fs> {
    fs: F,
    root: PathBuf,
    cursor: Cursor,
    lines: BTreeMap<Stream, Lines<F>>,
    /// The stream that begins the next batch.
    turn: usize,
    scan: Scan<F>,
    /// Lines are found by looking at all manifests, not by the index alone.
    scans: bool,
    /// When it looked for journals and for lines without the index the last time, by the steady clock.
    looked: Option<Duration>,
    ends: Ends,
    /// The last lines at the ends of the manifests then.
    unindexed: Last,
    wake: Box<dyn Wake>,
}

impl<F: Fs> Dir<F> {
    /// Follows the manifests below `root` from the lines behind `cursor` on.
    ///
    /// # Errors
    /// The directory is not there or cannot be read.
    pub fn open(fs: &F, root: &Path, cursor: Cursor, wake: Box<dyn Wake>) -> Result<Dir<F>, Error> {
        fs.open_dir(root)?;
        let mut dir = Dir {
            fs: fs.clone(),
            root: root.to_path_buf(),
            cursor,
            lines: BTreeMap::new(),
            turn: 0,
            scan: Scan::new(fs, root),
            scans: false,
            looked: None,
            ends: Ends::new(),
            unindexed: Last::new(),
            wake,
        };
        dir.look()?;
        Ok(dir)
    }

    /// The cursor behind all lines that are there now.
    ///
    /// # Errors
    /// The manifests cannot be read.
    pub fn newest(&mut self) -> Result<Cursor, Error> {
        let mut cursor = Cursor::default();
        for (stream, lines) in &mut self.lines {
            cursor.pass(*stream, lines.newest()?);
        }
        // Where there is no index. Lines that it does not name yet come.
        if self.ends.look(&self.fs, &self.root)?.keys().any(|stream| cursor.passed(stream) == 0) {
            let mut scan = Scan::new(&self.fs, &self.root);
            scan.look(&cursor)?;
            for stream in scan.streams() {
                cursor.pass(stream, scan.last(&stream, cursor.passed(&stream)));
            }
        }
        Ok(cursor)
    }

    /// From here on, the lines behind this cursor come.
    pub fn seek(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.lines.clear();
        self.scan.forget();
        self.looked = None;
    }

    /// Looks for journals that are new, and for lines that the index does not have, if that is due.
    fn look(&mut self) -> Result<(), Error> {
        let now = self.fs.steady();
        let is_due = self.looked.is_none_or(|looked| now.saturating_sub(looked) >= FOLLOW_LOOK_INTERVAL);
        if !is_due && !self.lines.is_empty() {
            return Ok(());
        }
        let mut streams: Vec<Stream> = journals(&self.fs, &self.root)?.into_iter().map(Stream::of_journal).collect();
        if !is_due && streams.is_empty() {
            return Ok(());
        }
        self.looked = Some(now);
        self.scans |= self.lacks_lines()?;
        if self.scans || streams.is_empty() {
            self.scan.look(&self.cursor)?;
            streams.extend(self.scan.streams());
        }
        for stream in streams {
            if !self.lines.contains_key(&stream) {
                let lines = Lines::new(&self.fs, &self.root, stream);
                self.wake.watch(lines.index_dir());
                self.lines.insert(stream, lines);
            }
        }
        if self.lines.len() > FOLLOW_STREAMS_MAX {
            let (manifests, journals) = (self.root.clone(), self.lines.len());
            return Err(Error::TooMany { manifests, journals, most: FOLLOW_STREAMS_MAX });
        }
        Ok(())
    }

    /// True if a line at the end of one of the newest manifests was not passed on since the last look: the index does not have
    /// it.
    fn lacks_lines(&mut self) -> Result<bool, Error> {
        let ends = self.ends.look(&self.fs, &self.root)?;
        let is_behind = |(stream, end): &(&Stream, &u64)| self.cursor.passed(stream) < **end;
        let lacks = self.unindexed.iter().any(|(stream, end)| is_behind(&(stream, end)));
        self.unindexed = ends;
        Ok(lacks)
    }
}

impl<F: Fs> Dir<F> {
    /// Passes lines of all streams on, beginning with the one whose turn it is.
    fn read_all(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        let streams: Vec<Stream> = self.lines.keys().copied().collect();
        let mut count = 0;
        for stream in streams.iter().cycle().skip(self.turn).take(streams.len()) {
            if count == most {
                break;
            }
            let Some(lines) = self.lines.get_mut(stream) else { continue };
            count += lines.read(&mut self.cursor, &mut self.scan, (most.saturating_sub(count), count > 0), take)?;
        }
        Ok(count)
    }
}

impl<F: Fs> Source for Dir<F> {
    fn read(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        let streams = self.lines.len();
        let mut count = self.read_all(most, take)?;
        self.turn = self.turn.wrapping_add(1) % streams.max(1);
        if count == 0 {
            let before = self.looked;
            self.look()?;
            if self.looked != before {
                count = self.read_all(most, take)?;
            }
        }
        Ok(count)
    }

    fn wait(&mut self, at_most: Duration) {
        let next_look = if self.lines.is_empty() { FOLLOW_FIRST_LOOK_INTERVAL } else { FOLLOW_LOOK_INTERVAL };
        self.wake.wait(at_most.min(next_look));
    }

    fn cursor(&self) -> &Cursor {
        &self.cursor
    }
}
