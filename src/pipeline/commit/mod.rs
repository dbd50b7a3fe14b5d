//! The committer: journal, publish, manifest, clean-up, in batches. A second thread may publish.
//!
//! Invariants, each with the promise of the design that it serves:
//! - P3: a step's records are durable before the step; the next step's records are written only after the step's effects
//!   were synced. The order is the body of [`Committer::commit`], top to bottom; with a
//!   second thread, that of [`Committer::plan_ahead`], [`Publisher::publish`](publisher::Publisher::publish) and
//!   [`Committer::complete`].
//! - P1: of each key (a content, or a name and a content), at most one file at a time is under way, and a duplicate is
//!   decided only against a file that is durably MOVED.
//! - P2: nothing in staging is removed before MOVED (or, for a duplicate, its original) is durable.
//! - The number of syncs depends on the batches and the directories they touch, never on the number of files.

mod batch;
mod claims;
mod clean_up;
mod duplicates;
mod gather;
mod gathered;
mod groups;
pub(super) mod lake;
mod markers;
mod move_in;
mod original;
mod plan;
pub mod publisher;
mod quarantine;
pub mod relay;
mod shared;
mod sync_data;
mod write_lines;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::group::Group;
use super::hash::Shared;
use super::lake::Lake;
use super::manifest::Manifests;
use super::patience::{OnFull, Patience};
use super::places::Places;
use super::quarantine::Quarantine;
use super::staging::Staging;
use super::warehouse::{Local, Warehouse};
use super::{Error, HashedFile, Settled, subdir};
use crate::fs::{self, Fs};
use crate::journal::blank::Blank;
use crate::journal::compact::Compacted;
use crate::journal::index::Index;
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, ClockJumped, KeptGone, Record, Rules, Settings};
use crate::journal::{Journal, Rejected};
use crate::limits::{COMPACTION_BYTES_MIN, RECENT_CONTENTS_MAX};
use crate::metrics::{Metrics, events};
use crate::types::{FileIdentity, IngestId, Key, Lsn, Sha256, UnixMillis};

/// The only writer of journal, warehouse and manifests.
pub struct Committer<F: Fs> {
    pub(super) fs: F,
    pub(super) shared: Arc<Shared<F>>,
    pub(super) journal: Journal<F>,
    /// The index: what the journal adds up to.
    pub(super) index: Index,
    pub(super) settings: Arc<Settings>,
    pub(super) staging: Staging<F>,
    pub(super) warehouse: Box<dyn Warehouse<F>>,
    pub(super) manifests: Manifests<F>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) patience: Patience,
    /// The directories that must not be removed or replaced while running.
    places: Option<Arc<Places<F>>>,
    /// Where files go that cannot be ingested; None: they stay in staging.
    quarantine: Option<Quarantine>,
    /// Where files go instead of a directory.
    pub(super) lake: Option<Box<Lake>>,
    pub(super) pending: Pending<F>,
    /// The identities of originals that were read and had the right content.
    verified: HashMap<Key, FileIdentity>,
}

/// Work that waits for a later frame, a later batch, or the next start.
pub(super) struct Pending<F: Fs> {
    /// Recovery is running: the file at a name that was chosen for an ingest may have been moved there by an earlier run.
    pub(super) is_recovering: bool,
    /// Files whose DISCOVERED is already durable, by ticket.
    pub(super) tickets: HashMap<u64, IngestId>,
    /// Files whose DISCOVERED goes into the next frame, ahead of their hash.
    noted: Vec<Settled>,
    /// Files that wait for a file of equal content that is under way, or in the batch before.
    deferred: Vec<HashedFile<F>>,
    /// MANIFESTED and other closing records, for the next frame.
    pub(super) closings: Vec<Record>,
    /// Warehouse paths of files that stay HASHED for the next start. That start takes the file at such a path for the one
    /// that was HASHED, so no other file may go there.
    pub(super) undecided: HashSet<PathBuf>,
    /// The files beside the shared sidecars of this batch.
    beside: Beside,
    /// Manifest lines come in the order of the tickets.
    keeps_order: bool,
    /// Files of the last batch that are in the warehouse, still open: closing them takes time, and another thread can do
    /// it.
    finished: Vec<F::File>,
    /// Files that an entry of the lake claims, and whose lines are not there yet.
    pub(super) claimed: Vec<Work<F>>,
    /// The groups of these files.
    pub(super) groups_in_lake: Vec<lake::on_its_way::OnItsWay>,
    /// Batches that are planned and not done, oldest first.
    under_way: VecDeque<claims::UnderWay<Work<F>>>,
    /// Groups of which some files are not hashed yet, or that wait for the next batch.
    groups: gathered::Groups<F>,
}

/// The files beside the shared sidecars of a batch.
#[derive(Default)]
pub(super) struct Beside {
    /// By the sidecars' paths.
    pub(super) names: HashMap<PathBuf, Vec<OsString>>,
    /// Those whose file is HASHED: it may be put back, and must find its sidecar then.
    pub(super) of_hashed: HashSet<PathBuf>,
    /// There were too many of them, or they cannot be listed: then each sidecar may still be needed.
    pub(super) are_unknown: bool,
}

/// A file on its way through one batch.
pub(super) struct Work<F: Fs> {
    pub(super) id: IngestId,
    /// Its path, relative to the staging directory.
    pub(super) name: Arc<OsStr>,
    /// (device, inode) of the staged file.
    pub(super) key: (u64, u64),
    /// The open file; dropping it gives up the lease.
    pub(super) held: Option<F::File>,
    pub(super) leased: bool,
    /// Its identity in the warehouse, as seen right after it was moved there.
    pub(super) there: Option<FileIdentity>,
    /// The SHA-256 of each part in which a lake gets it, if it was hashed in this life and goes in parts.
    pub(super) parts: Vec<Sha256>,
}

impl<F: Fs> Work<F> {
    /// A file that is not open.
    fn unopened(id: IngestId, name: Arc<OsStr>, key: (u64, u64)) -> Work<F> {
        Work { id, name, key, held: None, leased: false, there: None, parts: Vec::new() }
    }

    fn file_name(&self) -> &OsStr {
        subdir::file_name(&self.name)
    }

    pub(in crate::pipeline) fn lease(&self) -> Option<&F::File> {
        self.held.as_ref().filter(|_| self.leased)
    }
}

/// A file that drops out of its batch, and why.
pub(super) struct Dropped<F: Fs> {
    pub(super) work: Work<F>,
    pub(super) reason: AbandonReason,
    pub(super) error: Option<fs::Error>,
}

/// The files that have arrived, and those that dropped out.
type Placings<F> = (Vec<Work<F>>, Vec<Dropped<F>>);

impl<F: Fs> Committer<F> {
    /// Takes over the journal and its index. `shared` is also used by the hashing workers.
    pub fn new(
        shared: Arc<Shared<F>>,
        (journal, index): (Journal<F>, Index),
        settings: Arc<Settings>,
        quarantine: Option<Quarantine>,
        metrics: Arc<Metrics>,
        on_full: OnFull,
    ) -> Committer<F> {
        let fs = shared.fs.clone();
        let mut staging = Staging::new(fs.clone(), journal.store());
        staging.dirs.stage(&settings.input, Some(shared.staging.clone()));
        let manifests = Manifests::stopped_by(fs.clone(), shared.signalled.clone());
        Committer {
            journal,
            index,
            settings,
            staging,
            warehouse: Box::new(Local::new(shared.clone())),
            shared,
            manifests,
            patience: Patience::new(metrics.clone(), on_full),
            metrics,
            places: None,
            quarantine,
            lake: None,
            pending: Pending {
                is_recovering: false,
                tickets: HashMap::new(),
                noted: Vec::new(),
                deferred: Vec::new(),
                closings: Vec::new(),
                undecided: HashSet::new(),
                beside: Beside::default(),
                keeps_order: false,
                finished: Vec::new(),
                claimed: Vec::new(),
                groups_in_lake: Vec::new(),
                under_way: VecDeque::new(),
                groups: gathered::Groups::default(),
            },
            verified: HashMap::new(),
            fs,
        }
    }

    /// Checks these directories before each batch.
    pub fn watch(&mut self, places: Arc<Places<F>>) {
        self.places = Some(places);
    }

    /// From now on, manifest lines come in the order of the tickets, as long as files are passed in this order.
    pub fn keep_order(&mut self) {
        self.pending.keeps_order = true;
    }

    /// Notes that this device gives a renamed file another inode number, as a probe has shown.
    pub fn note_renumbering(&mut self, device: u64) {
        self.staging.note_renumbering(device);
    }

    /// The index: what the journal adds up to.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The journal.
    pub fn journal(&self) -> &Journal<F> {
        &self.journal
    }

    /// Writes settings, rules, layout, lake and identity to the journal, unless they are the ones already in force.
    pub fn begin(&mut self) -> Result<(), Error> {
        let mut records = Vec::new();
        if self.index.settings().is_none_or(|known| **known != *self.settings) {
            records.push(Record::Settings((*self.settings).clone()));
        }
        let rules = Rules {
            quarantine: self.quarantine.as_ref().map(|quarantine| quarantine.dir.clone()),
            validation: self.shared.validate,
            require_checksum: self.shared.require_checksum,
        };
        if *self.index.rules() != rules {
            records.push(Record::Rules(rules));
        }
        if self.index.layout() != self.shared.layout.rule() {
            records.push(Record::Layout(self.shared.layout.rule().clone()));
        }
        let lake = self.lake.as_ref().map(|lake| lake.id);
        records.extend(lake.filter(|id| self.index.lake() != Some(*id)).map(Record::Lake));
        if self.index.identity().unwrap_or_default() != self.shared.identity {
            records.push(Record::Identity(self.shared.identity));
        }
        self.write(records)
    }

    /// Registers the ticket under which a file that recovery found DISCOVERED is hashed.
    pub fn resume(&mut self, ticket: u64, id: IngestId) {
        self.pending.tickets.insert(ticket, id);
    }

    /// Queues a file's DISCOVERED to be written before its hash is known, because hashing it takes long.
    pub fn note(&mut self, settled: Settled) {
        self.pending.noted.push(settled);
    }

    /// Queues records that these kept duplicates are no longer in staging, except where the index has another file by
    /// now.
    pub fn note_gone(&mut self, gone: &[FileIdentity]) {
        let known = |gone: &&FileIdentity| self.index.kept_at(gone.key()).is_some_and(|it| it.identity == **gone);
        let records = gone.iter().filter(known).map(|gone| KeptGone { device: gone.device, inode: gone.inode });
        self.pending.closings.extend(records.map(Record::KeptGone));
    }

    /// True if records wait for the next frame, or files for the next batch.
    pub fn has_pending(&self) -> bool {
        !self.pending.closings.is_empty() || !self.pending.noted.is_empty() || self.has_deferred()
    }

    /// True if something waits for the next batch: files of equal content that are under way, groups, questions about them.
    pub fn has_deferred(&self) -> bool {
        !self.pending.deferred.is_empty() || self.pending.groups.are_ready() || !self.pending.groups.asked.is_empty()
    }

    /// Takes over a group that has no file in staging.
    pub fn take_group(&mut self, group: Arc<Group>) {
        self.pending.groups.take_whole(group);
    }

    /// Takes over a question about a group. The next batch's reports have the answer.
    pub fn ask(&mut self, group: Arc<Group>) {
        self.pending.groups.asked.push(group);
    }

    /// The files that the last batch moved into the warehouse. Dropping them closes them and gives up their leases.
    pub fn take_finished(&mut self) -> Vec<F::File> {
        std::mem::take(&mut self.pending.finished)
    }

    /// See [`Journal::take_blank`].
    pub fn take_blank(&mut self, blank: Blank<F>) {
        self.journal.take_blank(blank);
    }

    /// True if enough records were written since the last snapshot to be worth a new one.
    pub fn wants_compaction(&self) -> bool {
        let (sealed_bytes, snapshot_bytes) = (self.journal.sealed_bytes(), self.index.snapshot_bytes());
        sealed_bytes >= COMPACTION_BYTES_MIN.max(snapshot_bytes / 2)
            || sealed_bytes > 0 && self.index.recent() >= RECENT_CONTENTS_MAX
    }

    /// Prepares a compaction: returns the LSN before which all records are to be folded in. Contents older than
    /// `remember` are forgotten; a record says so, so that recovery forgets the same.
    pub fn prepare_compaction(&mut self, remember: Option<Duration>) -> Result<Lsn, Error> {
        if let Some(remember) = remember {
            // Do not wait for room on a full disk: the compaction may make some. Old contents are forgotten the next
            // time.
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
        self.journal.append_all(&mut self.index, &jumped)?;
        let expiry = self.journal.expiry(self.index.clock(), self.index.expired(), remember);
        self.journal.append_all(&mut self.index, expiry.as_slice())
    }

    /// Adds a record if the clock has jumped since the last frame.
    fn note_clock(&mut self, records: &mut Vec<Record>) {
        if let Some(jumped) = self.journal.look_at_clock() {
            events::clock_jumped(&jumped);
            let from = self.journal.next_lsn().plus(records.len() as u64);
            let shift_ms = self.index.clock().shift_ms().saturating_add(jumped.by_ms);
            records.push(Record::ClockJumped(ClockJumped { from, shift_ms }));
        }
    }

    /// Writes the records that must come first after a start.
    pub fn note_opening(&mut self) -> Result<(), Error> {
        let (records, jumped) = self.journal.opening(self.index.clock(), self.index.expired());
        jumped.iter().for_each(events::clock_jumped);
        self.write(records)
    }

    /// Takes over the result of a compaction: contents in its snapshot need no room in memory any more.
    pub fn adopt(&mut self, compacted: Compacted) {
        self.journal.folded_in(compacted.snapshot.header().lsn);
        self.index.adopt(compacted.snapshot);
    }

    /// Writes pending records, without waiting for another batch.
    pub fn flush(&mut self) -> Result<(), Error> {
        let mut records = Vec::new();
        self.take_pending(&mut records);
        self.write(records)
    }

    /// Marks the journal as idle.
    pub fn mark_idle(&mut self) -> Result<(), Error> {
        match self.journal.mark_idle() {
            // A mark promises nothing: on a full disk it is left out.
            Err(error) if error.is_no_space() => Ok(()),
            marked => Ok(marked?),
        }
    }

    /// True if the last journal frame holds records.
    pub fn wants_idle_mark(&self) -> bool {
        self.journal.wants_idle_mark()
    }

    /// Writes pending records and the clean-shutdown mark.
    pub fn shut_down(mut self) -> Result<Index, Error> {
        self.flush()?;
        match self.journal.shut_down() {
            Err(error) if error.is_no_space() => {}
            closed => closed?,
        }
        Ok(self.index)
    }

    /// Makes records durable, in order, and only then applies them to the index. Waits while the disk is full.
    pub(super) fn write(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let mut rest = records.into_iter();
        while !rest.as_slice().is_empty() {
            self.patience.may_go_on()?;
            let written = match self.journal.append(rest.as_slice()) {
                Err(error) if error.is_no_space() => {
                    self.patience.wait_for_room(&error.to_string())?;
                    continue;
                }
                written => written?,
            };
            self.patience.has_room();
            let first = self.journal.next_lsn().0 - written as u64;
            for (lsn, record) in (first..).zip(rest.by_ref().take(written)) {
                self.apply(Lsn(lsn), self.journal.written_at(), record)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<(), Error> {
        self.index.take(lsn, at, record).map_err(|refused| match refused {
            Rejected::Contradiction(why) => Error::Transition(why, IngestId(lsn.0)),
            Rejected::Unknown(error) => Error::Journal(*error),
        })
    }

    /// Repeats an effect while the disk is full.
    pub(super) fn patiently<T>(
        &mut self,
        mut effect: impl FnMut(&mut Staging<F>) -> fs::Result<T>,
    ) -> Result<T, Error> {
        self.patience.run(|| effect(&mut self.staging))
    }

    pub(super) fn ingest(&self, id: IngestId) -> Result<&Ingest, Error> {
        ingest(&self.index, id)
    }

    /// The open ingests in a state, oldest first.
    pub(super) fn open_in(&self, state: FileState) -> Vec<Ingest> {
        self.index.open().filter(|ingest| ingest.state == state).cloned().collect()
    }
}

/// A file of a batch.
fn ingest(index: &Index, id: IngestId) -> Result<&Ingest, Error> {
    index.ingest(id).map(|ingest| &**ingest).ok_or(Error::Transition("a file in a batch is not open", id))
}
