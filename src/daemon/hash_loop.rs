//! A hashing worker: takes complete files, returns hashed files.
//!
//! Invariant: no small file waits until a large one is read. A worker that hashes a large file checks for small ones
//! after each piece of it, so this holds even for one worker, and for as many large files as there are workers.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use crossbeam::select;

use super::channels::ToCommit;
use crate::fs::Fs;
use crate::heartbeat;
use crate::limits::FEW_FILES;
use crate::pipeline::hash::{Hasher, Shared};
use crate::pipeline::{HashResult, Settled};

/// The queues of files that wait for a worker.
#[derive(Clone)]
pub(super) struct HashQueues {
    /// Small files, in chunks that travel together.
    pub(super) small: Receiver<Vec<Settled>>,
    /// Large files.
    pub(super) large: Receiver<Settled>,
}

/// Works until both queues are closed and empty, or the committer has ended. It turns its loop at least once per
/// `turn_max`.
pub(super) fn run<F: Fs>(
    shared: Arc<Shared<F>>,
    queues: &HashQueues,
    to_commit: &Sender<ToCommit<F>>,
    turn_max: Duration,
) {
    let mut small = Small { hasher: Hasher::new(shared.clone()), queues, to_commit, is_heard: true };
    let mut hasher = Hasher::new(shared);
    let mut large = |settled, small: &mut Small<'_, F>| {
        heartbeat::step();
        let hashed = hasher.hash_between(settled, true, &mut || {
            small.one();
            heartbeat::step();
        });
        small.send(vec![hashed]);
    };
    while small.is_heard {
        heartbeat::rest();
        select! {
            recv(queues.small) -> chunk => match chunk {
                Ok(chunk) => small.hash(chunk),
                Err(_) => break,
            },
            recv(queues.large) -> settled => match settled {
                Ok(settled) => large(settled, &mut small),
                Err(_) => break,
            },
            default(turn_max) => {}
        }
    }
    heartbeat::rest();
    // They are closed at the same time, but may still contain files.
    queues.small.iter().for_each(|chunk| small.hash(chunk));
    queues.large.iter().for_each(|settled| large(settled, &mut small));
}

/// The small files, and the channel for all results.
struct Small<'a, F: Fs> {
    hasher: Hasher<F>,
    queues: &'a HashQueues,
    to_commit: &'a Sender<ToCommit<F>>,
    is_heard: bool,
}

impl<F: Fs> Small<'_, F> {
    /// Hashes one chunk of small files that has arrived: only one, so that the large file makes progress as well.
    fn one(&mut self) {
        if let Ok(chunk) = self.queues.small.try_recv() {
            self.hash(chunk);
        }
    }

    fn hash(&mut self, chunk: Vec<Settled>) {
        heartbeat::step();
        let few = chunk.len() <= FEW_FILES && self.queues.small.is_empty();
        let files = chunk.into_iter().map(|settled| self.hasher.hash(settled, few)).collect();
        self.send(files);
    }

    fn send(&mut self, files: Vec<HashResult<F>>) {
        heartbeat::rest();
        // This may take as long as the committer needs, which has its own heartbeat: it may be waiting for room on a
        // full disk.
        self.is_heard &= heartbeat::waiting(|| self.to_commit.send(ToCommit::Files(files)).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use crossbeam::channel;

    use super::*;
    use crate::fs::sim::SimFs;
    use crate::heartbeat::Heartbeats;
    use crate::journal::record::Identity;
    use crate::pipeline::scan::NameRules;

    /// Found in a review: a worker that had received nothing since the start counted as busy. After five minutes
    /// `/healthz` reported it as stalled, and a supervisor would have killed a quiet ingestor, again and again.
    #[test]
    fn a_worker_that_has_nothing_to_do_rests() {
        let fs = SimFs::new(1);
        fs.upstream().mkdir_all("/in").unwrap();
        let shared = Arc::new(Shared {
            staging: Arc::new(fs.open_dir(Path::new("/in")).unwrap()),
            fs,
            copies: None,
            is_dry_run: true,
            names: NameRules::default(),
            validate: None,
            require_checksum: false,
            layout: crate::pipeline::layout::Layout::default(),
            identity: Identity::default(),
            notes: Arc::default(),
            copy_all: AtomicBool::new(false),
            leases_missing: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            signalled: Arc::default(),
        });
        let heartbeats = Heartbeats::default();
        let ((small, small_end), (large, large_end)) = (channel::bounded(1), channel::bounded(1));
        let (to_commit, _results) = channel::bounded(1);
        let (began, has_begun) = channel::bounded(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _beating = heartbeats.begin("hash-0");
                heartbeat::step();
                began.send(()).unwrap();
                let queues = HashQueues { small: small_end, large: large_end };
                run(shared, &queues, &to_commit, Duration::from_secs(3600));
            });
            has_begun.recv().unwrap();
            let until = std::time::Instant::now() + Duration::from_secs(10);
            while heartbeats.stalled(Duration::ZERO).is_some() && std::time::Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(heartbeats.stalled(Duration::ZERO), None);
            drop((small, large));
        });
    }
}
