//! One journal's lines, in order.
//!
//! Invariants:
//! - A line is passed on only if its text has its number: the index and the scan say where to look, and nothing more.
//! - Lines count as gone only if a line behind them is there, and either the index says that they were durable or they stay
//!   missing for [`FOLLOW_GAP_PATIENCE`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::manifest::Manifest;
use super::scan::{Run, Scan};
use crate::follow::cursor::{Cursor, Stream};
use crate::follow::error::{Error, Gone};
use crate::follow::group::OfGroup;
use crate::follow::source::Line;
use crate::fs::Fs;
use crate::limits::FOLLOW_GAP_PATIENCE;
use crate::pipeline::manifest::number_of;
use crate::pipeline::manifest::numbers::{Entry, Finder};

/// What takes a line.
pub(super) type Take<'a> = &'a mut dyn FnMut(Line<'_>) -> Result<(), Error>;

/// The lines of one journal.
pub(super) struct Lines<F: Fs> {
    fs: F,
    root: PathBuf,
    pub(super) stream: Stream,
    finder: Finder<F>,
    is_sought: bool,
    /// The number of the last line that was passed on before this follower began.
    begun: Option<u64>,
    /// Where the next line is expected, and what the index says behind it.
    run: Option<Run>,
    ahead: Option<Run>,
    /// The number of the last line that the index has, as far as it was read.
    indexed: u64,
    manifest: Option<Manifest<F>>,
    /// Since when lines are missing between others.
    gap_since: Option<Duration>,
}

/// How reading from a run has ended.
enum Read {
    Lines(usize),
    /// A group comes that does not fit into this batch.
    Full,
    /// A group is not there as a whole yet.
    NotYet,
    /// The next line is not there.
    Misplaced,
}

impl<F: Fs> Lines<F> {
    pub(super) fn new(fs: &F, root: &Path, stream: Stream) -> Lines<F> {
        Lines {
            fs: fs.clone(),
            root: root.to_path_buf(),
            stream,
            finder: Finder::open(fs, root, &stream.id),
            is_sought: false,
            begun: None,
            run: None,
            ahead: None,
            indexed: 0,
            manifest: None,
            gap_since: None,
        }
    }

    /// The directory of its index.
    pub(super) fn index_dir(&self) -> &Path {
        self.finder.dir()
    }

    /// The number of the last line that the index has; 0 if it has none.
    pub(super) fn newest(&mut self) -> Result<u64, Error> {
        Ok(self.finder.behind(0)?.map_or(0, |(last, _)| last))
    }

    /// Passes lines on: `most` at most, unless a group begins the batch.
    pub(super) fn read(
        &mut self,
        cursor: &mut Cursor,
        scan: &mut Scan<F>,
        (most, is_begun): (usize, bool),
        take: Take<'_>,
    ) -> Result<usize, Error> {
        let mut count = 0;
        self.begun.get_or_insert(cursor.passed(&self.stream));
        while count < most {
            let passed = cursor.passed(&self.stream);
            if self.run.as_ref().is_none_or(|run| run.last <= passed) {
                self.run = self.find(cursor, scan)?;
            }
            if self.run.is_none() {
                break;
            }
            match self.pass_on(cursor, (most - count, is_begun || count > 0), take)? {
                Read::Lines(lines) => count += lines,
                Read::Full => break,
                Read::NotYet => {
                    // More lines of it will make a longer run.
                    self.run.take().into_iter().for_each(|run| scan.put_back(self.stream, run));
                    break;
                }
                Read::Misplaced => {
                    let why = self.why_missing();
                    (self.run, self.manifest) = (None, None);
                    self.run = self.search(cursor, scan, &why)?;
                }
            }
        }
        Ok(count)
    }

    /// Where the line behind those that were passed on is expected. None if there is none yet.
    fn find(&mut self, cursor: &Cursor, scan: &mut Scan<F>) -> Result<Option<Run>, Error> {
        let passed = cursor.passed(&self.stream);
        if !std::mem::replace(&mut self.is_sought, true) {
            self.finder.seek(passed)?;
        }
        let mut next = self.ahead.take().filter(|run| run.last > passed);
        while next.is_none() {
            let Some(entry) = self.finder.next_entry()? else { break };
            self.indexed = self.indexed.max(entry.last());
            next = Some(self.run_of(&entry)).filter(|run| run.last > passed);
        }
        match next {
            Some(run) if run.first <= passed + 1 => Ok(Some(run)),
            Some(run) => {
                self.ahead = Some(run);
                self.search(cursor, scan, "no index says where they are, and they are in no manifest")
            }
            None => self.found_without_index(cursor, scan),
        }
    }

    fn run_of(&self, entry: &Entry) -> Run {
        let (manifest, offset) = (entry.manifest(&self.root).into(), entry.offset);
        Run { manifest, offset, first: entry.first, last: entry.last(), is_durable: true, is_behind_damage: false }
    }

    /// The next line, if the scan has found it.
    fn found_without_index(&mut self, cursor: &Cursor, scan: &mut Scan<F>) -> Result<Option<Run>, Error> {
        let passed = cursor.passed(&self.stream);
        let Some(run) = scan.take(&self.stream, passed) else {
            self.gap_since = None;
            return Ok(None);
        };
        if run.first <= passed + 1 {
            self.gap_since = None;
            return Ok(Some(run));
        }
        let to = run.first - 1;
        scan.put_back(self.stream, run);
        let since = *self.gap_since.get_or_insert(self.fs.steady());
        if self.fs.steady().saturating_sub(since) < FOLLOW_GAP_PATIENCE {
            return Ok(None);
        }
        Err(self.gone(cursor, to, "they are in no manifest"))
    }

    /// The next line, which was durable according to the index and is not where it says.
    fn search(&mut self, cursor: &Cursor, scan: &mut Scan<F>, why: &str) -> Result<Option<Run>, Error> {
        let passed = cursor.passed(&self.stream);
        scan.look(cursor)?;
        let found = scan.take(&self.stream, passed);
        if let Some(run) = found.as_ref().filter(|run| run.first <= passed + 1) {
            return Ok(Some(run.clone()));
        }
        let found = found.map(|run| {
            let first = run.first;
            scan.put_back(self.stream, run);
            first - 1
        });
        let behind = self.finder.behind(passed)?.map_or(0, |(last, _)| last);
        self.is_sought = false;
        match found {
            Some(to) if to <= self.indexed.max(behind) => Err(self.gone(cursor, to, why)),
            // The index names nothing behind it: perhaps a crash took it, and the next start writes it again.
            Some(_) => self.found_without_index(cursor, scan),
            None if behind > passed => Err(self.gone(cursor, behind, why)),
            None => Ok(None),
        }
    }

    fn gone(&self, cursor: &Cursor, to: u64, why: &str) -> Error {
        let mut go_on = cursor.clone();
        go_on.pass(self.stream, to);
        let from = cursor.passed(&self.stream) + 1;
        Error::Gone(Box::new(Gone { stream: self.stream, from, to, why: why.to_owned(), go_on }))
    }

    /// What is known about the manifest in which the next line is not.
    fn why_missing(&self) -> String {
        let Some(run) = &self.run else { return String::new() };
        let manifest = run.manifest.display();
        let others = || -> Option<String> {
            let dir = self.fs.open_dir(run.manifest.parent()?).ok()?;
            let name = run.manifest.file_name()?.as_encoded_bytes();
            let names = self.fs.list(&dir).ok()?.filter_map(|entry| Some(entry.ok()?.name));
            let mut other =
                names.filter(|other| other.len() > name.len() && other.as_encoded_bytes().starts_with(name));
            Some(other.next()?.to_string_lossy().into_owned())
        };
        match (Manifest::open(&self.fs, &run.manifest), others()) {
            (Ok(_), _) => format!("{manifest} does not have them"),
            (Err(_), Some(other)) => {
                format!("{manifest} is not there, but {other} beside it is: it was compressed or moved")
            }
            (Err(error), None) if error.is_not_found() => format!("{manifest} is not there: it was removed"),
            (Err(error), None) => error.to_string(),
        }
    }

    /// Passes on the lines of the run from the next one on.
    fn pass_on(&mut self, cursor: &mut Cursor, (most, is_begun): (usize, bool), take: Take<'_>) -> Result<Read, Error> {
        let Some(run) = &mut self.run else { return Ok(Read::Lines(0)) };
        let mut manifest = match self.manifest.take().filter(|open| open.path() == &*run.manifest) {
            Some(open) => open,
            None => match Manifest::open(&self.fs, &run.manifest) {
                Ok(open) => open,
                Err(error) if error.is_not_found() => return Ok(Read::Misplaced),
                Err(error) => return Err(error.into()),
            },
        };
        manifest.seek(run.offset);
        let begun = self.begun.unwrap_or(0);
        let mut batch = Batch { stream: self.stream, begun, cursor, most, is_begun, passed: 0 };
        let read = batch.pass_on(&mut manifest, run, take);
        self.manifest = Some(manifest);
        match read {
            Ok(None) => Ok(Read::Lines(batch.passed)),
            Ok(Some(_)) if batch.passed > 0 => Ok(Read::Lines(batch.passed)),
            Ok(Some(ended)) => Ok(ended),
            Err(error) => Err(error),
        }
    }
}

/// Lines that are passed on together.
struct Batch<'a> {
    stream: Stream,
    begun: u64,
    cursor: &'a mut Cursor,
    most: usize,
    is_begun: bool,
    passed: usize,
}

impl Batch<'_> {
    /// Returns why it has ended before the run or the batch did.
    fn pass_on<F: Fs>(
        &mut self,
        manifest: &mut Manifest<F>,
        run: &mut Run,
        take: Take<'_>,
    ) -> Result<Option<Read>, Error> {
        while self.passed < self.most {
            let (begin, next) = (manifest.offset(), self.cursor.passed(&self.stream) + 1);
            if next > run.last {
                break;
            }
            let Some(line) = manifest.next_line()? else { return Ok(Some(Read::Misplaced)) };
            let Some((_, number)) = number_of(line).filter(|(journal, _)| *journal == self.stream.id) else { continue };
            if number < next {
                continue;
            }
            if number > next {
                return Ok(Some(Read::Misplaced));
            }
            if let Some(group) = OfGroup::of(line) {
                let lines = vec![line.to_vec()];
                if let Some(ended) = self.pass_group_on(manifest, run, (group, lines, next), take)? {
                    manifest.seek(begin);
                    run.offset = begin;
                    return Ok(Some(ended));
                }
            } else {
                take(Line { stream: self.stream, number, text: line })?;
                self.cursor.pass(self.stream, number);
                self.passed += 1;
            }
            run.offset = manifest.offset();
        }
        Ok(None)
    }

    /// Passes on all lines of a group, of which one was read, or none of them.
    fn pass_group_on<F: Fs>(
        &mut self,
        manifest: &mut Manifest<F>,
        run: &Run,
        (group, mut lines, first): (OfGroup, Vec<Vec<u8>>, u64),
        take: Take<'_>,
    ) -> Result<Option<Read>, Error> {
        let (mut end, mut is_over) = (manifest.offset(), false);
        while first + (lines.len() as u64) <= run.last {
            let Some(line) = manifest.next_line()? else {
                is_over = true;
                break;
            };
            let Some((_, number)) = number_of(line).filter(|(journal, _)| *journal == self.stream.id) else { continue };
            let is_next = number == first + lines.len() as u64;
            if !is_next || !OfGroup::of(line).is_some_and(|other| other.is_same(&group)) {
                break;
            }
            lines.push(line.to_vec());
            end = manifest.offset();
        }
        // Its lines are written together: the others are on their way, unless they came before this follower began.
        let is_at_the_end = is_over || first + lines.len() as u64 > run.last;
        if is_at_the_end && !run.is_durable && lines.len() + group.known() < group.size() {
            let is_within = first == self.begun + 1;
            let before = if is_within { self.members_before(manifest, run.offset, (first, &group))? } else { 0 };
            if before == 0 || lines.len() + before < group.size() {
                manifest.seek(end);
                return Ok(Some(Read::NotYet));
            }
        }
        manifest.seek(end);
        if self.passed + lines.len() > self.most && (self.is_begun || self.passed > 0) {
            return Ok(Some(Read::Full));
        }
        for (place, line) in lines.iter().enumerate() {
            take(Line { stream: self.stream, number: first + place as u64, text: line })?;
        }
        self.cursor.pass(self.stream, first + lines.len() as u64 - 1);
        self.passed += lines.len();
        Ok(None)
    }

    /// How many members of this group are listed, or named as known, before its line with the number `first`, which is at this
    /// offset or behind it.
    fn members_before<F: Fs>(
        &self,
        manifest: &mut Manifest<F>,
        offset: u64,
        (first, group): (u64, &OfGroup),
    ) -> Result<usize, Error> {
        let mut before = 0;
        manifest.seek(0);
        while manifest.offset() < offset {
            let Some(line) = manifest.next_line()? else { break };
            let of = number_of(line).filter(|(journal, number)| *journal == self.stream.id && *number < first);
            let Some((_, number)) = of else { continue };
            match OfGroup::of(line).filter(|other| other.is_same(group)) {
                // The same group may have come before, with other contents.
                Some(other) if before == 0 || before >= group.size() => before = 1 + other.known(),
                Some(_) => before += 1,
                None => before = 0,
            }
            if number + 1 == first {
                break;
            }
        }
        Ok(if before >= group.size() { 0 } else { before })
    }
}
