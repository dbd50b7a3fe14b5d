//! Compaction while the ingestor runs: when it is due, the thread that does it, and the use of its result. A thread for the
//! zeros of the journal's next segment.
//!
//! Invariants:
//! - The threads and the committer share only files that do not change any more; the committer waits for them only before
//!   the process ends.
//! - There is one compaction at a time. A failed one has changed nothing, and is tried again when the journal has
//!   grown. Damage that it finds ends the process, as damage does everywhere; the start does not notice damage within
//!   the rows of a snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver};

use crate::fs::{self, Fs};
use crate::heartbeat::waiting;
use crate::journal;
use crate::journal::blank::{self, Blank};
use crate::journal::compact::{Compacted, compact};
use crate::limits::COMPACTION_RETRY_BYTES;
use crate::metrics::Metrics;
use crate::pipeline::Error;
use crate::pipeline::commit::Committer;
use crate::types::Lsn;

/// The message that the thread sends when it ends.
pub(super) type Compaction = Result<Option<Compacted>, journal::Error>;

/// Decides when to compact.
pub(super) struct Compactor<F: Fs> {
    fs: F,
    /// None: it never compacts.
    state_path: Option<PathBuf>,
    remember: Option<Duration>,
    /// Set when the process is to stop: a running compaction then gives up.
    stop: Arc<AtomicBool>,
    pub(super) metrics: Arc<Metrics>,
    running: Option<(Receiver<Compaction>, Instant)>,
    blank: Option<Receiver<fs::Result<Option<Blank<F>>>>>,
    /// The segment after which a blank was tried last: one that failed is not tried again for it.
    blank_after: Option<Lsn>,
    /// After a failure: not before the journal has this many bytes.
    not_before_bytes: u64,
}

impl<F: Fs> Compactor<F> {
    pub(super) fn new(
        fs: &F,
        state_path: &Path,
        remember: Option<Duration>,
        stop: Arc<AtomicBool>,
        metrics: &Arc<Metrics>,
    ) -> Compactor<F> {
        Compactor {
            fs: fs.clone(),
            state_path: Some(state_path.to_path_buf()),
            remember,
            stop,
            metrics: metrics.clone(),
            running: None,
            blank: None,
            blank_after: None,
            not_before_bytes: 0,
        }
    }

    /// One that never compacts.
    pub(super) fn none(fs: &F, metrics: &Arc<Metrics>) -> Compactor<F> {
        let never = Compactor::new(fs, Path::new(""), None, Arc::default(), metrics);
        Compactor { state_path: None, ..never }
    }

    /// The channel of the result; one that is never ready if nothing is running.
    pub(super) fn outcome(&self) -> Receiver<Compaction> {
        self.running.as_ref().map_or_else(channel::never, |(outcome, _)| outcome.clone())
    }

    /// Handles a result that has come. True if another compaction is due.
    pub(super) fn is_due(&mut self, committer: &mut Committer<F>) -> Result<bool, Error> {
        if let Some((outcome, _)) = &self.running {
            match outcome.try_recv() {
                Ok(outcome) => self.hear(outcome, committer)?,
                Err(channel::TryRecvError::Empty) => return Ok(false),
                Err(channel::TryRecvError::Disconnected) => self.running = None,
            }
        }
        let may_begin = !self.stop.load(Ordering::Relaxed) && self.state_path.is_some();
        let bytes = committer.journal().sealed_bytes();
        Ok(may_begin && bytes >= self.not_before_bytes && committer.wants_compaction())
    }

    /// Begins a compaction. No batch is under way: what a duplicate refers to must not be forgotten before the duplicate
    /// is cleared.
    pub(super) fn begin(&mut self, committer: &mut Committer<F>) -> Result<(), Error> {
        let bytes = committer.journal().sealed_bytes();
        let Some(path) = self.state_path.clone() else { return Ok(()) };
        let until = committer.prepare_compaction(self.remember)?;
        let (sender, outcome) = channel::bounded(1);
        let (fs, stop) = (self.fs.clone(), self.stop.clone());
        let work = move || drop(sender.send(compact(&fs, &path, until, &stop)));
        match thread::Builder::new().name("compact".to_owned()).spawn(work) {
            Ok(_) => self.running = Some((outcome, Instant::now())),
            Err(error) => self.failed(&error.to_string(), bytes),
        }
        Ok(())
    }

    /// Handles the result of the compaction that was running.
    pub(super) fn hear(&mut self, outcome: Compaction, committer: &mut Committer<F>) -> Result<(), Error> {
        let begun = self.running.take().map_or_else(Instant::now, |(_, begun)| begun);
        match outcome {
            Ok(Some(compacted)) => {
                self.metrics.snapshot_written(compacted.snapshot.header(), compacted.forgotten, begun.elapsed());
                committer.adopt(compacted);
                self.not_before_bytes = 0;
            }
            Ok(None) => self.not_before_bytes = committer.journal().sealed_bytes() + COMPACTION_RETRY_BYTES,
            Err(damage @ (journal::Error::Corrupt(_) | journal::Error::Newer { .. })) => return Err(damage.into()),
            Err(error) => self.failed(&error.to_string(), committer.journal().sealed_bytes()),
        }
        Ok(())
    }

    /// Has the zeros of the next segment written once the active one is half full, and takes them over. If that fails, the
    /// rotation writes them, and reports the error.
    pub(super) fn provide_blank(&mut self, committer: &mut Committer<F>) {
        if let Some(made) = &self.blank {
            match made.try_recv() {
                Err(channel::TryRecvError::Empty) => return,
                Ok(Ok(Some(blank))) => committer.take_blank(blank),
                Ok(_) | Err(channel::TryRecvError::Disconnected) => {}
            }
            self.blank = None;
        }
        let segment = committer.journal().active_first_lsn();
        let due = committer.journal().wants_blank().filter(|_| self.blank_after != Some(segment));
        let (Some(capacity), Some(path)) = (due, self.state_path.clone()) else { return };
        self.blank_after = Some(segment);
        let (sender, made) = channel::bounded(1);
        let (fs, stop) = (self.fs.clone(), self.stop.clone());
        let work = move || drop(sender.send(blank::make(&fs, &path, capacity, &stop)));
        self.blank = thread::Builder::new().name("segment".to_owned()).spawn(work).is_ok().then_some(made);
    }

    /// Waits for the thread that writes zeros: the lock must not be released before it has ended.
    fn await_blank(&mut self) -> Option<Blank<F>> {
        let made = self.blank.take()?;
        waiting(|| made.recv()).ok()?.ok()?
    }

    fn failed(&mut self, error: &str, bytes: u64) {
        self.metrics.snapshot_failed(error);
        self.not_before_bytes = bytes + COMPACTION_RETRY_BYTES;
    }

    /// Makes a running compaction give up, and waits for it: the lock must not be released before the thread has ended.
    pub(super) fn give_up(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.await_blank());
        if let Some((outcome, _)) = &self.running {
            let _ = waiting(|| outcome.recv());
        }
    }

    /// Waits for a running compaction. After a signal the compaction gives up if it has not merged all rows yet;
    /// otherwise it runs to its end.
    pub(super) fn finish(mut self, committer: &mut Committer<F>) -> Result<(), Error> {
        if let Some(blank) = self.await_blank() {
            // It is removed with the journal's end.
            committer.take_blank(blank);
        }
        let Some((outcome, _)) = &self.running else { return Ok(()) };
        match waiting(|| outcome.recv()) {
            Ok(outcome) => self.hear(outcome, committer),
            Err(_) => Ok(()),
        }
    }
}
