//! Lines of the manifests, read hour by hour: slow, and simple.
//!
//! Invariant: lines of a journal come by their `seq`, each once.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::cursor::{Cursor, Stream};
use super::error::Error;
use super::source::{Line, Source};
use crate::fs::Fs;
use crate::journal::from_hex;
use crate::pipeline::manifest::hours::manifests;
use crate::pipeline::manifest::read::{Lines, Text};

/// What matters of a line.
#[derive(Deserialize)]
struct Keys {
    seq: u64,
    journal: String,
    group: Option<String>,
}

struct Read {
    stream: Stream,
    number: u64,
    group: Option<String>,
    text: Vec<u8>,
}

/// See the module.
pub struct PlainSource<F: Fs> {
    fs: F,
    manifests: PathBuf,
    cursor: Cursor,
    lines: VecDeque<Read>,
}

impl<F: Fs> PlainSource<F> {
    /// Lines after this cursor.
    pub fn open(fs: &F, manifests: &Path, cursor: Cursor) -> PlainSource<F> {
        PlainSource { fs: fs.clone(), manifests: manifests.to_path_buf(), cursor, lines: VecDeque::new() }
    }

    /// The cursor after the last line that there is.
    pub fn newest(&mut self) -> Result<Cursor, Error> {
        self.look()?;
        let mut newest = self.cursor.clone();
        self.lines.drain(..).for_each(|line| newest.pass(line.stream, line.number));
        Ok(newest)
    }

    fn look(&mut self) -> Result<(), Error> {
        let mut found: BTreeMap<(Stream, u64), Read> = BTreeMap::new();
        for manifest in manifests(&self.fs, &self.manifests, None)?.manifests {
            let mut lines = Lines::open(&self.fs, &manifest, 0)?;
            while let Some(line) = lines.next_line()? {
                let Text::Whole(text) = line.text else { continue };
                let Ok(Keys { seq: number, journal, group }) = serde_json::from_slice(text) else { continue };
                let Some(id) = from_hex(&journal) else { continue };
                let (stream, text) = (Stream::of_journal(id), text.to_vec());
                if number > self.cursor.passed(&stream) {
                    found.insert((stream, number), Read { stream, number, group, text });
                }
            }
        }
        let mut next = self.cursor.clone();
        for (_, line) in found {
            if line.number == next.passed(&line.stream) + 1 {
                next.pass(line.stream, line.number);
                self.lines.push_back(line);
            }
        }
        Ok(())
    }

    /// The lines that come together next.
    fn unit(&self) -> usize {
        let group = self.lines.front().and_then(|first| first.group.as_ref());
        match group {
            None => self.lines.len().min(1),
            Some(group) => self.lines.iter().take_while(|line| line.group.as_ref() == Some(group)).count(),
        }
    }
}

impl<F: Fs> Source for PlainSource<F> {
    fn read(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        if self.lines.is_empty() {
            self.look()?;
        }
        let mut count = 0;
        loop {
            let unit = self.unit();
            if unit == 0 || (count > 0 && count + unit > most) {
                return Ok(count);
            }
            for line in self.lines.drain(..unit) {
                take(Line { stream: line.stream, number: line.number, text: &line.text })?;
                self.cursor.pass(line.stream, line.number);
            }
            count += unit;
        }
    }

    fn wait(&mut self, at_most: Duration) {
        std::thread::sleep(at_most.min(Duration::from_millis(20)));
    }

    fn cursor(&self) -> &Cursor {
        &self.cursor
    }
}
