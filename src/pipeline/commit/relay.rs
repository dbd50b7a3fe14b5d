//! Runs batches one behind the other: while one is published by other hands, the committer plans and records the next,
//! and writes the lines of the one before.
//!
//! ```text
//! committer   plan k+1 │      │ lines k │ plan k+2 │        │ lines k+1
//! publisher   ── publish k ───┤───────── publish k+1 ───────┤── publish k+2
//! ```
//!
//! Invariants:
//! - One batch is published at a time, and at most one more is planned: a crash leaves no more half done.
//! - A batch is passed on only after the one before is published, so files arrive in the order of the batches.
//! - P2: only one thread at a time changes names. Whoever syncs a directory makes the other's removals durable as well, and
//!   a name that the other has moved elsewhere need not be durable there yet. So what a batch still removes, moves or puts
//!   back is done before the next one is published.

use super::Committer;
use super::publisher::{Done, Hands};
use crate::fs::Fs;
use crate::pipeline::{Error, HashResult, Report};

/// The batch that is published at the moment.
pub struct Relay<F: Fs> {
    is_busy: bool,
    done: Option<Done<F>>,
}

impl<F: Fs> Default for Relay<F> {
    fn default() -> Relay<F> {
        Relay { is_busy: false, done: None }
    }
}

impl<F: Fs> Relay<F> {
    /// True if a batch was passed on and has not been completed.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// True if the batch that was passed on is published.
    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Takes over what was published, if the caller has waited for it.
    pub fn take(&mut self, done: Done<F>) {
        self.done = Some(done);
    }

    /// Commits a batch behind the one that is under way. The reports are about both.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn commit(
        &mut self,
        committer: &mut Committer<F>,
        hands: &mut dyn Hands<F>,
        batch: Vec<HashResult<F>>,
    ) -> Result<Vec<Report>, Error> {
        if committer.comes_alone(&batch) {
            let mut reports = self.settle(committer, hands)?;
            reports.extend(committer.commit(batch)?);
            return Ok(reports);
        }
        let (job, mut reports) = committer.plan_ahead(batch)?;
        let done = self.end(hands)?;
        let mut done = done;
        if done.as_ref().is_some_and(|done| committer.still_changes_names(done)) {
            reports.extend(done.take().map_or_else(|| Ok(Vec::new()), |done| committer.complete(done))?);
        }
        // The wait may have been long.
        committer.look_at_places()?;
        hands.pass(job)?;
        self.is_busy = true;
        if let Some(done) = done {
            reports.extend(committer.complete(done)?);
        }
        Ok(reports)
    }

    /// Waits for the batch under way, and completes it.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn settle(&mut self, committer: &mut Committer<F>, hands: &mut dyn Hands<F>) -> Result<Vec<Report>, Error> {
        let done = self.end(hands)?;
        done.map_or_else(|| Ok(Vec::new()), |done| committer.complete(done))
    }

    fn end(&mut self, hands: &mut dyn Hands<F>) -> Result<Option<Done<F>>, Error> {
        let is_awaited = std::mem::take(&mut self.is_busy) && self.done.is_none();
        if is_awaited { hands.wait().map(Some) } else { Ok(self.done.take()) }
    }
}
