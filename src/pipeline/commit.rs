//! The committer: journal, publish, manifest, clean up, in batches, on one thread.
//!
//! Invariants, each tied to a promise of the design:
//! - P3: a step's records are durable before the step; the next step's records are written only after its effects
//!   were synced. The order is [`Committer::commit`]'s body, top to bottom.
//! - P1: a content is claimed by at most one file at a time, and a duplicate is decided only against content that is
//!   durably MOVED.
//! - P2: nothing in staging is removed before MOVED (or, for a duplicate, its original) is durable.
//! - Syncs are counted by batches and touched directories, never by files.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::{HashMap, HashSet};

use super::hash::{Hasher, Shared};
use super::manifest::{self, Manifests, Progress};
use super::naming::{choices_up_to, warehouse_name};
use super::publish::{Placed, Publisher, split};
use super::sidecar::sidecar_name;
use super::{Error, HashResult, Hashed, Outcome, Refusal, Report, Settled};
use crate::fs::{self, FileKind, Fs};
use crate::journal::Journal;
use crate::journal::record::{
    AbandonReason, Abandoned, Discovered, DuplicateAction, Hashed as HashedRecord, Record, Settings, Sidecar,
    SkippedDuplicate,
};
use crate::journal::state::{FileState, Ingest, Kept, State};
use crate::limits::FULL_DISK_RETRY;
use crate::metrics::Metrics;
use crate::types::{IngestId, Sha256};

/// Called while the disk is full: waits, and says whether to try again.
pub type OnFull = Box<dyn FnMut() -> bool + Send>;

/// The one writer of journal, warehouse and manifests.
pub struct Committer<F: Fs> {
    pub(super) fs: F,
    pub(super) shared: Arc<Shared<F>>,
    pub(super) journal: Journal<F>,
    pub(super) state: State,
    pub(super) settings: Arc<Settings>,
    pub(super) publisher: Publisher<F>,
    pub(super) manifests: Manifests<F>,
    pub(super) metrics: Arc<Metrics>,
    on_full: OnFull,
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
    fn lease(&self) -> Option<&F::File> {
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

/// What a batch decides before anything is written.
struct Plan<F: Fs> {
    records: Vec<Record>,
    ingests: Vec<Work<F>>,
    duplicates: Vec<Work<F>>,
}

impl<F: Fs> Committer<F> {
    /// Takes over the journal and what it adds up to. `shared` is what the hashing workers share.
    pub fn new(
        shared: Arc<Shared<F>>,
        journal: Journal<F>,
        state: State,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
        on_full: OnFull,
    ) -> Committer<F> {
        let fs = shared.fs.clone();
        let mut publisher = Publisher::new(fs.clone());
        publisher.remember(&settings.input, shared.staging.clone());
        Committer {
            shared,
            journal,
            state,
            settings,
            publisher,
            manifests: Manifests::new(fs.clone()),
            metrics,
            on_full,
            is_full: false,
            tickets: HashMap::new(),
            noted: Vec::new(),
            deferred: Vec::new(),
            closings: Vec::new(),
            fs,
        }
    }

    /// What the journal adds up to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The journal.
    pub fn journal(&self) -> &Journal<F> {
        &self.journal
    }

    /// Writes the settings into the journal, if they are not those that are in force.
    pub fn begin(&mut self) -> Result<(), Error> {
        if self.state.settings().is_some_and(|known| **known == *self.settings) {
            return Ok(());
        }
        self.write(&[Record::Settings((*self.settings).clone())])
    }

    /// Says that a file which recovery found DISCOVERED is being hashed under this ticket.
    pub fn resume(&mut self, ticket: u64, id: IngestId) {
        self.tickets.insert(ticket, id);
    }

    /// Has the DISCOVERED of a file written ahead of its hash, because that takes long.
    pub fn note(&mut self, settled: Settled) {
        self.noted.push(settled);
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
        let mut reports = Vec::with_capacity(batch.len());
        let mut hashed = std::mem::take(&mut self.deferred);
        for item in batch {
            match item {
                Ok(file) => hashed.push(file),
                Err(refused) => reports.push(self.refuse(refused.settled, refused.refusal)),
            }
        }
        if hashed.iter().any(|file| !file.durable) {
            // One call for all. Its failure ends the process: which file it concerns, nobody can tell.
            self.fs.sync_fs(&self.shared.staging)?;
        }
        let plan = self.plan(hashed);
        self.write(&plan.records)?;

        let (placed, dropped) = self.place_all(plan.ingests)?;
        self.carry_through(placed, dropped, plan.duplicates, &mut reports)?;
        Ok(reports)
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

    /// Writes what is pending, without waiting for another batch.
    pub fn flush(&mut self) -> Result<(), Error> {
        let mut records = Vec::new();
        self.take_pending(&mut records);
        self.write(&records)
    }

    /// Marks the journal as quiet.
    pub fn mark_idle(&mut self) -> Result<(), Error> {
        Ok(self.journal.mark_idle()?)
    }

    /// True if the last journal frame holds records.
    pub fn wants_idle_mark(&self) -> bool {
        self.journal.wants_idle_mark()
    }

    /// Writes what is pending and the clean-shutdown mark.
    pub fn shut_down(mut self) -> Result<State, Error> {
        self.flush()?;
        self.journal.shut_down()?;
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
                let applied = self.state.apply(crate::types::Lsn(lsn), record);
                applied.map_err(|why| Error::Transition(why, IngestId(lsn)))?;
            }
            rest = &rest[written..];
        }
        Ok(())
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

    /// A file that was not hashed to its end. If its DISCOVERED is durable, that is taken back.
    fn refuse(&mut self, settled: Settled, refusal: Refusal) -> Report {
        self.noted.retain(|noted| noted.ticket != settled.ticket);
        let interrupted = matches!(refusal, Refusal::Interrupted);
        // An interrupted file stays DISCOVERED: the next start resumes it, with the same instant.
        if !interrupted && let Some(ingest_id) = self.tickets.remove(&settled.ticket) {
            let reason = refusal.abandon_reason();
            self.closings.push(Record::Abandoned(Abandoned { ingest_id, reason }));
        }
        Report { name: settled.name, outcome: Outcome::Refused(refusal) }
    }

    fn take_pending(&mut self, records: &mut Vec<Record>) {
        records.append(&mut self.closings);
        for settled in std::mem::take(&mut self.noted) {
            let id = IngestId(self.journal.next_lsn().0 + records.len() as u64);
            self.tickets.insert(settled.ticket, id);
            records.push(self.discovered(&settled));
        }
    }

    fn discovered(&self, settled: &Settled) -> Record {
        let sidecar = settled.sidecar.zip(self.shared.sidecar_suffix.as_ref()).map(|(identity, suffix)| Sidecar {
            identity,
            path: self.settings.input.join(sidecar_name(&settled.name, suffix)),
        });
        Record::Discovered(Discovered {
            identity: settled.identity,
            discovered_at: settled.complete_at,
            source_path: self.settings.input.join(&*settled.name),
            sidecar,
        })
    }

    /// Decides for each file whether it is new, a duplicate, or has to wait, and what the journal will say.
    fn plan(&mut self, hashed: Vec<Hashed<F>>) -> Plan<F> {
        let mut plan = Plan { records: Vec::new(), ingests: Vec::new(), duplicates: Vec::new() };
        self.take_pending(&mut plan.records);
        let mut claimed: HashSet<Sha256> = HashSet::new();
        for file in hashed {
            let original = self.state.original(&file.sha256).map(|original| original.ingest_id);
            if original.is_none() && !claimed.insert(file.sha256) {
                self.deferred.push(file);
                continue;
            }
            let id = self.tickets.remove(&file.settled.ticket).unwrap_or_else(|| {
                let id = IngestId(self.journal.next_lsn().0 + plan.records.len() as u64);
                plan.records.push(self.discovered(&file.settled));
                id
            });
            let work = Work {
                id,
                name: file.settled.name.clone(),
                key: file.settled.identity.key(),
                held: Some(file.file),
                leased: file.leased,
            };
            match original {
                Some(original) => {
                    plan.records.push(self.skipped(id, &file.settled.name, &file.sha256, original, 0));
                    // A copy of what is there already is of no use; what stays is removed at the next start.
                    if let Some(copy) = file.copy {
                        let _ = self.publisher.discard(&copy.path);
                    }
                    plan.duplicates.push(work);
                }
                None => {
                    let partition = self.settings.warehouse.join(file.settled.complete_at.date_partition());
                    plan.records.push(Record::Hashed(HashedRecord {
                        ingest_id: id,
                        sha256: file.sha256,
                        warehouse_path: partition.join(&*file.settled.name),
                        copy: file.copy,
                    }));
                    plan.ingests.push(work);
                }
            }
        }
        plan
    }

    fn skipped(&self, id: IngestId, name: &OsStr, sha256: &Sha256, of: IngestId, taken: usize) -> Record {
        let target = match (self.settings.duplicates, &self.settings.duplicates_dir) {
            (DuplicateAction::Move, Some(dir)) => warehouse_name(name, sha256, taken).map(|name| dir.join(name)),
            _ => None,
        };
        let action = match self.settings.duplicates {
            DuplicateAction::Move if target.is_none() => DuplicateAction::Keep,
            action => action,
        };
        Record::SkippedDuplicate(SkippedDuplicate { ingest_id: id, sha256: *sha256, duplicate_of: of, action, target })
    }

    pub(super) fn ingest(&self, id: IngestId) -> Result<&Ingest, Error> {
        self.state.ingest(id).ok_or(Error::Transition("a file in a batch is not open", id))
    }

    /// Moves each file to its name in the warehouse. A name that is taken leads to the next choice, which goes into
    /// the journal first.
    pub(super) fn place_all(&mut self, works: Vec<Work<F>>) -> Result<Placings<F>, Error> {
        let (mut placed, mut dropped) = (Vec::with_capacity(works.len()), Vec::new());
        let mut left = works;
        while !left.is_empty() {
            let mut collided = Vec::new();
            for work in left {
                let (reason, error) = match self.patiently(|this| this.place(work.id))? {
                    Placed::Done => {
                        placed.push(work);
                        continue;
                    }
                    Placed::Taken => {
                        collided.push(work);
                        continue;
                    }
                    Placed::Vanished => (AbandonReason::Vanished, None),
                    Placed::Changed => (AbandonReason::Changed, None),
                    Placed::NeedsCopy => (AbandonReason::NeedsCopy, None),
                    Placed::Refused(error) => (AbandonReason::Failed, Some(error)),
                };
                dropped.push(Dropped { work, reason, error });
            }
            left = self.choose_again(collided, &mut dropped)?;
        }
        Ok((placed, dropped))
    }

    fn place(&mut self, id: IngestId) -> fs::Result<Placed> {
        let Some(ingest) = self.state.ingest(id) else { return Ok(Placed::Vanished) };
        let Some(target) = &ingest.target else { return Ok(Placed::Vanished) };
        let root = &ingest.settings.warehouse;
        let Some(copy) = &target.copy else {
            let result = self.publisher.place(id, &ingest.source_path, root, &target.warehouse_path, &ingest.identity);
            // The links of one file say nothing about the others; another mount does.
            if let Ok(Placed::NeedsCopy) = &result
                && self.publisher.look(&ingest.source_path)?.is_some_and(|stat| stat.links == 1)
            {
                self.shared.copy_all.store(true, Ordering::Relaxed);
            }
            return result;
        };
        // The copy is of the file as it was. If that was removed since, the copy is all there is; if it was changed,
        // it was not complete.
        match self.publisher.look(&ingest.source_path)? {
            Some(stat) if stat.identity != ingest.identity => Ok(Placed::Changed),
            _ => self.publisher.place(id, &copy.path, root, &target.warehouse_path, &copy.identity),
        }
    }

    /// Gives files whose name is taken the next one that is free, in the journal.
    fn choose_again(&mut self, collided: Vec<Work<F>>, dropped: &mut Vec<Dropped<F>>) -> Result<Vec<Work<F>>, Error> {
        let (mut records, mut works) = (Vec::new(), Vec::new());
        for work in collided {
            let (dir, target, mut taken) = {
                let ingest = self.ingest(work.id)?;
                let target = ingest.target.clone().ok_or(Error::Transition("a placed file has no target", work.id))?;
                let (dir, name) = split(&target.warehouse_path)?;
                (dir.to_path_buf(), target.clone(), choices_up_to(&work.name, &target.sha256, name))
            };
            let free = loop {
                let Some(name) = warehouse_name(&work.name, &target.sha256, taken) else { break None };
                let path = dir.join(name);
                if self.publisher.look(&path)?.is_none() {
                    break Some(path);
                }
                taken += 1;
            };
            match free {
                Some(warehouse_path) => {
                    let (sha256, copy) = (target.sha256, target.copy);
                    records.push(Record::Hashed(HashedRecord { ingest_id: work.id, sha256, warehouse_path, copy }));
                    works.push(work);
                }
                None => {
                    let source = std::io::ErrorKind::AlreadyExists.into();
                    let error = fs::Error { op: "rename", path: target.warehouse_path, source };
                    dropped.push(Dropped { work, reason: AbandonReason::Failed, error: Some(error) });
                }
            }
        }
        self.write(&records)?;
        Ok(works)
    }

    /// Makes the new names durable, then asks each lease whether a writer came: until now one that had found the
    /// file by its old name was held back, and from here on nobody can find it by that.
    pub(super) fn confirm(
        &mut self,
        placed: Vec<Work<F>>,
        dropped: &mut Vec<Dropped<F>>,
    ) -> Result<Vec<Work<F>>, Error> {
        self.patiently(|this| this.publisher.sync())?;
        let mut moved = Vec::with_capacity(placed.len());
        for work in placed {
            let broken = work.lease().map_or(Ok(false), |file| self.fs.lease_broken(file))?;
            if broken {
                self.put_back(work.id)?;
                dropped.push(Dropped { work, reason: AbandonReason::OpenForWriting, error: None });
            } else {
                moved.push(work);
            }
        }
        self.publisher.sync()?;
        Ok(moved)
    }

    pub(super) fn put_back(&mut self, id: IngestId) -> Result<(), Error> {
        let ingest = self.state.ingest(id).ok_or(Error::Transition("a placed file is not open", id))?;
        if let Some(target) = &ingest.target {
            let from = target.copy.as_ref().map_or(&ingest.source_path, |copy| &copy.path);
            self.publisher.put_back(id, &target.warehouse_path, from)?;
        }
        Ok(())
    }

    /// MOVED and ABANDONED into the journal.
    pub(super) fn record_moves(
        &mut self,
        moved: &[Work<F>],
        dropped: Vec<Dropped<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let mut records: Vec<Record> = moved.iter().map(|work| Record::Moved(work.id)).collect();
        for dropped in dropped {
            let (ingest_id, reason) = (dropped.work.id, dropped.reason);
            if let Some(ingest) = self.state.ingest(ingest_id) {
                self.metrics.file_abandoned(&ingest.source_path, reason);
                let copy = ingest.target.as_ref().and_then(|target| target.copy.as_ref());
                if let Some(copy) = copy {
                    self.publisher.discard(&copy.path)?;
                }
            }
            records.push(Record::Abandoned(Abandoned { ingest_id, reason }));
            let outcome = match dropped.error {
                Some(error) => Outcome::Refused(Refusal::Failed(error)),
                None => Outcome::Abandoned(reason),
            };
            reports.push(Report { name: dropped.work.name, outcome });
        }
        self.write(&records)
    }

    /// Writes the manifest lines, in the order of ingest ids, which recovery can tell again. With `search`, only
    /// those that are missing.
    pub(super) fn list(&mut self, moved: &mut [Work<F>], search: bool) -> Result<(), Error> {
        moved.sort_by_key(|work| work.id);
        let mut hours: Vec<(PathBuf, PathBuf, Vec<Vec<u8>>)> = Vec::new();
        for work in &*moved {
            let ingest = self.ingest(work.id)?;
            let root = &ingest.settings.manifests;
            let dir = manifest::hour_dir(root, ingest.discovered_at);
            let mut line = Vec::with_capacity(512);
            manifest::line(ingest, &mut line);
            match hours.iter_mut().find(|(_, known, _)| *known == dir) {
                Some((_, _, lines)) => lines.push(line),
                None => hours.push((root.clone(), dir, vec![line])),
            }
        }
        for (root, dir, lines) in hours {
            if search {
                self.patiently(|this| this.manifests.ensure(&root, &dir, &lines))?;
            } else {
                let (lines, mut progress) = (lines.concat(), Progress::default());
                self.patiently(|this| this.manifests.append(&root, &dir, &lines, &mut progress))?;
            }
        }
        Ok(())
    }

    /// Removes what the files left in staging, does what is to be done with duplicates, and closes all of them.
    pub(super) fn finish(
        &mut self,
        moved: Vec<Work<F>>,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        for work in &moved {
            self.clean_up(work)?;
        }
        let cleared = self.clear_duplicates(duplicates, reports)?;
        self.patiently(|this| this.publisher.sync())?;
        for work in moved {
            self.metrics.file_ingested(self.ingest(work.id)?, self.fs.now());
            self.closings.push(Record::Manifested(work.id));
            reports.push(Report { name: work.name, outcome: Outcome::Ingested });
        }
        for (work, outcome) in cleared {
            self.closings.push(Record::DuplicateCleared(work.id));
            reports.push(Report { name: work.name, outcome });
        }
        Ok(())
    }

    /// Removes the source of a copy, and the sidecar, if they are still what they were.
    fn clean_up(&mut self, work: &Work<F>) -> Result<(), Error> {
        let ingest = self.state.ingest(work.id).ok_or(Error::Transition("a moved file is not open", work.id))?;
        let ingest = ingest.clone();
        if let Some(target) = ingest.target.as_ref().filter(|target| target.copy.is_some()) {
            self.remove_staged(work, "source", &ingest, &target.sha256)?;
        }
        if let Some(sidecar) = &ingest.sidecar {
            self.publisher.remove(work.id, "sidecar", &sidecar.path, &sidecar.identity, None)?;
        }
        Ok(())
    }

    /// Removes a staged file whose content is durable elsewhere, if it is still what it was; true if it did.
    fn remove_staged(&mut self, work: &Work<F>, what: &str, ingest: &Ingest, sha256: &Sha256) -> Result<bool, Error> {
        let (path, identity) = (&ingest.source_path, &ingest.identity);
        let there = self.publisher.look(path)?.map(|stat| stat.identity);
        let unchanged = there.is_none_or(|there| there == *identity);
        if unchanged {
            return Ok(self.publisher.remove(work.id, what, path, identity, work.lease())?);
        }
        // Recovery holds no file open. A crash that undid the renames of an unfinished removal leaves their ctime: then
        // the content decides. Without a crash another ctime means another state of the file, which is not ours.
        let (None, Some(identity)) = (&work.held, there.filter(|there| there.same_but_renamed(identity))) else {
            return Ok(false);
        };
        let (_, name) = split(path)?;
        let settled = Settled {
            name: Arc::from(name),
            identity,
            links: 1,
            sidecar: None,
            complete_at: ingest.discovered_at,
            ticket: 0,
        };
        match Hasher::new(self.shared.clone()).verify(&settled) {
            Ok((file, leased, found)) if found == *sha256 => {
                Ok(self.publisher.remove(work.id, what, path, &identity, leased.then_some(&file))?)
            }
            _ => Ok(false),
        }
    }

    /// Removes or moves duplicates away; returns those that are cleared. One that stays is closed by its record.
    fn clear_duplicates(
        &mut self,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<(Work<F>, Outcome)>, Error> {
        let mut cleared = Vec::new();
        for work in duplicates {
            let Some(ingest) = self.state.ingest(work.id).cloned() else {
                // Kept: its record closed it.
                reports.extend(self.report_kept(&work));
                continue;
            };
            match self.clear(&work, ingest)? {
                Some(outcome) => cleared.push((work, outcome)),
                None => reports.extend(self.report_kept(&work)),
            }
        }
        Ok(cleared)
    }

    fn report_kept(&mut self, work: &Work<F>) -> Option<Report> {
        let kept: Kept = *self.state.kept_at(work.key)?;
        let path = self.settings.input.join(&*work.name);
        let original = self.state.original(&kept.sha256).cloned();
        self.metrics.duplicate_skipped(&path, &kept.sha256, original.as_ref(), DuplicateAction::Keep);
        Some(Report { name: work.name.clone(), outcome: Outcome::Kept(kept) })
    }

    /// Does with one duplicate what its record says. None if it had to be kept after all, which is then recorded.
    fn clear(&mut self, work: &Work<F>, ingest: Ingest) -> Result<Option<Outcome>, Error> {
        let Some(duplicate) = ingest.duplicate.clone() else {
            return Err(Error::Transition("a duplicate has no original", work.id));
        };
        let original = self.state.original(&duplicate.sha256).cloned();
        let outcome = match duplicate.action {
            DuplicateAction::Keep => None,
            DuplicateAction::Remove => {
                // The owner of the warehouse may have removed the original since: then these bytes are the last.
                let there = original.as_ref().map(|original| self.publisher.look(&original.warehouse_path));
                let there = there.transpose()?.flatten();
                let safe = there
                    .is_some_and(|stat| stat.kind == FileKind::Regular && stat.identity.size == ingest.identity.size);
                match safe {
                    true => {
                        let removed = self.remove_staged(work, "duplicate", &ingest, &duplicate.sha256)?;
                        Some(if removed { Outcome::Cleared } else { Outcome::Abandoned(AbandonReason::Changed) })
                    }
                    false => None,
                }
            }
            DuplicateAction::Move => self.move_duplicate(work, &ingest)?,
        };
        let Some(outcome) = outcome else {
            let record = SkippedDuplicate {
                ingest_id: work.id,
                sha256: duplicate.sha256,
                duplicate_of: duplicate.of,
                action: DuplicateAction::Keep,
                target: None,
            };
            self.write(&[Record::SkippedDuplicate(record)])?;
            return Ok(None);
        };
        if let (Outcome::Cleared, Some(sidecar)) = (&outcome, &ingest.sidecar) {
            self.publisher.remove(work.id, "sidecar", &sidecar.path, &sidecar.identity, None)?;
        }
        if matches!(outcome, Outcome::Cleared) {
            self.metrics.duplicate_skipped(&ingest.source_path, &duplicate.sha256, original.as_ref(), duplicate.action);
        }
        Ok(Some(outcome))
    }

    fn move_duplicate(&mut self, work: &Work<F>, ingest: &Ingest) -> Result<Option<Outcome>, Error> {
        let sha256 = ingest.duplicate.as_ref().map(|duplicate| duplicate.sha256).unwrap_or(Sha256([0; 32]));
        let of = ingest.duplicate.as_ref().map_or(work.id, |duplicate| duplicate.of);
        let mut target = ingest.duplicate.as_ref().and_then(|duplicate| duplicate.target.clone());
        loop {
            let Some(path) = target else { return Ok(None) };
            let (dir, name) = split(&path)?;
            let placed = self
                .patiently(|this| this.publisher.place(work.id, &ingest.source_path, dir, &path, &ingest.identity))?;
            match placed {
                Placed::Done | Placed::Vanished => return Ok(Some(Outcome::Cleared)),
                Placed::Changed => return Ok(Some(Outcome::Abandoned(AbandonReason::Changed))),
                Placed::NeedsCopy | Placed::Refused(_) => return Ok(None),
                Placed::Taken => {
                    let taken = choices_up_to(&work.name, &sha256, name);
                    target = warehouse_name(&work.name, &sha256, taken).map(|name| dir.join(name));
                    let (duplicate_of, action) = (of, DuplicateAction::Move);
                    let again =
                        SkippedDuplicate { ingest_id: work.id, sha256, duplicate_of, action, target: target.clone() };
                    if target.is_some() {
                        self.write(&[Record::SkippedDuplicate(again)])?;
                    }
                }
            }
        }
    }

    /// What is left to do for the files of a state, oldest first.
    pub(super) fn open_in(&self, state: FileState) -> Vec<Ingest> {
        self.state.open().filter(|ingest| ingest.state == state).cloned().collect()
    }
}
