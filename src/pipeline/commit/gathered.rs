//! The files of groups that are in flight.
//!
//! Invariant: a group is ready only when all its files in staging are here, hashed.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::fs::Fs;
use crate::pipeline::HashedFile;
use crate::pipeline::group::Group;

/// The groups whose files are in flight.
pub(super) struct Groups<F: Fs> {
    /// By the group's ticket.
    pub(super) partial: HashMap<u64, Gathered<F>>,
    /// Complete ones.
    pub(super) ready: Vec<Gathered<F>>,
    /// Questions that are not answered.
    pub(super) asked: Vec<Arc<Group>>,
}

/// The files of one group.
pub(super) struct Gathered<F: Fs> {
    pub(super) group: Arc<Group>,
    pub(super) files: Vec<HashedFile<F>>,
    /// Files that were refused.
    pub(super) refused: usize,
}

impl<F: Fs> Gathered<F> {
    pub(super) fn new(group: Arc<Group>) -> Gathered<F> {
        Gathered { group, files: Vec::new(), refused: 0 }
    }
}

impl<F: Fs> Default for Groups<F> {
    fn default() -> Groups<F> {
        Groups { partial: HashMap::new(), ready: Vec::new(), asked: Vec::new() }
    }
}

impl<F: Fs> Groups<F> {
    /// True if a group waits for the next batch.
    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// True if there are any.
    pub(super) fn are_here(&self) -> bool {
        !self.partial.is_empty() || self.are_ready()
    }

    pub(super) fn take_whole(&mut self, group: Arc<Group>) {
        self.ready.push(Gathered::new(group));
    }
}
