//! Reads the intact parts of a damaged journal: every record whose frame is valid by its own checksums, at any offset.
//!
//! Invariants:
//! - It only reads.
//! - Nothing is guessed: a record that contradicts the records before it, or lacks them, is counted as an orphan and
//!   left out.
//! - Every missing LSN is reported, as part of a range.

use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;

use super::merge::{Expiry, NewRows, Quality};
use crate::fs::Fs;
use crate::journal::disk::error::{Corrupt, Error};
use crate::journal::disk::format::{BLOCK_BYTES, FrameKind};
use crate::journal::disk::frame::FrameHeader;
use crate::journal::disk::lifecycle::{FileState, StateCounts};
use crate::journal::disk::names;
use crate::journal::disk::record::{ClockJumped, Record};
use crate::journal::disk::segment::{FrameRead, SegmentReader, is_made_by_repair};
use crate::journal::disk::snapshot::{Damaged, Row, Snapshot};
use crate::journal::log::clock::Follow;
use crate::journal::log::files::Files;
use crate::journal::memory::history::{File, History};
use crate::types::{IngestId, Key, Lsn, UnixMillis};

/// A range of LSNs without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub from: Lsn,
    /// The last; None if an unknown number of records may have followed.
    pub to: Option<Lsn>,
}

/// The result.
#[derive(Default)]
pub struct Salvage {
    /// The journal's UUID, if a header says it.
    pub store: Option<[u8; 16]>,
    /// The newest snapshot that is wholly intact.
    pub(in crate::journal) base: Option<Arc<Snapshot>>,
    pub(in crate::journal) history: History,
    /// For each key that is known, the file with it that was moved and is not finished.
    moved: HashMap<Key, IngestId>,
    /// Rows that are not in `base`.
    pub(in crate::journal) rows: NewRows,
    /// If there is no `base`: the expiries of the snapshot with whose records the salvage begins. Rows that it had
    /// forgotten may turn up again.
    forgotten_before: Option<Expiry>,
    /// Counts from the headers.
    pub(in crate::journal) sums: Sums,
    /// Lost records may have numbered manifest lines.
    pub(in crate::journal) may_be_numbered: bool,
    /// Records read from segments.
    pub records: u64,
    /// Records whose predecessors are missing: their LSNs, and the files that they are about.
    pub orphans: Vec<(Lsn, IngestId)>,
    /// Paths of files that are in the warehouse, but whose DISCOVERED is lost: a manifest may lack their lines.
    pub unlisted: Vec<PathBuf>,
    /// LSNs that are lost, in order.
    pub lost: Vec<Lost>,
    /// Damaged files, and what is wrong with them.
    pub damaged: Vec<(PathBuf, String)>,
    /// The greatest LSN that any file mentions.
    pub last_lsn: Lsn,
    /// The number of the last segment.
    pub(in crate::journal) last_number: u64,
    tail: Tail,
}

/// Counts from the headers.
#[derive(Default)]
pub(in crate::journal) struct Sums {
    /// Rows that `base` and `rows` should have.
    pub(in crate::journal) rows_expected: u64,
    /// Files that are finished and not in the history.
    pub(in crate::journal) finished: StateCounts,
    /// Contents that were forgotten before the snapshot whose surviving records were read.
    pub(in crate::journal) forgotten: u64,
}

/// The progress of the reading.
#[derive(Default)]
struct Tail {
    /// The next LSN, if nothing is lost.
    expected: Lsn,
    times: Follow,
    /// The LSN in the name of the newest snapshot: all LSNs up to it were used.
    snapshot_lsn: Lsn,
    /// The first LSN of the last segment whose seal says that it holds no record. Its successor skips that LSN.
    unused: Option<Lsn>,
    /// True if more frames may have followed the last good one.
    end_is_open: bool,
}

/// The segments in the order of the LSNs in their headers, not of their names: (first LSN, LSN in the name).
fn in_order<F: Fs>(fs: &F, dir: &F::Dir, files: &Files) -> Result<Vec<(Lsn, Lsn)>, Error> {
    let first_lsn = |name: &Lsn| Ok((SegmentReader::first_lsn(fs, dir, *name)?.unwrap_or(*name), *name));
    let mut segments = files.segments.iter().map(first_lsn).collect::<Result<Vec<_>, Error>>()?;
    segments.sort_unstable();
    Ok(segments)
}

/// A snapshot, intact or damaged.
enum Candidate {
    Intact(Arc<Snapshot>),
    Damaged(Lsn, Box<Damaged>),
}

impl Salvage {
    /// Reads all files of a journal.
    ///
    /// # Errors
    /// Newer, if a newer version wrote any of them; I/O. Damage is not an error here.
    pub fn read<F: Fs>(fs: &F, dir: &F::Dir, files: &Files) -> Result<Salvage, Error> {
        let mut salvage = Salvage { tail: Tail { expected: Lsn(1), ..Tail::default() }, ..Salvage::default() };
        salvage.last_lsn = files.snapshots.iter().chain(&files.segments).max().copied().unwrap_or_default();
        salvage.tail.snapshot_lsn = files.snapshots.last().copied().unwrap_or_default();
        let candidates = salvage.open_snapshots(fs, dir, files)?;
        let begun = salvage.begin(&candidates)?;
        let segments = in_order(fs, dir, files)?;
        salvage.harvest(fs, dir, &segments, &candidates, begun)?;
        for (_, name) in segments.iter().filter(|(lsn, _)| *lsn > begun) {
            salvage.segment(fs, dir, *name)?;
        }
        salvage.end();
        Ok(salvage)
    }

    /// Opens the newest intact snapshot and all newer ones, the newest first.
    fn open_snapshots<F: Fs>(&mut self, fs: &F, dir: &F::Dir, files: &Files) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for lsn in files.snapshots.iter().rev() {
            match Snapshot::open(fs, dir, *lsn).and_then(|snapshot| snapshot.verify().map(|()| snapshot)) {
                Ok(snapshot) => {
                    let snapshot = Arc::new(snapshot);
                    self.rows.directories = snapshot.directories().clone();
                    self.base = Some(snapshot.clone());
                    candidates.push(Candidate::Intact(snapshot));
                    break;
                }
                Err(Error::Corrupt(damage)) => {
                    self.damaged(*damage);
                    candidates.push(Candidate::Damaged(*lsn, Box::new(Damaged::open(fs, dir, *lsn)?)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(candidates)
    }

    fn damaged(&mut self, damage: Corrupt) {
        let what = format!("at offset {}: {}", damage.offset, damage.damage);
        self.damaged.push((damage.file, what));
    }

    /// Begins with the newest snapshot whose surviving records can be read. Returns its LSN; 0 if there is none.
    fn begin(&mut self, candidates: &[Candidate]) -> Result<Lsn, Error> {
        for candidate in candidates {
            let mut told = Vec::new();
            let mut listen = |lsn, at, record| {
                told.push((lsn, at, record));
                Ok(())
            };
            let header = match candidate {
                Candidate::Intact(snapshot) => {
                    snapshot.survivors(&mut listen)?;
                    Some(snapshot.header())
                }
                Candidate::Damaged(_, damaged) => damaged.survivors(&mut listen)?.then(|| damaged.header()).flatten(),
            };
            let Some(header) = header else { continue };
            self.store = Some(header.store);
            self.sums.finished = header.finished;
            self.sums.rows_expected = header.rows;
            self.sums.forgotten = header.forgotten;
            self.tail.expected = header.lsn.plus(1);
            self.last_number = header.segment_number;
            self.tail.times.newest = told.last().map(|(_, at, _)| *at);
            for (lsn, at, record) in told {
                // Their checksum is correct; a record that contradicts the others anyway is left out.
                let _ = self.history.survivor(lsn, at, record);
            }
            self.history.skip_numbers(header.last_seq);
            self.know_moved();
            return Ok(header.lsn);
        }
        Ok(Lsn(0))
    }

    fn know_moved(&mut self) {
        let moved = self.history.files().filter(|file| file.state == FileState::Moved);
        self.moved = moved.filter_map(|file| Some((file.key()?, file.id))).collect();
    }

    /// Collects rows of damaged snapshots, from their intact blocks and from the segments from which they were made.
    fn harvest<F: Fs>(
        &mut self,
        fs: &F,
        dir: &F::Dir,
        segments: &[(Lsn, Lsn)],
        candidates: &[Candidate],
        begun: Lsn,
    ) -> Result<(), Error> {
        let Some(Candidate::Damaged(..)) = candidates.first() else { return Ok(()) };
        let base = self.base.clone();
        self.forgotten_before = base.is_none().then(|| Expiry::of(&self.history));
        // A content that was forgotten and ingested again has an older row in `base`.
        let is_new = |row: &Row| match &base {
            Some(base) => Ok::<_, Error>(base.find(&row.key)?.is_none_or(|known| known.lsn < row.lsn)),
            None => Ok(true),
        };
        for candidate in candidates {
            let Candidate::Damaged(lsn, damaged) = candidate else { continue };
            let mut rows = Vec::new();
            let mut failed = Ok(());
            damaged.rows(&mut |row| match is_new(&row) {
                Ok(true) => rows.push(row),
                Ok(false) => {}
                Err(error) => failed = Err(error),
            })?;
            failed?;
            self.last_lsn = self.last_lsn.max(*lsn);
            let quality = if damaged.knows_directories() { Quality::Whole } else { Quality::WithoutDirectories };
            rows.iter().for_each(|row| self.push(row, quality));
        }
        // The surviving records up to `begun` are in the snapshot that the salvage begins with; these segments are read
        // only for rows.
        let forgotten_before = self.forgotten_before.take();
        let mut history =
            Salvage { tail: Tail { expected: Lsn(1), ..Tail::default() }, forgotten_before, ..Salvage::default() };
        if let Some(base) = &base {
            base.survivors(&mut |lsn, at, record| {
                history.history.survivor(lsn, at, record)?;
                Ok(())
            })?;
            history.history.skip_numbers(base.header().last_seq);
            history.know_moved();
            history.tail.expected = base.header().lsn.plus(1);
        }
        std::mem::swap(&mut history.rows, &mut self.rows);
        let after = history.tail.expected;
        for (_, name) in segments.iter().filter(|(lsn, _)| *lsn >= after && *lsn <= begun) {
            history.segment(fs, dir, *name)?;
        }
        std::mem::swap(&mut history.rows, &mut self.rows);
        self.damaged.append(&mut history.damaged);
        Ok(())
    }

    /// Reads every valid frame of a segment.
    fn segment<F: Fs>(&mut self, fs: &F, dir: &F::Dir, lsn: Lsn) -> Result<(), Error> {
        let path = fs.dir_path(dir).join(names::segment(lsn));
        let was_open = std::mem::replace(&mut self.tail.end_is_open, true);
        let mut reader = match SegmentReader::open(fs, dir, lsn) {
            Err(Error::Corrupt(damage)) => {
                self.damaged(*damage);
                self.skip_unused(lsn);
                self.may_be_numbered = true;
                let Some(reader) = SegmentReader::open_damaged(fs, dir, lsn)? else { return Ok(()) };
                let store = reader.header().store;
                if store != [0; 16] && self.store.is_some_and(|ours| ours != store) {
                    return Ok(());
                }
                reader
            }
            Err(error) => return Err(error),
            Ok(mut reader) => {
                // An earlier repair was cut off: the LSNs that it skipped are not lost.
                if is_made_by_repair(reader.header()) && reader.is_zero(BLOCK_BYTES as u64)? {
                    self.tail.end_is_open = was_open;
                    return Ok(());
                }
                let header = reader.header();
                if self.store.is_some_and(|store| store != header.store) {
                    self.damaged.push((path, "it belongs to another journal".to_owned()));
                    return Ok(());
                }
                self.store = Some(header.store);
                self.may_be_numbered |= reader.may_number_lines()?;
                self.last_number = self.last_number.max(header.number);
                header.predecessor.iter().for_each(|before| self.skip_unused(before.first_lsn));
                self.reach(header.first_lsn, header.predecessor.map(|before| before.last_lsn.plus(1)));
                self.tail.end_is_open = false;
                reader
            }
        };
        let bad = self.frames(&mut reader)?;
        if let Some(offset) = bad {
            let what = format!("there is no frame at offset {offset}: damaged, or torn by a crash");
            self.damaged.push((path, what));
            self.tail.end_is_open = true;
        }
        Ok(())
    }

    /// Reads the valid frames. Returns the offset of bad bytes after the last one, if there are any.
    fn frames<F: Fs>(&mut self, reader: &mut SegmentReader<F>) -> Result<Option<u64>, Error> {
        let mut offset = BLOCK_BYTES as u64;
        let (mut bad, mut is_sealed) = (None, false);
        while offset < reader.header().capacity {
            let path = reader.path().to_path_buf();
            if let FrameRead::Frame(header, payload) = reader.frame(offset)? {
                if let Some(bad) = bad.take() {
                    let what = format!("there are no valid frames from offset {bad} to {offset}");
                    self.damaged.push((path, what));
                }
                self.frame(&header, payload);
                // After a seal, the rest of a torn write does not matter: no frame belongs there. But the seal proves
                // that a successor exists, so more frames may have followed.
                is_sealed = header.kind == FrameKind::Seal;
                if is_sealed && header.first_lsn == reader.header().first_lsn {
                    self.tail.unused = Some(header.first_lsn);
                }
                self.tail.end_is_open |= is_sealed;
                offset += header.frame_bytes() as u64;
                continue;
            }
            if bad.is_none() && !is_sealed && !reader.is_zero(offset)? {
                bad = Some(offset);
            }
            offset += BLOCK_BYTES as u64;
        }
        Ok(bad)
    }

    /// Called for a segment that begins at `first_lsn`, even if it is damaged. If it follows a segment without records,
    /// the LSN that it skips is not lost.
    fn skip_unused(&mut self, first_lsn: Lsn) {
        if self.tail.unused.is_some_and(|unused| unused.plus(1) == first_lsn) {
            self.tail.expected = self.tail.expected.max(first_lsn);
        }
    }

    /// Notes that every LSN before `next` was used, or skipped from `unused` on; those without a record are lost.
    fn reach(&mut self, next: Lsn, unused: Option<Lsn>) {
        let end = unused.map_or(next, |unused| unused.min(next));
        // The seal of a segment without records says that its LSN is skipped, even if the successor is lost.
        let from =
            if self.tail.unused == Some(self.tail.expected) { self.tail.expected.plus(1) } else { self.tail.expected };
        if end > from {
            self.lost.push(Lost { from, to: Some(Lsn(end.0 - 1)) });
        }
        self.tail.expected = self.tail.expected.max(next);
        self.last_lsn = self.last_lsn.max(Lsn(next.0.saturating_sub(1)));
    }

    fn frame(&mut self, header: &FrameHeader, payload: &[u8]) {
        // An older copy of frames that were read already.
        if header.first_lsn < self.tail.expected {
            return;
        }
        self.note_jump(header);
        self.reach(header.first_lsn, None);
        let mut rest = payload;
        for index in 0..u64::from(header.record_count) {
            let Some((record, length)) = Record::decode(rest) else { break };
            self.record(header.first_lsn.plus(index), header.written_at, record);
            rest = &rest[length..];
        }
        self.tail.expected = header.first_lsn.plus(u64::from(header.record_count));
        self.last_lsn = self.last_lsn.max(Lsn(self.tail.expected.0.saturating_sub(1)));
    }

    /// If frames before this one are lost, a CLOCK_JUMPED may be among them: adds one if the clock has jumped.
    fn note_jump(&mut self, header: &FrameHeader) {
        if header.first_lsn > self.tail.expected && header.kind != FrameKind::Seal {
            let shift_ms = self.tail.times.jump_to(self.history.clock().shift_ms(), header.written_at);
            let lsn = Lsn(header.first_lsn.0 - 1);
            if let Some(shift_ms) = shift_ms {
                let jumped = Record::ClockJumped(ClockJumped { from: lsn, shift_ms });
                let _ = self.history.record(lsn, header.written_at, jumped);
            }
        }
        if header.kind != FrameKind::Seal {
            self.tail.times.newest = Some(header.written_at);
        }
    }

    fn record(&mut self, lsn: Lsn, at: UnixMillis, record: Record) {
        self.records += 1;
        let id = record.ingest_id();
        let is_manifested = matches!(record, Record::Manifested(_));
        let moves_in = is_manifested || matches!(record, Record::Moved(_));
        let key = match &record {
            Record::Hashed(hashed) => self.history.key_of(hashed.ingest_id, Some(hashed)),
            _ => id.filter(|_| moves_in).and_then(|id| self.history.key_of(id, None)),
        };
        if let (Some(id), Some(key)) = (id, key) {
            self.finish_forgotten(id, &key);
        }
        match self.history.salvage(lsn, at, record) {
            Ok(Some(file)) if is_manifested => self.row(*file),
            Ok(_) => self.moved.extend(key.filter(|_| moves_in).zip(id)),
            Err(_) => self.orphans.extend(id.map(|id| (lsn, id))),
        }
    }

    /// This file is about to be moved into the warehouse. If another file with its key was moved there before, that one is
    /// finished and its key was forgotten since, even if those records are lost: otherwise this record could not
    /// exist.
    fn finish_forgotten(&mut self, id: IngestId, key: &Key) {
        let other = self.moved.get(key).copied().filter(|other| *other != id);
        if let Some(file) = other.and_then(|other| self.history.take(other)) {
            self.row(file);
        }
    }

    fn row(&mut self, file: File) {
        let quality = match &file.moved {
            _ if file.found.value.source_path.as_os_str().is_empty() => Quality::WithoutDiscovered,
            // The MOVED was derived from the MANIFESTED: it has the same LSN.
            Some(moved) if moved.lsn == file.lsn => Quality::WithoutMoved,
            _ => Quality::Whole,
        };
        if let Some(row) = file.into_row() {
            self.moved.remove(&row.key);
            self.sums.finished[FileState::Manifested as usize] += 1;
            self.sums.rows_expected += 1;
            self.push(&row, quality);
        }
    }

    fn push(&mut self, row: &Row, quality: Quality) {
        if !self.forgotten_before.as_ref().is_some_and(|expiry| expiry.forgets(row)) {
            self.rows.push(row, quality);
        }
    }

    /// Closes the files that cannot continue.
    fn end(&mut self) {
        for file in self.history.close_incomplete() {
            self.unlisted.extend(file.warehouse_path().cloned());
            self.row(file);
        }
        let finished = self.history.finished();
        self.sums.finished.iter_mut().zip(finished).for_each(|(count, more)| *count += more);
        if self.tail.end_is_open || self.tail.expected <= self.tail.snapshot_lsn {
            self.lost.push(Lost { from: self.tail.expected, to: None });
        }
    }

    /// The number of files that are not finished, kept duplicates included.
    pub fn unfinished(&self) -> usize {
        self.history.files().count()
    }
}
