//! What travels between the threads, and how much of it at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{Receiver, Sender};

use crate::fs::Fs;
use crate::fs::notify::Hint;
use crate::fs::real::raise_descriptor_limit;
use crate::limits;
use crate::pipeline::{HashResult, Report, Settled};
use crate::types::FileIdentity;

/// What travels to the committer.
pub(super) enum ToCommit<F: Fs> {
    /// A file that will be hashed for long: its DISCOVERED goes ahead.
    Note(Settled),
    /// Files that were hashed, or refused.
    Files(Vec<HashResult<F>>),
    /// Kept duplicates that are not in staging any more.
    Gone(Vec<FileIdentity>),
}

/// What came of a batch.
pub(super) struct Committed<F: Fs> {
    pub(super) reports: Vec<Report>,
    /// Open files that nobody needs any more.
    pub(super) finished: Vec<F::File>,
}

/// What inotify tells.
pub(super) struct Hints {
    pub(super) receiver: Receiver<Hint>,
    /// Set when there was no room for one.
    pub(super) overflowed: Arc<AtomicBool>,
    /// True if it misses nothing, so that scans are only a second look.
    pub(super) hears_all: bool,
}

impl Hints {
    /// Nothing is told.
    pub(super) fn none() -> Hints {
        Hints { receiver: crossbeam::channel::never(), overflowed: Arc::default(), hears_all: false }
    }
}

/// Where complete files go.
pub(super) struct ToHash {
    /// Small ones, some together.
    pub(super) small: Sender<Vec<Settled>>,
    /// Large ones.
    pub(super) large: Sender<Settled>,
}

/// How much is under way at once.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Threads that hash.
    pub(super) concurrency: usize,
    /// Files that are handed out and not finished.
    pub(super) in_flight_max: usize,
}

impl Load {
    /// As much as the process may have descriptors: each file in flight holds one; a worker opens two more for a copy or a
    /// sidecar.
    pub(super) fn new(concurrency: usize) -> Load {
        let descriptors = raise_descriptor_limit(limits::DESCRIPTORS_RESERVED + limits::IN_FLIGHT_FILES_MAX as u64);
        let reserved = limits::DESCRIPTORS_RESERVED + 2 * concurrency as u64;
        let in_flight_max = descriptors.saturating_sub(reserved).max(1);
        let in_flight_max = usize::try_from(in_flight_max).unwrap_or(usize::MAX).min(limits::IN_FLIGHT_FILES_MAX);
        Load { concurrency, in_flight_max }
    }
}
