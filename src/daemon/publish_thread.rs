//! The thread that moves files into the warehouse while the committer plans the next batch.
//!
//! Invariant: it has ended before the journal's lock is released: whoever drops this waits for it. Otherwise it could
//! move files while another process works with the same directories.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};

use crate::fs::Fs;
use crate::heartbeat::{self, Heartbeats};
use crate::pipeline::Error;
use crate::pipeline::commit::Committer;
use crate::pipeline::commit::publisher::{Done, Hands, Job, Publisher};

const NAME: &str = "publish";

/// What the thread sends back.
pub(super) type Publication<F> = Result<Done<F>, Error>;

/// The running thread.
pub(super) struct PublishThread<F: Fs> {
    /// None: it is to end.
    jobs: Option<Sender<Job<F>>>,
    done: Receiver<Publication<F>>,
    gives_up: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<F: Fs> PublishThread<F> {
    /// Starts it. It turns its loop at least once per `turn_max`.
    pub(super) fn start(
        committer: &Committer<F>,
        heartbeats: &Heartbeats,
        turn_max: Duration,
    ) -> std::io::Result<PublishThread<F>> {
        let gives_up = Arc::new(AtomicBool::new(false));
        let (mut publisher, heartbeats) = (committer.publisher(gives_up.clone()), heartbeats.clone());
        let (jobs, to_do) = channel::bounded(1);
        let (results, done) = channel::bounded(1);
        let work = move || {
            let _beating = heartbeats.begin(NAME);
            run(&mut publisher, &to_do, &results, turn_max);
        };
        let thread = thread::Builder::new().name(NAME.to_owned()).spawn(work)?;
        Ok(PublishThread { jobs: Some(jobs), done, gives_up, thread: Some(thread) })
    }

    /// The thread's own error, if it is why the committer has ended.
    pub(super) fn cause(&self, error: Error) -> Error {
        match error {
            Error::Ended(_) => match heartbeat::waiting(|| self.done.recv()) {
                Ok(Err(cause)) => cause,
                _ => error,
            },
            error => error,
        }
    }

    /// Where the result of a job arrives.
    pub(super) fn done(&self) -> &Receiver<Publication<F>> {
        &self.done
    }
}

impl<F: Fs> Hands<F> for PublishThread<F> {
    fn pass(&mut self, job: Job<F>) -> Result<(), Error> {
        let jobs = self.jobs.as_ref().ok_or(Error::Ended(NAME))?;
        jobs.send(job).map_err(|_| Error::Ended(NAME))
    }

    fn wait(&mut self) -> Result<Done<F>, Error> {
        // It has a heartbeat of its own.
        heartbeat::waiting(|| self.done.recv()).map_err(|_| Error::Ended(NAME))?
    }
}

impl<F: Fs> Drop for PublishThread<F> {
    fn drop(&mut self) {
        self.gives_up.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = heartbeat::waiting(|| thread.join());
        }
    }
}

fn run<F: Fs>(
    publisher: &mut Publisher<F>,
    to_do: &Receiver<Job<F>>,
    results: &Sender<Publication<F>>,
    turn_max: Duration,
) {
    loop {
        heartbeat::rest();
        let job = match to_do.recv_timeout(turn_max) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        heartbeat::step();
        if results.send(publisher.publish(job)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Why: a thread that still moves files after the journal's lock was released moves them under another process.
    #[test]
    fn it_has_ended_when_it_is_dropped() {
        let (jobs, to_do) = channel::bounded::<Job<crate::fs::sim::SimFs>>(1);
        let (_results, done) = channel::bounded(1);
        let (at_work, ends) = (Arc::new(AtomicUsize::new(1)), Arc::default());
        let (seen, gives_up): (Arc<AtomicUsize>, Arc<AtomicBool>) = (at_work.clone(), ends);
        let flag = gives_up.clone();
        let thread = thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            // Nothing more is to do, and the job that it has takes a moment.
            assert!(to_do.recv().is_err());
            thread::sleep(Duration::from_millis(50));
            seen.store(0, Ordering::Release);
        });
        drop(PublishThread { jobs: Some(jobs), done, gives_up, thread: Some(thread) });
        assert_eq!(at_work.load(Ordering::Acquire), 0);
    }
}
