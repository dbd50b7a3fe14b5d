//! The committer: journal, publish, manifest, clean up, in batches, on one thread.
//!
//! Invariants, each tied to a promise of the design:
//! - P3: a step's records are durable before the step; the next step's records are written only after its effects
//!   were synced. The order is [`Committer::commit`]'s body, top to bottom.
//! - P1: a content is claimed by at most one file at a time, and a duplicate is decided only against content that is
//!   durably MOVED.
//! - P2: nothing in staging is removed before MOVED (or, for a duplicate, its original) is durable.
//! - Syncs are counted by batches and touched directories, never by files.

mod clean_up;
mod move_in;
mod original;
mod plan;
mod quarantine;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::hash::Shared;
use super::manifest::Manifests;
use super::places::Places;
use super::publish::Publisher;
use super::quarantine::{Finding, Quarantine};
use super::{Error, HashResult, Hashed, Report, Settled};
use crate::fs::{self, FileKind, Fs, Open};
use crate::journal::compact::Compacted;
use crate::journal::index::Index;
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, ClockJumped, KeptGone, Record, Rules, Settings};
use crate::journal::{Journal, Refused};
use crate::limits::{COMPACTION_BYTES_MIN, FULL_DISK_RETRY, RECENT_CONTENTS_MAX};
use crate::metrics::{Metrics, events};
use crate::types::{FileIdentity, IngestId, Lsn, Sha256, UnixMillis};

/// Called while the disk is full: waits, and says whether to try again.
pub type OnFull = Box<dyn FnMut() -> bool + Send>;

/// The one writer of journal, warehouse and manifests.
pub struct Committer<F: Fs> {
    pub(super) fs: F,
    pub(super) shared: Arc<Shared<F>>,
    pub(super) journal: Journal<F>,
    pub(super) state: Index,
    pub(super) settings: Arc<Settings>,
    pub(super) publisher: Publisher<F>,
    pub(super) manifests: Manifests<F>,
    pub(super) metrics: Arc<Metrics>,
    on_full: OnFull,
    /// What has to stay in its place.
    places: Option<Arc<Places<F>>>,
    /// Where files go that cannot be ingested; None: they stay.
    quarantine: Option<Quarantine>,
    /// What stands at a name that was chosen for a file was perhaps moved there by an earlier run.
    pub(super) is_recovering: bool,
    /// The disk was full when last tried.
    is_full: bool,
    /// Files whose DISCOVERED is durable already, by ticket.
    pub(super) tickets: HashMap<u64, IngestId>,
    /// Files whose DISCOVERED goes into the next frame, ahead of their hash.
    noted: Vec<Settled>,
    /// Files that wait for one of equal content in the batch before.
    deferred: Vec<Hashed<F>>,
    /// MANIFESTED and the like, for the next frame.
    closings: Vec<Record>,
    /// So many files had further names behind their renames, one behind the other.
    linked: u32,
    /// Warehouse paths of files that stay HASHED for the next start: what stands there is judged as theirs, so no other file
    /// may go there.
    pub(super) undecided: HashSet<PathBuf>,
    /// Originals that were read and found right, and what stood there then.
    verified: HashMap<Sha256, FileIdentity>,
    /// Files of the last batch that are in the warehouse, open still: closing them costs time that somebody else may have.
    finished: Vec<F::File>,
}

/// A file on its way through one batch.
pub(super) struct Work<F: Fs> {
    pub(super) id: IngestId,
    pub(super) name: Arc<OsStr>,
    /// (device, inode) of the staged file.
    pub(super) key: (u64, u64),
    /// The open file; dropping it gives up the lease.
    pub(super) held: Option<F::File>,
    pub(super) leased: bool,
}

impl<F: Fs> Work<F> {
    pub(in crate::pipeline) fn lease(&self) -> Option<&F::File> {
        self.held.as_ref().filter(|_| self.leased)
    }
}

/// A file that does not go on, and why.
pub(super) struct Dropped<F: Fs> {
    pub(super) work: Work<F>,
    pub(super) reason: AbandonReason,
    pub(super) error: Option<fs::Error>,
}

/// The files that have arrived, and those that have not.
type Placings<F> = (Vec<Work<F>>, Vec<Dropped<F>>);

impl<F: Fs> Committer<F> {
    /// Takes over the journal and what it adds up to. `shared` is what the hashing workers share.
    pub fn new(
        shared: Arc<Shared<F>>,
        journal: Journal<F>,
        state: Index,
        settings: Arc<Settings>,
        quarantine: Option<Quarantine>,
        metrics: Arc<Metrics>,
        on_full: OnFull,
    ) -> Committer<F> {
        let fs = shared.fs.clone();
        let mut publisher = Publisher::new(fs.clone(), journal.store());
        publisher.remember(&settings.input, shared.staging.clone());
        let manifests = Manifests::stopped_by(fs.clone(), shared.signalled.clone());
        Committer {
            shared,
            journal,
            state,
            settings,
            publisher,
            manifests,
            metrics,
            on_full,
            places: None,
            quarantine,
            is_recovering: false,
            is_full: false,
            tickets: HashMap::new(),
            noted: Vec::new(),
            deferred: Vec::new(),
            closings: Vec::new(),
            linked: 0,
            undecided: HashSet::new(),
            verified: HashMap::new(),
            finished: Vec::new(),
            fs,
        }
    }

    /// Has these looked at before each batch.
    pub fn watch(&mut self, places: Arc<Places<F>>) {
        self.places = Some(places);
    }

    /// On this device a renamed file gets another inode number, as was tried out.
    pub fn note_renumbering(&mut self, device: u64) {
        self.publisher.note_renumbering(device);
    }

    /// What the journal adds up to.
    pub fn state(&self) -> &Index {
        &self.state
    }

    /// The journal.
    pub fn journal(&self) -> &Journal<F> {
        &self.journal
    }

    /// Writes settings and rules into the journal, if they are not those that are in force.
    pub fn begin(&mut self) -> Result<(), Error> {
        let mut records = Vec::new();
        if self.state.settings().is_none_or(|known| **known != *self.settings) {
            records.push(Record::Settings((*self.settings).clone()));
        }
        let rules = Rules {
            quarantine: self.quarantine.as_ref().map(|quarantine| quarantine.dir.clone()),
            validation: self.shared.validate,
            require_checksum: self.shared.require_checksum,
        };
        if *self.state.rules() != rules {
            records.push(Record::Rules(rules));
        }
        self.write(&records)
    }

    /// Says that a file which recovery found DISCOVERED is being hashed under this ticket.
    pub fn resume(&mut self, ticket: u64, id: IngestId) {
        self.tickets.insert(ticket, id);
    }

    /// Has the DISCOVERED of a file written ahead of its hash, because that takes long.
    pub fn note(&mut self, settled: Settled) {
        self.noted.push(settled);
    }

    /// Has it written that these kept duplicates are not in staging any more, unless they are known to be others by now.
    pub fn note_gone(&mut self, gone: &[FileIdentity]) {
        let known = |gone: &&FileIdentity| self.state.kept_at(gone.key()).is_some_and(|it| it.identity == **gone);
        let records = gone.iter().filter(known).map(|gone| KeptGone { device: gone.device, inode: gone.inode });
        self.closings.extend(records.map(Record::KeptGone));
    }

    /// True if there are records that go into the next frame, or files that wait for the next batch.
    pub fn has_pending(&self) -> bool {
        !self.closings.is_empty() || !self.noted.is_empty() || !self.deferred.is_empty()
    }

    /// True if files wait for the next batch, because others of equal content were in the one before.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Takes one batch of files all the way: journal, publish, journal, manifest, clean up. Files of equal content
    /// wait for the next batch (which may be empty otherwise).
    pub fn commit(&mut self, batch: Vec<HashResult<F>>) -> Result<Vec<Report>, Error> {
        self.finished.clear();
        if let Some(places) = &self.places {
            places.look()?;
            places.must_hold(&self.journal)?;
        }
        let mut reports = Vec::with_capacity(batch.len());
        let mut hashed = std::mem::take(&mut self.deferred);
        let mut to_confine = Vec::new();
        for item in batch {
            match item {
                Ok(file) => hashed.push(file),
                Err(refused) => match self.finding(&refused) {
                    Some(finding) => to_confine.push((refused.settled, finding)),
                    None => reports.push(self.refuse(refused.settled, refused.refusal)),
                },
            }
        }
        if hashed.iter().any(|file| !file.durable) {
            // One call for all. Its failure ends the process: which file it concerns, nobody can tell.
            self.fs.sync_fs(&self.shared.staging).inspect_err(|_| self.forget_staged_pages())?;
        }
        // What no kept duplicate holds any more may have expired: the plan has to know.
        if self.closings.iter().any(|record| matches!(record, Record::KeptGone(_))) {
            self.flush()?;
        }
        let mut plan = self.plan(hashed)?;
        self.plan_quarantine(to_confine, &mut plan);
        self.write(&plan.records)?;

        let (placed, dropped) = self.place_all(plan.ingests)?;
        self.carry_through(placed, dropped, plan.duplicates, &mut reports)?;
        Ok(reports)
    }

    fn finding(&self, refused: &super::Refused) -> Option<Finding> {
        self.quarantine.as_ref()?.finding(refused, &self.settings.input)
    }

    /// The files that the last batch has brought into the warehouse. Dropping them closes them, and gives up their leases.
    pub fn take_finished(&mut self) -> Vec<F::File> {
        std::mem::take(&mut self.finished)
    }

    /// After a failed syncfs: the pages that were not written are marked clean, those of the batch and those of files that
    /// wait for a later one. The next start must not read them. What fails here cannot be helped: the process is about to end.
    pub(super) fn forget_staged_pages(&self) {
        let Ok(entries) = self.fs.list(&self.shared.staging) else { return };
        for entry in entries.flatten().filter(|entry| entry.kind.is_none_or(|kind| kind == FileKind::Regular)) {
            if let Ok(file) = self.fs.open(&self.shared.staging, &entry.name, Open::Read) {
                let _ = self.fs.drop_cache(&file);
            }
        }
    }

    /// Everything that follows once files are at their names in the warehouse. Recovery joins here.
    pub(super) fn carry_through(
        &mut self,
        placed: Vec<Work<F>>,
        mut dropped: Vec<Dropped<F>>,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let mut moved = self.confirm(placed, &mut dropped)?;
        self.record_moves(&moved, dropped, reports)?;
        self.list(&mut moved, false)?;
        self.finish(moved, duplicates, reports)
    }

    /// True if enough has come since the last snapshot to be worth a new one.
    pub fn wants_compaction(&self) -> bool {
        let (sealed_bytes, snapshot_bytes) = (self.journal.sealed_bytes(), self.state.snapshot_bytes());
        sealed_bytes >= COMPACTION_BYTES_MIN.max(snapshot_bytes / 2)
            || sealed_bytes > 0 && self.state.recent() >= RECENT_CONTENTS_MAX
    }

    /// Gets the journal ready to be compacted: returns the LSN before which all is to be folded in. What is older than
    /// `remember` is forgotten by it; that is a record, so that recovery comes to the same.
    pub fn prepare_compaction(&mut self, remember: Option<Duration>) -> Result<Lsn, Error> {
        if let Some(remember) = remember {
            // On a full disk it is not waited for room: the compaction may make some. What is old is forgotten the next time.
            match self.forget_older(remember) {
                Err(error) if error.is_no_space() => return Ok(self.journal.active_first_lsn()),
                forgotten => forgotten?,
            }
            match self.journal.seal() {
                Err(error) if error.is_no_space() => {}
                sealed => sealed?,
            }
        }
        Ok(self.journal.active_first_lsn())
    }

    fn forget_older(&mut self, remember: Duration) -> Result<(), crate::journal::Error> {
        let mut jumped = Vec::new();
        self.note_clock(&mut jumped);
        self.journal.append_all(&mut self.state, &jumped)?;
        let expiry = self.journal.expiry(self.state.clock(), self.state.expired(), remember);
        self.journal.append_all(&mut self.state, expiry.as_slice())
    }

    /// Adds the record of a jump that the clock has made since the last frame, if it has.
    fn note_clock(&mut self, records: &mut Vec<Record>) {
        if let Some(jumped) = self.journal.look_at_clock() {
            events::clock_jumped(&jumped);
            let from = self.journal.next_lsn().plus(records.len() as u64);
            let shift_ms = self.state.clock().shift_ms().saturating_add(jumped.by_ms);
            records.push(Record::ClockJumped(ClockJumped { from, shift_ms }));
        }
    }

    /// Writes what is due before any other record behind a start.
    pub fn note_opening(&mut self) -> Result<(), Error> {
        let (records, jumped) = self.journal.opening(self.state.clock(), self.state.expired());
        jumped.iter().for_each(events::clock_jumped);
        self.write(&records)
    }

    /// Takes the result of a compaction: what it holds needs no room in memory any more.
    pub fn adopt(&mut self, compacted: Compacted) {
        self.journal.folded_in(compacted.snapshot.header().lsn);
        self.state.adopt(compacted.snapshot);
    }

    /// Writes what is pending, without waiting for another batch.
    pub fn flush(&mut self) -> Result<(), Error> {
        let mut records = Vec::new();
        self.take_pending(&mut records);
        self.write(&records)
    }

    /// Marks the journal as quiet.
    pub fn mark_idle(&mut self) -> Result<(), Error> {
        match self.journal.mark_idle() {
            // A mark promises nothing: on a full disk there is none.
            Err(error) if error.is_no_space() => Ok(()),
            marked => Ok(marked?),
        }
    }

    /// True if the last journal frame holds records.
    pub fn wants_idle_mark(&self) -> bool {
        self.journal.wants_idle_mark()
    }

    /// Writes what is pending and the clean-shutdown mark.
    pub fn shut_down(mut self) -> Result<Index, Error> {
        self.flush()?;
        match self.journal.shut_down() {
            Err(error) if error.is_no_space() => {}
            closed => closed?,
        }
        Ok(self.state)
    }

    /// Makes records durable, in order, and only then part of the state. Waits while the disk is full.
    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        let mut rest = records;
        while !rest.is_empty() {
            let written = match self.journal.append(rest) {
                Err(error) if error.is_no_space() => {
                    self.wait_for_room(&error.to_string())?;
                    continue;
                }
                written => written?,
            };
            self.has_room();
            let first = self.journal.next_lsn().0 - written as u64;
            for (lsn, record) in (first..).zip(&rest[..written]) {
                self.apply(Lsn(lsn), self.journal.written_at(), record)?;
            }
            rest = &rest[written..];
        }
        Ok(())
    }

    fn apply(&mut self, lsn: Lsn, at: UnixMillis, record: &Record) -> Result<(), Error> {
        self.state.apply_at(lsn, at, record).map_err(|refused| match refused {
            Refused::Contradiction(why) => Error::Transition(why, IngestId(lsn.0)),
            Refused::Unknown(error) => Error::Journal(*error),
        })
    }

    fn wait_for_room(&mut self, error: &str) -> Result<(), Error> {
        if !self.is_full {
            self.metrics.disk_full(error, FULL_DISK_RETRY);
        }
        self.is_full = true;
        if (self.on_full)() { Ok(()) } else { Err(Error::Full(error.to_owned())) }
    }

    fn has_room(&mut self) {
        if std::mem::take(&mut self.is_full) {
            self.metrics.disk_has_room();
        }
    }

    /// Repeats an effect while the disk is full.
    pub(super) fn patiently<T>(&mut self, mut effect: impl FnMut(&mut Self) -> fs::Result<T>) -> Result<T, Error> {
        loop {
            match effect(self) {
                Err(error) if error.is_no_space() && !error.op.contains("sync") => {
                    self.wait_for_room(&error.to_string())?;
                }
                result => {
                    self.has_room();
                    return Ok(result?);
                }
            }
        }
    }

    pub(super) fn ingest(&self, id: IngestId) -> Result<&Ingest, Error> {
        self.state.ingest(id).ok_or(Error::Transition("a file in a batch is not open", id))
    }

    /// What is left to do for the files of a state, oldest first.
    pub(super) fn open_in(&self, state: FileState) -> Vec<Ingest> {
        self.state.open().filter(|ingest| ingest.state == state).cloned().collect()
    }
}
