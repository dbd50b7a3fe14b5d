//! A hashing worker: chunks in, hashed files out.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};

use super::ToCommit;
use crate::fs::Fs;
use crate::pipeline::Settled;
use crate::pipeline::hash::{Hasher, Shared};

/// Up to so many files, with none behind them, each is synced on its own; more are left to one `syncfs`.
const FEW_FILES: usize = 4;

/// Works until there are no more chunks, or nobody takes the results.
pub(super) fn run<F: Fs>(shared: Arc<Shared<F>>, chunks: &Receiver<Vec<Settled>>, to_commit: &Sender<ToCommit<F>>) {
    let mut hasher = Hasher::new(shared);
    for chunk in chunks {
        let few = chunk.len() <= FEW_FILES && chunks.is_empty();
        let files = chunk.into_iter().map(|settled| hasher.hash(settled, few)).collect();
        if to_commit.send(ToCommit::Files(files)).is_err() {
            return;
        }
    }
}
