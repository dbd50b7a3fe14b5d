//! The messages between the threads, and how many files may be under way at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{Receiver, Sender};

use crate::fs::Fs;
use crate::fs::notify::{Hint, Watched};
use crate::fs::real::{RealDir, RealFs, raise_descriptor_limit};
use crate::limits;
use crate::pipeline::group::Group;
use crate::pipeline::scan::Ear;
use crate::pipeline::{HashResult, Report, Settled};
use crate::types::FileIdentity;

/// A message to the committer.
pub(super) enum ToCommit<F: Fs> {
    /// A file whose hashing will take long: its DISCOVERED is written first.
    Note(Settled),
    /// Files that were hashed or refused.
    Files(Vec<HashResult<F>>),
    /// Kept duplicates that are not in staging any more.
    Gone(Vec<FileIdentity>),
    /// A group that has no file in staging.
    Group(Arc<Group>),
    /// A group, to find out which of its contents are in the warehouse.
    Ask(Arc<Group>),
}

/// The results of a batch.
pub(super) struct Committed<F: Fs> {
    pub(super) reports: Vec<Report>,
    /// Open files that are not needed any more.
    pub(super) finished: Vec<F::File>,
}

/// The hints of inotify.
pub(super) struct Hints {
    pub(super) receiver: Receiver<Hint>,
    /// Set when there was no room for a hint.
    pub(super) overflowed: Arc<AtomicBool>,
    /// True if it misses nothing in watched directories.
    pub(super) hears_all: bool,
    /// The watches, with `--recursive`.
    pub(super) watched: Option<Watched>,
}

impl Hints {
    /// No hints will come.
    pub(super) fn none() -> Hints {
        Hints { receiver: crossbeam::channel::never(), overflowed: Arc::default(), hears_all: false, watched: None }
    }

    /// True if nothing is missed, so that scans are only a second check.
    pub(super) fn hears_all(&self) -> bool {
        self.hears_all && !self.misses()
    }

    /// True if there are directories that are not watched.
    pub(super) fn misses(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::misses)
    }

    /// Watches the directories that a scan enters.
    pub(super) fn ear(&self) -> Option<Box<dyn Ear<RealFs>>> {
        Some(Box::new(DirectoryWatch(self.watched.clone()?)))
    }
}

/// Watches directories before they are listed.
struct DirectoryWatch(Watched);

impl Ear<RealFs> for DirectoryWatch {
    fn begin_scan(&mut self) {
        self.0.begin_scan();
    }

    fn enter(&mut self, path: &Arc<Path>, dir: &RealDir) {
        self.0.enter(path, &dir.fd_path());
    }

    fn end_scan(&mut self, whole: bool) {
        self.0.end_scan(whole);
    }
}

/// The queues of complete files.
pub(super) struct ToHash {
    /// Small files, some of them together.
    pub(super) small: Sender<Vec<Settled>>,
    /// Large files.
    pub(super) large: Sender<Settled>,
}

/// How many files may be under way at once.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// The number of hashing threads.
    pub(super) concurrency: usize,
    /// Files that were handed out and are not finished, at most.
    pub(super) in_flight_max: usize,
}

impl Load {
    /// As many files as the process may have descriptors for: each file in flight has one; a worker opens three more, for
    /// its directory and a copy or a sidecar.
    pub(super) fn new(concurrency: usize) -> Load {
        let descriptors = raise_descriptor_limit(limits::DESCRIPTORS_RESERVED + limits::IN_FLIGHT_FILES_MAX as u64);
        let reserved = limits::DESCRIPTORS_RESERVED + 3 * concurrency as u64;
        let in_flight_max = descriptors.saturating_sub(reserved).max(1);
        let in_flight_max = usize::try_from(in_flight_max).unwrap_or(usize::MAX).min(limits::IN_FLIGHT_FILES_MAX);
        Load { concurrency, in_flight_max }
    }
}
