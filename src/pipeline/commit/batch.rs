//! One batch, from its plan to its end.
//!
//! ```text
//! plan ──▶ HASHED ──▶ publish ──▶ MOVED ──▶ lines ──▶ clean-up
//! ```
//!
//! Batches can overlap: while one is published by another thread, the next is planned and recorded.
//!
//! Invariants:
//! - The steps of each batch come in this order, and batches end in the order in which they began.
//! - P1: what a batch under way may bring (a key) or has chosen (a path), no later one takes.

use std::path::Path;

use super::claims::UnderWay;
use super::gather::group_of;
use super::publisher::{Done, Job};
use super::{Committer, Dropped, Work};
use crate::fs::Fs;
use crate::journal::record::Record;
use crate::pipeline::quarantine::QuarantineReason;
use crate::pipeline::warehouse::Published;
use crate::pipeline::{Error, HashResult, Refused, Report};
use crate::types::Key;

impl<F: Fs> Committer<F> {
    /// Takes one batch all the way. Of several files with one content, all but the first wait for the next batch (which
    /// may otherwise be empty).
    ///
    /// # Errors
    /// An effect failed, and going on could break a promise. The next start finishes what is half done.
    pub fn commit(&mut self, batch: Vec<HashResult<F>>) -> Result<Vec<Report>, Error> {
        let mut reports = Vec::with_capacity(batch.len());
        let batch = self.open_batch(batch, &mut reports)?;
        if batch.is_empty() && self.pending.deferred.is_empty() && self.pending.groups.are_ready() {
            self.commit_groups(&mut reports)?;
            return Ok(reports);
        }
        let works = self.record_batch(batch, &mut reports)?;
        if self.has_lake() {
            self.commit_to_lake(works, &mut reports)?;
            self.commit_groups(&mut reports)?;
            return Ok(reports);
        }
        let (placed, dropped) = self.place_all(works)?;
        self.end_batch(placed, dropped, &mut reports)?;
        self.commit_groups(&mut reports)?;
        Ok(reports)
    }

    /// Plans and records a batch that [`Committer::complete`] will end, after those that are under way.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn plan_ahead(&mut self, batch: Vec<HashResult<F>>) -> Result<(Job<F>, Vec<Report>), Error> {
        let mut reports = Vec::new();
        let batch = self.open_batch(batch, &mut reports)?;
        let works = self.record_batch(batch, &mut reports)?;
        Ok((self.job(works)?, reports))
    }

    /// Ends the oldest batch that is under way. Its files were published: those whose names were taken get other ones
    /// here.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn complete(&mut self, done: Done<F>) -> Result<Vec<Report>, Error> {
        let (mut moved, mut collided, mut dropped) = (Vec::with_capacity(done.files.len()), Vec::new(), Vec::new());
        for (mut work, published) in done.files {
            match published {
                Published::Done(there) => {
                    work.there = there;
                    moved.push(work);
                }
                Published::Taken => collided.push(work),
                published => self.give_up(work, published, &mut dropped)?,
            }
        }
        let mut reports = Vec::with_capacity(moved.len());
        if !collided.is_empty() {
            self.staging.dirs.forget_staged();
            let renamed = self.choose_again(collided, &mut dropped)?;
            let (placed, more) = self.place_all(renamed)?;
            dropped.extend(more);
            moved.extend(self.confirm(placed, &mut dropped)?);
        }
        self.end_moved(moved, dropped, &mut reports)?;
        Ok(reports)
    }

    /// True if the end of the oldest batch under way removes or moves files, and does not only write.
    pub(super) fn still_changes_names(&self, done: &Done<F>) -> bool {
        let leaves_something = |work: &Work<F>| {
            self.index.ingest(work.id).is_none_or(|ingest| {
                ingest.sidecar.is_some() || ingest.target.as_ref().is_none_or(|target| target.copy.is_some())
            })
        };
        let is_plain = |(work, published): &(Work<F>, Published)| {
            matches!(published, Published::Done(_)) && !leaves_something(work)
        };
        let clears = self.pending.under_way.front().is_some_and(|batch| !batch.to_clear.is_empty());
        clears || !done.files.iter().all(is_plain)
    }

    /// True if a batch of these files has to come alone: its files wait for each other, or for those before them.
    pub fn comes_alone(&self, batch: &[HashResult<F>]) -> bool {
        self.has_lake()
            || self.pending.keeps_order
            || self.pending.groups.are_here()
            || batch.iter().any(|item| group_of(item).is_some())
    }

    /// Checks the directories that must not be replaced.
    ///
    /// # Errors
    /// One was.
    pub fn look_at_places(&self) -> Result<(), Error> {
        let Some(places) = &self.places else { return Ok(()) };
        places.look()?;
        places.must_hold(&self.journal)
    }

    /// The files of a batch that belong to no group.
    fn open_batch(
        &mut self,
        batch: Vec<HashResult<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<HashResult<F>>, Error> {
        self.pending.finished.clear();
        self.staging.dirs.forget_staged();
        self.look_at_places()?;
        for group in std::mem::take(&mut self.pending.groups.asked) {
            reports.push(self.answer(&group)?);
        }
        Ok(self.gather(batch, reports))
    }

    /// Writes what is to become of each file. Returns those that are to be moved.
    fn record_batch(&mut self, batch: Vec<HashResult<F>>, reports: &mut Vec<Report>) -> Result<Vec<Work<F>>, Error> {
        let mut hashed = std::mem::take(&mut self.pending.deferred);
        hashed.reserve(batch.len());
        let mut to_quarantine = Vec::new();
        for item in batch {
            match item {
                Ok(file) => hashed.push(file),
                Err(refused) => match self.finding(&refused) {
                    Some(finding) => to_quarantine.push((refused.settled, finding)),
                    None => reports.push(self.refuse(refused.settled, refused.refusal)),
                },
            }
        }
        // A lake has bytes of its own before anything depends on them.
        if !self.has_lake() {
            self.sync_data(hashed.iter())?;
        }
        if self.pending.keeps_order
            && let Some(copies) = self.shared.copies.as_ref().filter(|_| hashed.iter().any(|file| file.copy.is_some()))
        {
            // A copy whose name a power cut takes away is made again, after the files of its batch that were not lost.
            self.fs.sync_dir(copies)?;
        }
        self.flush_kept_gone()?;
        let mut plan = self.plan(hashed, reports)?;
        self.plan_quarantine(to_quarantine, &mut plan);
        self.write(plan.records)?;
        self.pending.under_way.push_back(UnderWay { claims: plan.claims, to_clear: plan.duplicates });
        Ok(plan.ingests)
    }

    /// All steps of the oldest batch after its files have their names in the warehouse.
    fn end_batch(
        &mut self,
        placed: Vec<Work<F>>,
        mut dropped: Vec<Dropped<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let moved = self.confirm(placed, &mut dropped)?;
        self.end_moved(moved, dropped, reports)
    }

    fn end_moved(
        &mut self,
        mut moved: Vec<Work<F>>,
        dropped: Vec<Dropped<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        self.record_moves(&moved, dropped, reports)?;
        let to_clear = self.pending.under_way.pop_front().map(|batch| batch.to_clear).unwrap_or_default();
        self.write_lines(&mut moved, false)?;
        self.finish(moved, to_clear, reports)
    }

    /// True if a file under way may bring this key.
    pub(super) fn is_awaited(&self, key: &Key) -> bool {
        self.pending.under_way.iter().any(|batch| batch.claims.keys.contains(key))
    }

    /// True if a file under way has this path in the warehouse.
    pub(super) fn is_claimed(&self, path: &Path) -> bool {
        self.pending.under_way.iter().any(|batch| batch.claims.paths.contains(path))
    }

    /// An original that no kept duplicate holds any more may have expired: the index must know before a plan.
    pub(super) fn flush_kept_gone(&mut self) -> Result<(), Error> {
        match self.pending.closings.iter().any(|record| matches!(record, Record::KeptGone(_))) {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn finding(&self, refused: &Refused) -> Option<QuarantineReason> {
        self.quarantine.as_ref()?.finding(refused, &self.settings.input)
    }
}
