//! Compares the manifests' lines with each other, and with the journal.
//!
//! Invariants:
//! - No memory is used for a line or a row without a problem.
//! - Lines that a journal cannot know (of other ingestors, or of contents that it was told to forget) are counted, not
//!   reported.

use std::ops::Range;

use hashbrown::{HashMap, HashSet};

use super::context::Audit;
use super::files::{Job, Queue};
use super::finding::{Content, Finding, Kind};
use super::journal_view::{Known, OnItsWay};
use super::places::split;
use super::sample::Choice;
use super::table::Entry;
use super::warehouse::OpenDirs;
use crate::Error;
use crate::fs::Fs;
use crate::journal::lifecycle::FileState;
use crate::journal::snapshot::Row;
use crate::types::Key;

/// Gets a row, and the lines that list its content.
type OnRow<'a> = &'a mut dyn FnMut(&Row, Range<usize>) -> Result<(), Error>;

impl<F: Fs> Audit<'_, '_, F> {
    /// Iterates over the journal's rows and the lines together, key by key. `each` gets a row and the range of
    /// the lines with its key; `lone` gets each line whose key the journal does not remember.
    fn side_by_side(&self, known: &Known, each: OnRow<'_>, lone: &mut dyn FnMut(usize)) -> Result<(), Error> {
        let entries = self.table.entries();
        let mut rows = known.rows(&self.table.relocations);
        let mut at = 0;
        while let Some(row) = rows.next_row()? {
            // Also for rows that are not compared: the journal knows the content of their lines.
            while entries.get(at).is_some_and(|entry| entry.key < row.key) {
                lone(at);
                at += 1;
            }
            let length = entries[at..].iter().take_while(|entry| entry.key == row.key).count();
            if self.since.is_none_or(|since| row.discovered_at >= since) {
                each(&row, at..at + length)?;
            }
            at += length;
            if self.watch.is_stopped() {
                return Ok(());
            }
        }
        (at..entries.len()).for_each(lone);
        Ok(())
    }

    /// The line of this row, among the lines of its content.
    fn match_row(&self, place: u64, row: &Row, lines: Range<usize>) -> Option<usize> {
        let entries = &self.table.entries()[lines.clone()];
        let at = entries.iter().position(|entry| entry.id == row.ingest_id && entry.place == place);
        let at = at.or_else(|| entries.iter().position(|entry| entry.id == row.ingest_id));
        let at = at.or_else(|| entries.iter().position(|entry| entry.place == place));
        at.map(|at| lines.start + at)
    }

    /// Compares lines and journal. Queues files that only the journal knows. Returns the lines whose content the
    /// journal does not remember.
    pub(super) fn compare(&self, known: &Known, choice: Choice, queue: &mut Queue<F>) -> Result<Vec<u32>, Error> {
        let (mut unknown, mut without_line) = (Vec::new(), 0_u64);
        let mut places = self.table.places(self.warehouse);
        self.side_by_side(
            known,
            &mut |row, lines| {
                let place = places.of(&row.warehouse_path);
                let Some(line) = self.match_row(place, row, lines) else {
                    without_line += 1;
                    return Ok(());
                };
                if let Some(detail) = self.differences(&self.table.entries()[line], place, row) {
                    self.report_contradiction(line as u32, detail);
                }
                Ok(())
            },
            &mut |line| unknown.push(line as u32),
        )?;
        self.look_at_moved(known, choice, queue);
        if without_line > 0 {
            let contradicted = self.without_line(known, choice, queue, &unknown)?;
            unknown.retain(|line| !contradicted.contains(line));
        }
        Ok(unknown)
    }

    /// Reports the rows without a line; returns the lines of unknown content that are about the same files.
    fn without_line(
        &self,
        known: &Known,
        choice: Choice,
        queue: &mut Queue<F>,
        unknown: &[u32],
    ) -> Result<HashSet<u32>, Error> {
        let by_id: HashMap<u64, u32> = unknown.iter().map(|line| (self.table.entry(*line).id.0, *line)).collect();
        let mut contradicted = HashSet::new();
        let mut dirs = OpenDirs::new(self.warehouse);
        let mut places = self.table.places(self.warehouse);
        self.side_by_side(
            known,
            &mut |row, lines| {
                let place = places.of(&row.warehouse_path);
                if self.match_row(place, row, lines).is_some() {
                    return Ok(());
                }
                match by_id.get(&row.ingest_id.0).filter(|line| self.is_of(**line, place, row)) {
                    Some(line) => {
                        contradicted.insert(*line);
                        let detail = format!("the journal says that its SHA-256 is {}", row.sha256);
                        self.report_contradiction(*line, detail);
                    }
                    None => self.not_listed(row, choice, &mut dirs, queue),
                }
                Ok(())
            },
            &mut |_| {},
        )?;
        Ok(contradicted)
    }

    /// True if a line with the row's ingest id is about the row's file.
    fn is_of(&self, line: u32, place: u64, row: &Row) -> bool {
        let entry = self.table.entry(line);
        entry.place == place
            || self.table.input_path(entry.input()).is_some_and(|input| row.source_path.starts_with(input))
    }

    /// The differences between line and row.
    fn differences(&self, entry: &Entry, place: u64, row: &Row) -> Option<String> {
        let mut differ = Vec::new();
        // If lines of two ingestors have the same id, a journal rebuilt from them has given one of the files another
        // id.
        if entry.id != row.ingest_id && !self.table.repeated_ids.contains(&entry.id.0) {
            differ.push(format!("its ingest id is {}", row.ingest_id));
        }
        if entry.size != row.size {
            differ.push(format!("its size is {}", row.size));
        }
        if entry.place != place {
            differ.push(format!("it is at {}", row.warehouse_path.display()));
        }
        if entry.ingested_at() != row.discovered_at {
            differ.push(format!("it was found complete at {}", row.discovered_at.rfc3339()));
        }
        (!differ.is_empty()).then(|| format!("the journal says that {}", differ.join(", that ")))
    }

    fn report_contradiction(&self, line: u32, detail: String) {
        let entry = self.table.entry(line);
        let Some(listed) = self.reread(entry) else { return };
        self.report(&Finding {
            ingest_id: Some(entry.id),
            expected: Content { size: Some(entry.size), sha256: Some(self.table.sha256(entry)) },
            lines: self.line_place(entry).into_iter().collect(),
            ..Finding::new(Kind::Contradiction, listed.warehouse_path, detail)
        });
    }

    fn not_listed(&self, row: &Row, choice: Choice, dirs: &mut OpenDirs<'_, F>, queue: &mut Queue<F>) {
        let (sha256, size, id) = (row.sha256, row.size, row.ingest_id);
        let expected = Content { size: Some(size), sha256: Some(sha256) };
        if self.unreads.borrow().may_list(row.discovered_at) {
            self.leave_undecided(1);
        } else {
            let detail = "it is MANIFESTED in the journal, and no manifest has its line";
            let path = row.warehouse_path.clone();
            self.report(&Finding { ingest_id: Some(id), expected, ..Finding::new(Kind::NotListed, path, detail) });
        }
        let file = OnItsWay {
            state: FileState::Manifested,
            id,
            sha256,
            key: row.key,
            size,
            discovered_at: row.discovered_at,
            warehouse_path: row.warehouse_path.clone(),
        };
        self.look_at(&file, choice, dirs, queue);
    }

    /// Queues the files that are in the warehouse, but whose lines are not written yet.
    fn look_at_moved(&self, known: &Known, choice: Choice, queue: &mut Queue<F>) {
        let (mut dirs, mut places) = (OpenDirs::new(self.warehouse), self.table.places(self.warehouse));
        for file in known.on_their_way().filter(|file| file.state == FileState::Moved) {
            let is_compared = self.since.is_none_or(|since| file.discovered_at >= since);
            if is_compared && self.table.at_place(places.of(&file.warehouse_path)).is_none() {
                self.look_at(&file, choice, &mut dirs, queue);
            }
        }
    }

    /// Queues a file without a line.
    fn look_at(&self, file: &OnItsWay, choice: Choice, dirs: &mut OpenDirs<'_, F>, queue: &mut Queue<F>) {
        let OnItsWay { sha256, size, id, key, .. } = file;
        let (sha256, size, id) = (*sha256, *size, *id);
        let (dir, name) = split(&file.warehouse_path);
        let (name, hash) = (name.to_owned(), choice.takes(key));
        match dirs.open(dir) {
            Ok(dir) => queue.push(Job { dir, name, sha256, size, id, line: None, number: None, hash }),
            Err(stray) => {
                let expected = Content { size: Some(size), sha256: Some(sha256) };
                let finding = Finding::new(stray.kind(), file.warehouse_path.clone(), stray.to_string());
                self.report(&Finding { ingest_id: Some(id), expected, ..finding });
            }
        }
    }

    /// Reports contents, places and ingest ids that occur in several lines. Returns how many lines are not reported
    /// because their content was forgotten before it came again.
    pub(super) fn listed_twice(&self, known: Option<&Known>) -> u64 {
        let excused = self.same_contents(known);
        let is_reported = |one: u32, other: u32| {
            self.table.entry(one).key == self.table.entry(other).key && self.owner(one) == self.owner(other)
        };
        for (one, other) in &self.table.same_place {
            if is_reported(*one, *other) {
                continue;
            }
            let name = |line: u32| {
                let listed = self.reread(self.table.entry(line));
                listed.and_then(|it| it.warehouse_path.file_name().map(ToOwned::to_owned))
            };
            // Different names can have the same hash.
            if name(*one) == name(*other) {
                self.report_twice(&[*one, *other], "this place in the warehouse");
            }
        }
        for (one, other) in self.same_ids() {
            let is_reported = is_reported(one, other) || self.table.entry(one).place == self.table.entry(other).place;
            if !is_reported && self.owner(one) == self.owner(other) {
                self.report_twice(&[one, other], "this ingest id");
            }
        }
        excused
    }

    fn same_contents(&self, known: Option<&Known>) -> u64 {
        let entries = self.table.entries();
        let (mut at, mut excused) = (0, 0);
        for lines in entries.chunk_by(|one, other| one.key == other.key) {
            let first = at as u32;
            at += lines.len();
            if lines.len() == 1 {
                continue;
            }
            let mut lines: Vec<u32> = (first..at as u32).collect();
            lines.sort_by_key(|line| self.owner(*line));
            for of_one in lines.chunk_by(|one, other| self.owner(*one) == self.owner(*other)) {
                let counted = self.not_forgotten(known, &entries[first as usize].key, of_one);
                excused += (of_one.len() - counted.len()) as u64;
                if counted.len() > 1 {
                    self.report_twice(
                        &counted,
                        if self.table.has_name(&entries[first as usize]) {
                            "this name and content"
                        } else {
                            "this content"
                        },
                    );
                }
            }
        }
        excused
    }

    /// The owner of a line: the journal's own ingestor, or another one, by its staging directory.
    fn owner(&self, line: u32) -> usize {
        let input = self.table.entry(line).input();
        if self.inputs.get(input).is_some_and(|input| input.is_own) { usize::MAX } else { input }
    }

    /// The lines of one content, without those from before it was forgotten.
    fn not_forgotten(&self, known: Option<&Known>, key: &Key, lines: &[u32]) -> Vec<u32> {
        let Some(known) = known else { return lines.to_vec() };
        let last = lines.last().copied();
        let was_forgotten = |line: &u32| {
            let entry = self.table.entry(*line);
            known.has_forgotten(key, entry.id, entry.ingested_at())
        };
        let counts = |line: &u32| Some(*line) == last || !was_forgotten(line);
        lines.iter().copied().filter(counts).collect()
    }

    /// Pairs of lines with the same ingest id.
    fn same_ids(&self) -> Vec<(u32, u32)> {
        let entries = self.table.entries().iter().enumerate();
        let repeated = entries.filter(|(_, entry)| self.table.repeated_ids.contains(&entry.id.0));
        let mut repeated: Vec<(u64, usize, u32)> =
            repeated.map(|(line, entry)| (entry.id.0, self.owner(line as u32), line as u32)).collect();
        repeated.sort_unstable();
        let pairs = repeated.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        pairs.map(|pair| (pair[0].2, pair[1].2)).collect()
    }

    fn report_twice(&self, lines: &[u32], what: &str) {
        let entry = self.table.entry(lines[0]);
        let Some(listed) = self.reread(entry) else { return };
        let places = lines.iter().filter_map(|line| self.line_place(self.table.entry(*line)));
        let detail = format!("{what} is in {} lines", lines.len());
        self.report(&Finding {
            ingest_id: Some(entry.id),
            expected: Content { size: Some(entry.size), sha256: Some(self.table.sha256(entry)) },
            lines: places.collect(),
            ..Finding::new(Kind::ListedTwice, listed.warehouse_path, detail)
        });
    }

    /// Decides about lines whose content the journal did not remember when it was read, with a journal that was read
    /// later.
    pub(super) fn judge_unknown(&mut self, lines: &[u32], known: &Known) -> Result<(), Error> {
        for line in lines {
            let entry = self.table.entry(*line);
            if known.has_forgotten(&entry.key, entry.id, entry.ingested_at()) {
                self.summary.forgotten += 1;
                continue;
            }
            if known.knows(&entry.key)? {
                continue;
            }
            if !self.inputs.get(entry.input()).is_some_and(|input| input.is_known) {
                self.summary.of_others += 1;
                continue;
            }
            let detail = if entry.id.0 > known.last_lsn().0 {
                "the journal does not know it, and ends before its ingest id: it is older than the manifests"
            } else {
                "the journal does not know it: sent again, its content would be ingested again"
            };
            let Some(listed) = self.reread(entry) else { continue };
            self.report(&Finding {
                ingest_id: Some(entry.id),
                expected: Content { size: Some(entry.size), sha256: Some(self.table.sha256(entry)) },
                lines: self.line_place(entry).into_iter().collect(),
                ..Finding::new(Kind::NotInJournal, listed.warehouse_path, detail)
            });
        }
        Ok(())
    }
}
