//! A hashing worker: files in, hashed files out.
//!
//! Invariant: no small file waits for a large one to be read. Whoever hashes a large file looks for small ones behind each
//! piece of it, so this holds for one worker, and for as many large files as there are workers.

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

/// What waits for a worker.
#[derive(Clone)]
pub(super) struct HashQueues {
    /// Small files, those together that travel together.
    pub(super) small: Receiver<Vec<Settled>>,
    /// Large ones.
    pub(super) large: Receiver<Settled>,
}

/// Works until both queues are closed and empty, or nobody takes the results. Turns once in `turn_max`, at least.
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
    // They are closed at the same time, but may hold something still.
    queues.small.iter().for_each(|chunk| small.hash(chunk));
    queues.large.iter().for_each(|settled| large(settled, &mut small));
}

/// The small files, and where all results go.
struct Small<'a, F: Fs> {
    hasher: Hasher<F>,
    queues: &'a HashQueues,
    to_commit: &'a Sender<ToCommit<F>>,
    is_heard: bool,
}

impl<F: Fs> Small<'_, F> {
    /// Hashes what has come meanwhile: once, so that the large file gets its turn, too.
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
        // As long as the committer likes, which has a heartbeat of its own: it may wait for room on a full disk.
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

    /// Found by a reader: one that nothing had come for since the start counted as at work. After five minutes `/healthz` said
    /// so, and whoever believes it would have had a quiet ingestor killed, again and again.
    #[test]
    fn a_worker_that_has_nothing_to_do_rests() {
        let fs = SimFs::new(1);
        fs.upstream().mkdir_all("/in").unwrap();
        let shared = Arc::new(Shared {
            staging: Arc::new(fs.open_dir(Path::new("/in")).unwrap()),
            fs,
            copies: None,
            sidecar_suffix: None,
            validate: None,
            require_checksum: false,
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
