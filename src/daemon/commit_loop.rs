//! The committer's thread: takes whatever has been hashed as one batch. While it waits for the disk, the workers
//! fill the next one; there is no artificial delay.

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::ToCommit;
use crate::fs::Fs;
use crate::journal::state::State;
use crate::limits::{BATCH_FILES_MAX, IDLE_MARK_DELAY};
use crate::log;
use crate::pipeline::commit::Committer;
use crate::pipeline::{Error, Report};

/// Works until nobody sends any more, then closes the journal. An error ends it at once: what is half done is for
/// the next start.
pub(super) fn run<F: Fs>(
    mut committer: Committer<F>,
    to_commit: &Receiver<ToCommit<F>>,
    reports: &Sender<Vec<Report>>,
) -> Result<State, Error> {
    loop {
        let first = match next(&mut committer, to_commit)? {
            Next::Message(message) => Some(message),
            Next::Deferred => None,
            Next::End => break,
        };
        let mut files = Vec::new();
        let mut take = |message, committer: &mut Committer<F>| match message {
            ToCommit::Note(settled) => committer.note(settled),
            ToCommit::Files(more) => files.extend(more),
        };
        if let Some(message) = first {
            take(message, &mut committer);
        }
        let mut count = 0;
        while count < BATCH_FILES_MAX {
            let Ok(message) = to_commit.try_recv() else { break };
            count += if let ToCommit::Files(more) = &message { more.len() } else { 0 };
            take(message, &mut committer);
        }
        let lines = log::batch();
        let batch_reports = committer.commit(files)?;
        drop(lines);
        report(batch_reports, reports);
    }
    while committer.has_deferred() {
        let batch_reports = committer.commit(Vec::new())?;
        report(batch_reports, reports);
    }
    committer.shut_down()
}

/// An empty message would take a place that is counted on for a file in flight. That nobody hears it means that the
/// intake has ended; the files are safe all the same.
fn report(batch_reports: Vec<Report>, reports: &Sender<Vec<Report>>) {
    if !batch_reports.is_empty() {
        let _ = reports.send(batch_reports);
    }
}

enum Next<F: Fs> {
    Message(ToCommit<F>),
    /// Files that waited for the batch before.
    Deferred,
    End,
}

/// Waits for something to do; when there is nothing, writes what is pending, and marks the journal when it is quiet.
fn next<F: Fs>(committer: &mut Committer<F>, to_commit: &Receiver<ToCommit<F>>) -> Result<Next<F>, Error> {
    loop {
        if committer.has_pending() {
            match to_commit.try_recv() {
                Ok(message) => return Ok(Next::Message(message)),
                Err(TryRecvError::Disconnected) => return Ok(Next::End),
                Err(TryRecvError::Empty) if committer.has_deferred() => return Ok(Next::Deferred),
                Err(TryRecvError::Empty) => committer.flush()?,
            }
        } else if committer.wants_idle_mark() {
            match to_commit.recv_timeout(IDLE_MARK_DELAY) {
                Ok(message) => return Ok(Next::Message(message)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
                Err(RecvTimeoutError::Timeout) => committer.mark_idle()?,
            }
        } else {
            return Ok(to_commit.recv().map_or(Next::End, Next::Message));
        }
    }
}
