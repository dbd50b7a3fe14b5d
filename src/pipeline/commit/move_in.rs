//! Moves files into the warehouse: from HASHED, which is durable, to MOVED.
//!
//! Invariant (P3): names are durable before MOVED is written.

use std::path::Path;

use super::lake::is_for_lake;
use super::{Committer, Dropped, Placings, Work, ingest};
use crate::fs::blame::twice;
use crate::fs::{self, Fs, Stat};
use crate::journal::ingest::{Ingest, Target};
use crate::journal::record::{AbandonReason, Abandoned, Hashed as HashedRecord, Moved, Record};
use crate::metrics::FailureReason;
use crate::pipeline::dirs::split;
use crate::pipeline::warehouse::names::{choices_up_to, warehouse_name};
use crate::pipeline::warehouse::{Access, Published};
use crate::pipeline::{Error, Outcome, Refusal, Report};
use crate::types::{FileIdentity, IngestId};

/// True if one of these HASHED records has the path.
fn is_chosen(records: &[Record], path: &Path) -> bool {
    records.iter().any(|record| matches!(record, Record::Hashed(hashed) if hashed.warehouse_path == *path))
}

impl<F: Fs> Committer<F> {
    /// Moves each file to its name in the warehouse. If a name is taken, the file gets the next choice, which is first
    /// recorded in the journal.
    pub(in crate::pipeline) fn place_all(&mut self, works: Vec<Work<F>>) -> Result<Placings<F>, Error> {
        let (mut placed, mut dropped) = (Vec::with_capacity(works.len()), Vec::new());
        let mut left = self.by_partition(works)?;
        while !left.is_empty() {
            let mut collided = Vec::new();
            for (mut work, published) in self.publish(left)? {
                match published {
                    Published::Done(there) => {
                        work.there = there;
                        placed.push(work);
                    }
                    Published::Taken => collided.push(work),
                    published => self.give_up(work, published, &mut dropped)?,
                }
            }
            left = self.choose_again(collided, &mut dropped)?;
        }
        Ok((placed, dropped))
    }

    /// Sorts the files by their directories if they go to several: only some directories are kept open, and each that is
    /// opened again costs syncs.
    fn by_partition(&self, works: Vec<Work<F>>) -> Result<Vec<Work<F>>, Error> {
        let dir = |work: &Work<F>| -> Result<Option<&Path>, Error> {
            Ok(ingest(&self.index, work.id)?.target.as_ref().and_then(|target| target.warehouse_path.parent()))
        };
        let mut by_dir = works.into_iter().map(|work| Ok((dir(&work)?, work))).collect::<Result<Vec<_>, Error>>()?;
        by_dir.sort_by_key(|(dir, _)| *dir);
        Ok(by_dir.into_iter().map(|(_, work)| work).collect())
    }

    fn publish(&mut self, works: Vec<Work<F>>) -> Result<Vec<(Work<F>, Published)>, Error> {
        let files: Vec<&Ingest> = works.iter().map(|work| ingest(&self.index, work.id)).collect::<Result<_, _>>()?;
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        let published = self.warehouse.publish(&mut access, &files)?;
        Ok(works.into_iter().zip(published).collect())
    }

    /// Adds a file to those that drop out of the batch.
    pub(super) fn give_up(
        &mut self,
        work: Work<F>,
        published: Published,
        dropped: &mut Vec<Dropped<F>>,
    ) -> Result<(), Error> {
        let (reason, error) = match published {
            Published::Done(_) | Published::Taken => return Err(Error::Transition("it was published", work.id)),
            Published::Gone => (AbandonReason::Vanished, None),
            Published::NotComplete(reason) => (reason, None),
            Published::Refused(error) => (AbandonReason::Failed, Some(error)),
            Published::Unknown(error) => return self.leave_undecided(work.id, error),
        };
        dropped.push(Dropped { work, reason, error });
        Ok(())
    }

    /// The file was published, must not stay there, and cannot go back. A running ingestor ends: the next start tries
    /// again, and may succeed. If a start fails as well, it logs an error and leaves the file HASHED for the following
    /// one, so that the other files need not wait.
    fn leave_undecided(&mut self, id: IngestId, error: fs::Error) -> Result<(), Error> {
        if !self.pending.is_recovering {
            return Err(error.into());
        }
        let ingest = self.ingest(id)?;
        let path = ingest.target.as_ref().map_or(&ingest.source_path, |target| &target.warehouse_path).clone();
        let error = format!("cannot be put back; the next start tries again: {error}");
        self.metrics.file_failed(&path, FailureReason::NotPutBack, &error, None);
        self.pending.undecided.insert(path);
        Ok(())
    }

    /// Gives each file whose name is taken the next free one, and records it in the journal.
    pub(super) fn choose_again(
        &mut self,
        collided: Vec<Work<F>>,
        dropped: &mut Vec<Dropped<F>>,
    ) -> Result<Vec<Work<F>>, Error> {
        let (mut records, mut works) = (Vec::new(), Vec::new());
        for work in collided {
            let (dir, target, mut taken) = {
                let ingest = self.ingest(work.id)?;
                let target = ingest.target.clone().ok_or(Error::Transition("a placed file has no target", work.id))?;
                let (dir, name) = split(&target.warehouse_path)?;
                (dir.to_path_buf(), target.clone(), choices_up_to(work.file_name(), &target.sha256, work.id, name))
            };
            let free = loop {
                let path = dir.join(warehouse_name(work.file_name(), &target.sha256, work.id, taken));
                match self.look_in_warehouse(&path) {
                    Ok(None) if self.is_free(&path) && !is_chosen(&records, &path) => break Ok(path),
                    Ok(_) => taken += 1,
                    Err(error) => break Err(error),
                }
            };
            match free {
                Ok(warehouse_path) => {
                    let (sha256, copy, verified_by) = (target.sha256, target.copy, target.verified_by);
                    let ingest_id = work.id;
                    let hashed = HashedRecord { ingest_id, sha256, warehouse_path, copy, verified_by };
                    records.push(Record::Hashed(hashed));
                    works.push(work);
                }
                Err(error) if error.spares_others() => {
                    dropped.push(Dropped { work, reason: AbandonReason::Failed, error: Some(error) });
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.write(records)?;
        Ok(works)
    }

    /// True if no file has this path that is undecided or under way.
    pub(super) fn is_free(&self, path: &Path) -> bool {
        !self.pending.undecided.contains(path) && !self.is_claimed(path)
    }

    /// See [`Warehouse::confirm`].
    ///
    /// [`Warehouse::confirm`]: crate::pipeline::warehouse::Warehouse::confirm
    pub(in crate::pipeline) fn confirm(
        &mut self,
        placed: Vec<Work<F>>,
        dropped: &mut Vec<Dropped<F>>,
    ) -> Result<Vec<Work<F>>, Error> {
        let file = |work: &Work<F>| ingest(&self.index, work.id);
        let files: Vec<_> = placed.iter().map(|work| Ok((file(work)?, work.lease()))).collect::<Result<_, Error>>()?;
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        let confirmed = self.warehouse.confirm(&mut access, &files)?;
        let mut moved = Vec::with_capacity(placed.len());
        for (work, confirmed) in placed.into_iter().zip(confirmed) {
            match confirmed {
                Published::Done(_) => moved.push(work),
                confirmed => self.give_up(work, confirmed, dropped)?,
            }
        }
        Ok(moved)
    }

    /// Gives a placed file its old name back. False if it stays where it is, for the next start.
    pub(in crate::pipeline) fn put_back(&mut self, id: IngestId) -> Result<bool, Error> {
        match twice(Error::spares_others, || self.withdraw(id)) {
            Err(Error::Io(error)) if error.spares_others() => self.leave_undecided(id, error).map(|()| false),
            done => done.map(|()| true),
        }
    }

    pub(in crate::pipeline) fn withdraw(&mut self, id: IngestId) -> Result<(), Error> {
        let file = ingest(&self.index, id)?;
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        self.warehouse.withdraw(&mut access, file)
    }

    /// The file at a path in the warehouse.
    pub(in crate::pipeline) fn look_in_warehouse(&mut self, path: &Path) -> fs::Result<Option<Stat>> {
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        self.warehouse.look(&mut access, path)
    }

    /// True if the file at the chosen path has the size and content of the one that was hashed, and is none that was
    /// published under another name. Reads the file.
    pub(in crate::pipeline) fn has_arrived(&mut self, ingest: &Ingest, target: &Target) -> Result<bool, Error> {
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        let is_it = self.warehouse.holds(&mut access, &target.warehouse_path, ingest.identity.size, &target.sha256)?;
        Ok(is_it && !self.is_anothers(ingest, &target.warehouse_path)?)
    }

    /// True if names are part of the files' identity, and another file was published at `path`: then an equal content
    /// does not show which file is there. Two unfinished files of equal content never have the same path.
    pub(in crate::pipeline) fn is_anothers(&self, ingest: &Ingest, path: &Path) -> Result<bool, Error> {
        Ok(ingest.key_rule.name(&ingest.source_path).is_some() && self.index.is_published_at(path)?)
    }

    /// Puts back a file that was moved to `path` and must not stay there. If recovery cannot, the file stays and an error
    /// is logged.
    pub(super) fn return_there(&mut self, work: &Work<F>, path: &Path, source: &Path) -> Result<(), Error> {
        match self.patiently(|staging| staging.put_back(work.id, path, source)) {
            Err(Error::Io(error)) if error.spares_others() && self.pending.is_recovering => {
                let error = format!("cannot be put back: {error}");
                self.metrics.file_failed(path, FailureReason::NotPutBack, &error, None);
                Ok(())
            }
            done => done,
        }
    }

    /// Writes MOVED and ABANDONED.
    pub(in crate::pipeline) fn record_moves(
        &mut self,
        moved: &[Work<F>],
        dropped: Vec<Dropped<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let records = self.moves(moved, dropped, reports)?;
        self.write(records)
    }

    /// MOVED, all of them first, and ABANDONED. MOVED in the order of the manifests, then of the ingest ids: their lines are
    /// numbered and come in the same order.
    pub(super) fn moves(
        &mut self,
        moved: &[Work<F>],
        dropped: Vec<Dropped<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<Record>, Error> {
        let mut records = Vec::with_capacity(moved.len() + dropped.len());
        let mut moved: Vec<&Work<F>> = moved.iter().collect();
        let hour = |work: &&Work<F>| self.index.ingest(work.id).map(|ingest| ingest.discovered_at.hour());
        moved.sort_by_cached_key(|work| (hour(work), work.id));
        let mut last_seq = self.index.last_seq();
        for work in moved {
            let published = self.published(work)?;
            let is_numbered = self.index.ingest(work.id).is_some_and(|ingest| !is_for_lake(ingest));
            last_seq += u64::from(is_numbered);
            let seq = is_numbered.then_some(last_seq);
            records.push(Record::Moved(Moved { ingest_id: work.id, published, seq }));
        }
        for dropped in dropped {
            let (ingest_id, reason) = (dropped.work.id, dropped.reason);
            if let Some(ingest) = self.index.ingest(ingest_id) {
                self.metrics.file_abandoned(&ingest.source_path, reason);
                let copy = ingest.target.as_ref().and_then(|target| target.copy.clone());
                if let Some(copy) = copy {
                    self.discard_copy(&copy.path)?;
                }
            }
            records.push(Record::Abandoned(Abandoned { ingest_id, reason }));
            let outcome = match (dropped.error, reason) {
                (Some(error), _) => Outcome::Refused(Refusal::Failed(error)),
                (None, AbandonReason::Group) => Outcome::Refused(Refusal::Group),
                (None, reason) => Outcome::Abandoned(reason),
            };
            reports.push(Report { name: dropped.work.name, outcome });
        }
        Ok(records)
    }

    /// The identity of the file at its warehouse path, if it is the file that was moved. Recorded in MOVED, it saves
    /// later checks from reading the file. One that was seen right after the move will do: if the file was changed since,
    /// it differs, and the file is read.
    fn published(&mut self, work: &Work<F>) -> fs::Result<Option<FileIdentity>> {
        let Some(ingest) = self.index.ingest(work.id) else { return Ok(None) };
        let Some(target) = ingest.target.as_ref().filter(|_| !is_for_lake(ingest)) else { return Ok(None) };
        let moving = target.copy.as_ref().map_or(&ingest.identity, |copy| &copy.identity);
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        let there = match work.there {
            Some(there) => Some(there),
            None => match self.warehouse.look(&mut access, &target.warehouse_path) {
                Err(error) if error.spares_others() => None,
                there => there?.map(|stat| stat.identity),
            },
        };
        Ok(there.filter(|there| there.same_but_renamed(moving)))
    }

    /// Discards a copy. One that cannot be removed now is removed at the next start.
    pub(super) fn discard_copy(&mut self, path: &Path) -> Result<(), Error> {
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        match self.warehouse.discard(&mut access, path) {
            Err(Error::Io(error)) if error.spares_others() => Ok(()),
            discarded => discarded,
        }
    }
}
