//! A hashing worker: files in, hashed files out.
//!
//! Invariant: no small file waits for a large one to be read. Whoever hashes a large file looks for small ones behind each
//! piece of it, so this holds for one worker, and for as many large files as there are workers.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use crossbeam::select;

use super::ToCommit;
use crate::fs::Fs;
use crate::limits::FEW_FILES;
use crate::pipeline::hash::{Hasher, Shared};
use crate::pipeline::{HashResult, Settled};
use crate::pulse;

/// What waits for a worker.
#[derive(Clone)]
pub(super) struct Queues {
    /// Small files, those together that travel together.
    pub(super) small: Receiver<Vec<Settled>>,
    /// Large ones.
    pub(super) large: Receiver<Settled>,
}

/// Works until both queues are closed and empty, or nobody takes the results. Turns once in `turn_max`, at least.
pub(super) fn run<F: Fs>(shared: Arc<Shared<F>>, queues: &Queues, to_commit: &Sender<ToCommit<F>>, turn_max: Duration) {
    let mut small = Small { hasher: Hasher::new(shared.clone()), queues, to_commit, is_heard: true };
    let mut hasher = Hasher::new(shared);
    let mut large = |settled, small: &mut Small<'_, F>| {
        pulse::step();
        let hashed = hasher.hash_between(settled, true, &mut || {
            small.one();
            pulse::step();
        });
        small.send(vec![hashed]);
    };
    while small.is_heard {
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
        pulse::rest();
    }
    // They are closed at the same time, but may hold something still.
    queues.small.iter().for_each(|chunk| small.hash(chunk));
    queues.large.iter().for_each(|settled| large(settled, &mut small));
}

/// The small files, and where all results go.
struct Small<'a, F: Fs> {
    hasher: Hasher<F>,
    queues: &'a Queues,
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
        pulse::step();
        let few = chunk.len() <= FEW_FILES && self.queues.small.is_empty();
        let files = chunk.into_iter().map(|settled| self.hasher.hash(settled, few)).collect();
        self.send(files);
    }

    fn send(&mut self, files: Vec<HashResult<F>>) {
        pulse::rest();
        self.is_heard &= self.to_commit.send(ToCommit::Files(files)).is_ok();
    }
}
