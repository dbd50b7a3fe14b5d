//! The committer's thread: takes all files that have been hashed as one batch. While it waits for the disk, the workers
//! hash the files of the next batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use crossbeam::select;

use super::channels::{Committed, ToCommit};
use super::compactor::{Compaction, Compactor};
use crate::fs::Fs;
use crate::heartbeat;
use crate::journal::index::Index;
use crate::limits::{BATCH_BYTES_MAX, BATCH_FILES_MAX, GATHER_WAIT_MAX, IDLE_MARK_DELAY};
use crate::log;
use crate::metrics::Metrics;
use crate::metrics::health::Phase;
use crate::pipeline::commit::Committer;
use crate::pipeline::in_order::{InOrder, settled};
use crate::pipeline::{Error, HashResult, Report};

/// The committer's input.
pub(super) struct Inbox<'a, F: Fs> {
    pub(super) to_commit: &'a Receiver<ToCommit<F>>,
    /// The number of small files that workers have and the committer does not have yet.
    pub(super) under_way: &'a AtomicUsize,
    /// The longest wait for input.
    pub(super) turn_max: Duration,
    /// Files are committed in the order in which they were handed out.
    pub(super) keeps_order: bool,
}

/// Runs until all senders are gone, then closes the journal. An error ends it at once: files that are half done are
/// left to the next start.
pub(super) fn run<F: Fs>(
    mut committer: Committer<F>,
    mut compactor: Compactor<F>,
    inbox: &Inbox<'_, F>,
    reports: &Sender<Committed<F>>,
) -> Result<Index, Error> {
    let metrics = compactor.metrics.clone();
    grown(&metrics, &committer);
    if let Err(error) = work(&mut committer, &mut compactor, inbox, reports) {
        // It takes a moment until the process has ended; meanwhile it must not count as ready.
        metrics.enter(Phase::Failed);
        compactor.give_up();
        return Err(error);
    }
    heartbeat::rest();
    compactor.finish(&mut committer)?;
    grown(&metrics, &committer);
    committer.shut_down()
}

fn grown<F: Fs>(metrics: &Metrics, committer: &Committer<F>) {
    metrics.journal_grown(committer.index().remembered(), committer.journal().sealed_bytes());
}

fn work<F: Fs>(
    committer: &mut Committer<F>,
    compactor: &mut Compactor<F>,
    inbox: &Inbox<'_, F>,
    reports: &Sender<Committed<F>>,
) -> Result<(), Error> {
    let metrics = compactor.metrics.clone();
    let mut in_order = InOrder::new(inbox.keeps_order);
    loop {
        heartbeat::step();
        compactor.look(committer)?;
        if !committer.has_deferred() {
            in_order.take_noted().into_iter().for_each(|settled| committer.note(settled));
        }
        let mut batch = Batch { files: Vec::new(), bytes: 0, in_order: &mut in_order };
        let next =
            if batch.in_order.has_next() { Next::Waiting } else { next(committer, inbox, &compactor.outcome())? };
        heartbeat::step();
        match next {
            Next::Message(message) => batch.take(message, committer, inbox.under_way),
            Next::Waiting => batch.fill(),
            Next::Compacted(outcome) => {
                compactor.hear(outcome, committer)?;
                grown(&metrics, committer);
                continue;
            }
            Next::End => break,
        }
        gather(&mut batch, committer, inbox);
        let files = batch.files;
        if files.is_empty() && inbox.keeps_order && !committer.has_pending() {
            continue;
        }
        let (lines, began) = (log::batch(), Instant::now());
        metrics.batch_begun(files.len());
        let batch_reports = committer.commit(files)?;
        metrics.batch_committed(began.elapsed());
        grown(&metrics, committer);
        drop(lines);
        report(batch_reports, committer, reports);
    }
    in_order.end();
    while in_order.has_next() || committer.has_deferred() {
        let rest = std::iter::from_fn(|| in_order.pass()).collect();
        let batch_reports = committer.commit(rest)?;
        report(batch_reports, committer, reports);
    }
    // Before the wait for the compaction, which may take a while.
    committer.flush()
}

/// Fills the batch with the files that are ready. While more than half of the known small files are still being hashed,
/// it waits a moment for those as well. A batch costs the same few syncs whatever its size, so under load the number of
/// syncs depends on the number of files in flight and not on the speed of the disk. A single file does not wait for
/// others, and no file waits for a large one.
fn gather<F: Fs>(
    batch: &mut Batch<'_, F>,
    committer: &mut Committer<F>,
    &Inbox { to_commit, under_way, .. }: &Inbox<'_, F>,
) {
    batch.fill();
    let until = Instant::now() + GATHER_WAIT_MAX;
    while !batch.is_full() {
        let message = match to_commit.try_recv() {
            Ok(message) => message,
            Err(_) if batch.files.is_empty() || under_way.load(Ordering::Relaxed) <= batch.files.len() => return,
            Err(_) => match to_commit.recv_deadline(until) {
                Ok(message) => message,
                Err(_) => return,
            },
        };
        batch.take(message, committer, under_way);
    }
}

/// The files of one batch.
struct Batch<'a, F: Fs> {
    files: Vec<HashResult<F>>,
    bytes: u64,
    /// Where its files come from.
    in_order: &'a mut InOrder<F>,
}

impl<F: Fs> Batch<'_, F> {
    fn is_full(&self) -> bool {
        self.files.len() >= BATCH_FILES_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    fn take(&mut self, message: ToCommit<F>, committer: &mut Committer<F>, under_way: &AtomicUsize) {
        let files = match message {
            ToCommit::Note(settled) => {
                return self.in_order.note(settled).into_iter().for_each(|settled| committer.note(settled));
            }
            ToCommit::Gone(gone) => return committer.note_gone(&gone),
            ToCommit::Files(files) => files,
        };
        let small = files.iter().filter(|file| settled(file).is_small()).count();
        under_way.fetch_sub(small, Ordering::Relaxed);
        self.in_order.take(files);
        self.fill();
    }

    /// Takes the files whose turn it is.
    fn fill(&mut self) {
        while !self.is_full()
            && let Some(file) = self.in_order.pass()
        {
            self.bytes += settled(&file).identity.size;
            self.files.push(file);
        }
    }
}

/// Sends a batch's reports to the intake. An empty message is not sent: the channel has room for one message per file
/// in flight, and an empty one would take the place of a file's report. If the send fails, the intake has ended; the
/// files are safe all the same.
fn report<F: Fs>(batch_reports: Vec<Report>, committer: &mut Committer<F>, reports: &Sender<Committed<F>>) {
    let finished = committer.take_finished();
    if !batch_reports.is_empty() {
        let _ = reports.send(Committed { reports: batch_reports, finished });
    }
}

enum Next<F: Fs> {
    Message(ToCommit<F>),
    /// Files that wait already: the batch before has deferred them, or had no room for them.
    Waiting,
    /// The compaction has ended.
    Compacted(Compaction),
    End,
}

/// Waits for something to do. Meanwhile it writes pending records, and marks the journal as idle when it is quiet.
fn next<F: Fs>(
    committer: &mut Committer<F>,
    &Inbox { to_commit, turn_max, .. }: &Inbox<'_, F>,
    compacted: &Receiver<Compaction>,
) -> Result<Next<F>, Error> {
    loop {
        heartbeat::step();
        if committer.has_pending() {
            match to_commit.try_recv() {
                Ok(message) => return Ok(Next::Message(message)),
                Err(TryRecvError::Disconnected) => return Ok(Next::End),
                Err(TryRecvError::Empty) if committer.has_deferred() => return Ok(Next::Waiting),
                Err(TryRecvError::Empty) => committer.flush()?,
            }
        } else if committer.wants_idle_mark() {
            heartbeat::rest();
            let message = to_commit.recv_timeout(IDLE_MARK_DELAY);
            heartbeat::step();
            match message {
                Ok(message) => return Ok(Next::Message(message)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
                Err(RecvTimeoutError::Timeout) => committer.mark_idle()?,
            }
        } else {
            heartbeat::rest();
            select! {
                recv(to_commit) -> message => return Ok(message.map_or(Next::End, Next::Message)),
                // The compaction's thread ended without a result: the next look at the compactor notices that.
                recv(compacted) -> outcome => return Ok(outcome.map_or(Next::Waiting, Next::Compacted)),
                default(turn_max) => {}
            }
        }
    }
}
