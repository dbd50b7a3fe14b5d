//! The committer's thread: takes all files that have been hashed as one batch. While it waits for the disk, the workers
//! hash the files of the next batch. Where batches overlap, it plans the next one while that batch is published.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use crossbeam::select;

use super::channels::{Committed, ToCommit};
use super::compactor::{Compaction, Compactor};
use super::publish_thread::{Publication, PublishThread};
use crate::fs::Fs;
use crate::heartbeat;
use crate::journal::index::Index;
use crate::limits::{
    ALONE_FILES_MAX, BATCH_BYTES_MAX, BATCH_FILES_MAX, GATHER_WAIT_MAX, IDLE_MARK_DELAY, LAKE_BATCH_BYTES_MAX,
    LAKE_TURN_MIN, MOVE_TIME, OVERLAP_FILES_MIN, OVERLAP_SYNCS,
};
use crate::log;
use crate::metrics::Metrics;
use crate::metrics::health::Phase;
use crate::pipeline::commit::Committer;
use crate::pipeline::commit::relay::Relay;
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
    publisher: PublishThread<F>,
) -> Result<Index, Error> {
    let metrics = compactor.metrics.clone();
    grown(&metrics, &committer);
    let mut batches = Batches { publisher, relay: Relay::default(), begun: VecDeque::new(), reports, metrics };
    let worked = work(&mut committer, &mut compactor, inbox, &mut batches);
    // Before the journal's lock is released.
    let Batches { metrics, publisher, relay, .. } = batches;
    let worked = worked.map_err(|error| if relay.is_busy() { publisher.cause(error) } else { error });
    drop(publisher);
    if let Err(error) = worked {
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
    batches: &mut Batches<'_, F>,
) -> Result<(), Error> {
    let mut in_order = InOrder::new(inbox.keeps_order);
    let bytes_max = if committer.has_lake() { LAKE_BATCH_BYTES_MAX } else { BATCH_BYTES_MAX };
    let files_max = BATCH_FILES_MAX;
    let mut batch = Batch { files: Vec::new(), bytes: 0, files_max, bytes_max, in_order: &mut in_order };
    loop {
        heartbeat::step();
        batch.limit(committer, &batches.metrics);
        compactor.provide_blank(committer);
        if compactor.is_due(committer)? {
            batches.settle(committer)?;
            compactor.begin(committer)?;
        }
        if !committer.has_deferred() {
            batch.in_order.take_noted().into_iter().for_each(|settled| committer.note(settled));
        }
        let is_waiting = batch.has_files() && !batches.relay.is_busy();
        let next = if is_waiting { Next::Waiting } else { next(committer, inbox, &compactor.outcome(), batches)? };
        heartbeat::step();
        match next {
            Next::Message(message) => batch.take(message, committer, inbox.under_way),
            Next::Waiting => batch.fill(),
            Next::Published(done) => batches.relay.take(done?),
            Next::Compacted(outcome) => {
                compactor.hear(outcome, committer)?;
                grown(&batches.metrics, committer);
                continue;
            }
            Next::Turn => {
                batches.turn(committer)?;
                continue;
            }
            Next::End => break,
        }
        gather(&mut batch, committer, inbox, &batches.relay);
        let is_large = batch.is_full() || batch.files.len() >= batch.files_max / 2;
        if batches.relay.is_busy() && !is_large {
            // A small batch waits until what is under way is done: it may grow meanwhile.
            if batches.relay.is_done() {
                batches.settle(committer)?;
            }
            continue;
        }
        let files = batch.take_files();
        if files.is_empty() && (inbox.keeps_order || batches.relay.is_busy()) && !committer.has_pending() {
            continue;
        }
        batches.commit(committer, files)?;
    }
    let rest = batch.take_files();
    end(committer, batches, in_order, rest)
}

/// Commits what is left when all senders are gone.
fn end<F: Fs>(
    committer: &mut Committer<F>,
    batches: &mut Batches<'_, F>,
    mut in_order: InOrder<F>,
    mut rest: Vec<HashResult<F>>,
) -> Result<(), Error> {
    batches.settle(committer)?;
    in_order.end();
    rest.extend(std::iter::from_fn(|| in_order.pass()));
    while !rest.is_empty() || committer.has_deferred() {
        let batch_reports = committer.commit(std::mem::take(&mut rest))?;
        report(batch_reports, committer, batches.reports);
    }
    let awaited = committer.await_lake()?;
    report(awaited, committer, batches.reports);
    // Before the wait for the compaction, which may take a while.
    committer.flush()
}

/// The batches under way, and who publishes them.
struct Batches<'a, F: Fs> {
    publisher: PublishThread<F>,
    relay: Relay<F>,
    /// How many files each has, and when it began, oldest first.
    begun: VecDeque<(usize, Instant)>,
    reports: &'a Sender<Committed<F>>,
    metrics: Arc<Metrics>,
}

impl<F: Fs> Batches<'_, F> {
    /// Commits a batch; the one before may still be under way.
    fn commit(&mut self, committer: &mut Committer<F>, files: Vec<HashResult<F>>) -> Result<(), Error> {
        let lines = log::batch();
        self.begun.push_back((files.len(), Instant::now()));
        self.tell();
        let is_alone = !self.relay.is_busy() && files.len() <= ALONE_FILES_MAX;
        let batch_reports = match is_alone {
            true => committer.commit(files)?,
            false => self.relay.commit(committer, &mut self.publisher, files)?,
        };
        self.end(committer, lines, batch_reports);
        Ok(())
    }

    /// What is due in a lake.
    fn turn(&mut self, committer: &mut Committer<F>) -> Result<(), Error> {
        let lines = log::batch();
        let batch_reports = committer.turn_lake()?;
        drop(lines);
        report(batch_reports, committer, self.reports);
        Ok(())
    }

    /// Waits until nothing is under way.
    fn settle(&mut self, committer: &mut Committer<F>) -> Result<(), Error> {
        let lines = log::batch();
        let batch_reports = self.relay.settle(committer, &mut self.publisher)?;
        self.end(committer, lines, batch_reports);
        Ok(())
    }

    fn end(&mut self, committer: &mut Committer<F>, lines: log::Batch, batch_reports: Vec<Report>) {
        while self.begun.len() > usize::from(self.relay.is_busy()) {
            let Some((_, began)) = self.begun.pop_front() else { break };
            self.metrics.batch_committed(began.elapsed());
        }
        self.tell();
        grown(&self.metrics, committer);
        drop(lines);
        report(batch_reports, committer, self.reports);
    }

    fn tell(&self) {
        self.metrics.committing(self.begun.iter().map(|(files, _)| files).sum());
    }
}

/// Fills the batch with the files that are ready. While more than half of the known small files are still being hashed,
/// it waits a moment for those as well. A batch costs the same few syncs whatever its size, so under load the number of
/// syncs depends on the number of files in flight and not on the speed of the disk. A single file does not wait for
/// others, and no file waits for a large one. While a batch is under way, nothing waits here: there is something to do
/// when that is published.
fn gather<F: Fs>(
    batch: &mut Batch<'_, F>,
    committer: &mut Committer<F>,
    &Inbox { to_commit, under_way, .. }: &Inbox<'_, F>,
    relay: &Relay<F>,
) {
    batch.fill();
    let until = Instant::now() + GATHER_WAIT_MAX;
    while !batch.is_full() {
        let message = match to_commit.try_recv() {
            Ok(message) => message,
            Err(_) if relay.is_busy() => return,
            Err(_) if batch.files.is_empty() || under_way.load(Ordering::Relaxed) <= batch.files.len() => return,
            Err(_) => match to_commit.recv_deadline(until) {
                Ok(message) => message,
                Err(_) => return,
            },
        };
        batch.take(message, committer, under_way);
    }
}

/// How many files a batch may have, if a sync takes so long.
fn files_max(sync_time: Duration) -> usize {
    let files = (sync_time * OVERLAP_SYNCS).as_nanos() / MOVE_TIME.as_nanos();
    usize::try_from(files).unwrap_or(usize::MAX).clamp(OVERLAP_FILES_MIN, BATCH_FILES_MAX)
}

/// The files of one batch.
struct Batch<'a, F: Fs> {
    files: Vec<HashResult<F>>,
    bytes: u64,
    files_max: usize,
    bytes_max: u64,
    /// Where its files come from.
    in_order: &'a mut InOrder<F>,
}

impl<F: Fs> Batch<'_, F> {
    fn is_full(&self) -> bool {
        self.files.len() >= self.files_max || self.bytes >= self.bytes_max
    }

    /// Decides how many files it may have. Where batches overlap, they are small.
    fn limit(&mut self, committer: &Committer<F>, metrics: &Metrics) {
        self.files_max = match committer.comes_alone(&[]) {
            true => BATCH_FILES_MAX,
            false => files_max(metrics.fdatasync_time()),
        };
    }

    /// True if files wait, whether or not there was room for them.
    fn has_files(&self) -> bool {
        !self.files.is_empty() || self.in_order.has_next()
    }

    fn take_files(&mut self) -> Vec<HashResult<F>> {
        self.bytes = 0;
        let room = Vec::with_capacity(self.files.len());
        std::mem::replace(&mut self.files, room)
    }

    fn take(&mut self, message: ToCommit<F>, committer: &mut Committer<F>, under_way: &AtomicUsize) {
        let files = match message {
            ToCommit::Note(settled) => {
                return self.in_order.note(settled).into_iter().for_each(|settled| committer.note(settled));
            }
            ToCommit::Gone(gone) => return committer.note_gone(&gone),
            ToCommit::Group(group) => return committer.take_group(group),
            ToCommit::Ask(group) => return committer.ask(group),
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
    /// The batch under way is published.
    Published(Publication<F>),
    /// It is time to look at the lake.
    Turn,
    /// The compaction has ended.
    Compacted(Compaction),
    End,
}

/// Waits for something to do. Meanwhile it writes pending records, and marks the journal as idle when it is quiet.
fn next<F: Fs>(
    committer: &mut Committer<F>,
    &Inbox { to_commit, turn_max, .. }: &Inbox<'_, F>,
    compacted: &Receiver<Compaction>,
    batches: &Batches<'_, F>,
) -> Result<Next<F>, Error> {
    let turn_max = if committer.has_lake() { turn_max.min(LAKE_TURN_MIN) } else { turn_max };
    let is_busy = batches.relay.is_busy();
    let never = channel::never();
    let done = if is_busy { batches.publisher.done() } else { &never };
    loop {
        heartbeat::step();
        if committer.has_pending() && !is_busy {
            match to_commit.try_recv() {
                Ok(message) => return Ok(Next::Message(message)),
                Err(TryRecvError::Disconnected) => return Ok(Next::End),
                Err(TryRecvError::Empty) if committer.has_deferred() => return Ok(Next::Waiting),
                Err(TryRecvError::Empty) => committer.flush()?,
            }
        } else if committer.wants_idle_mark() && !is_busy {
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
                recv(done) -> done => return Ok(Next::Published(done.unwrap_or(Err(Error::Ended("publish"))))),
                // The compaction's thread ended without a result: the next look at the compactor notices that.
                recv(compacted) -> outcome => return Ok(outcome.map_or(Next::Waiting, Next::Compacted)),
                default(turn_max) => {}
            }
            if committer.has_lake() {
                return Ok(Next::Turn);
            }
        }
    }
}
