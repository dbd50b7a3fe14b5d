//! Changes of names that are not yet on the disk, and the order in which they may reach it.
//!
//! Invariants:
//! - Changes of one entry (directory and name) reach the disk in order.
//! - A rename is one change. If its halves are split ([`NameLog::split`]), the removal of the old name still waits for
//!   the new name, so that a file does not lose both names on its own; but an fsync of the old directory writes only
//!   the removal.
//! - A change waits only for earlier changes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Arc;

use super::node::NodeId;
use super::rng::{Fate, Of};

/// The change of one entry: it gets another inode, or none.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub(super) dir: NodeId,
    pub(super) name: Arc<OsStr>,
    pub(super) was: Option<NodeId>,
    pub(super) now: Option<NodeId>,
}

/// A change that reaches the disk as a whole or not at all.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    id: u64,
    pub(super) halves: Vec<Half>,
    /// Changes that must be on the disk before this one may be.
    after: Vec<u64>,
    /// The other half of a split rename; lost with it if a sync fails.
    pair: Option<u64>,
}

impl NameChange {
    fn touches(&self, dir: NodeId) -> bool {
        self.halves.iter().any(|half| half.dir == dir)
    }

    fn mentions(&self, node: NodeId) -> bool {
        self.halves.iter().any(|half| half.dir == node || half.was == Some(node) || half.now == Some(node))
    }

    fn removes(&self, node: NodeId) -> bool {
        self.halves.iter().any(|half| half.was == Some(node))
    }
}

/// The unsynced changes of one device, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct NameLog {
    changes: Vec<Arc<NameChange>>,
    ids: u64,
    /// The halves of a rename across directories reach the disk separately.
    pub(super) split: bool,
}

impl NameLog {
    /// Adds a change; it waits for `after` and for the last change of each entry that it touches.
    pub(super) fn push(&mut self, halves: Vec<Half>, after: Vec<u64>) -> u64 {
        self.push_paired(halves, after, None)
    }

    fn push_paired(&mut self, halves: Vec<Half>, mut after: Vec<u64>, pair: Option<u64>) -> u64 {
        for half in &halves {
            let same = |other: &&Arc<NameChange>| {
                other.halves.iter().any(|other| other.dir == half.dir && other.name == half.name)
            };
            after.extend(self.changes.iter().rfind(same).map(|change| change.id));
        }
        self.ids += 1;
        self.changes.push(Arc::new(NameChange { id: self.ids, halves, after, pair }));
        self.ids
    }

    /// Adds a rename: `old` loses the name, `new` gets it.
    pub(super) fn push_rename(&mut self, old: Half, new: Half, after: Vec<u64>, whole: bool) {
        if whole || !self.split || old.dir == new.dir {
            self.push(vec![new, old], after);
        } else {
            let made = self.push(vec![new], after);
            self.push_paired(vec![old], vec![made], Some(made));
        }
    }

    /// The changes that meet the condition.
    pub(super) fn ids_of(&self, condition: impl Fn(&NameChange) -> bool) -> Vec<u64> {
        self.changes.iter().filter(|change| condition(change)).map(|change| change.id).collect()
    }

    /// The changes that took a name from `node`.
    pub(super) fn removals_of(&self, node: NodeId) -> Vec<u64> {
        self.ids_of(|change| change.removes(node))
    }

    /// The changes in directory `dir`.
    pub(super) fn changes_in(&self, dir: NodeId) -> Vec<u64> {
        self.ids_of(|change| change.touches(dir))
    }

    /// True if a change is about `node`.
    pub(super) fn mentions(&self, node: NodeId) -> bool {
        self.changes.iter().any(|change| change.mentions(node))
    }

    /// Removes and returns the changes that an fsync of `dir` writes, oldest first: all that touch `dir`, and those for
    /// which they wait. The other half of a split rename is in another directory and is not written.
    pub(super) fn take_dir(&mut self, dir: NodeId) -> Vec<Arc<NameChange>> {
        self.take_with_causes(|change| change.touches(dir), |change, id| change.pair != Some(id))
    }

    /// As [`NameLog::take_dir`], but only for changes of one name; and with the other half of a split rename, so that
    /// actions of upstreams alone never lose a file.
    pub(super) fn take_name(&mut self, dir: NodeId, name: &OsStr) -> Vec<Arc<NameChange>> {
        let is_about = |change: &NameChange| change.halves.iter().any(|half| half.dir == dir && *half.name == *name);
        self.take_with_causes(is_about, |_, _| true)
    }

    fn take_with_causes(
        &mut self,
        is_asked_for: impl Fn(&NameChange) -> bool,
        takes: impl Fn(&NameChange, u64) -> bool,
    ) -> Vec<Arc<NameChange>> {
        let mut wanted = BTreeSet::new();
        for change in self.changes.iter().rev() {
            if is_asked_for(change) || wanted.contains(&change.id) {
                wanted.insert(change.id);
                wanted.extend(change.after.iter().filter(|id| takes(change, **id)));
            }
        }
        self.take(|change| wanted.contains(&change.id))
    }

    /// After a failed sync of `dir`: removes and returns the changes that touch it; no later sync writes them.
    pub(super) fn take_failed(&mut self, dir: NodeId) -> Vec<Arc<NameChange>> {
        let failed: BTreeSet<u64> = self.changes_in(dir).into_iter().collect();
        self.take(|change| failed.contains(&change.id) || change.pair.is_some_and(|pair| failed.contains(&pair)))
    }

    /// Removes and returns all changes.
    pub(super) fn take_all(&mut self) -> Vec<Arc<NameChange>> {
        std::mem::take(&mut self.changes)
    }

    fn take(&mut self, wanted: impl Fn(&NameChange) -> bool) -> Vec<Arc<NameChange>> {
        let (taken, left) = self.take_all().into_iter().partition(|change| wanted(change));
        self.changes = left;
        taken
    }

    /// Removes all changes; returns those that survive a power cut: any subset that contains, with each change, those
    /// for which it waits.
    pub(super) fn take_survivors(&mut self, fate: &mut Fate) -> Vec<Arc<NameChange>> {
        let odds = fate.odds(Of::Names);
        let mut lost = BTreeSet::new();
        let mut changes = self.take_all();
        changes.retain(|change| {
            let kept = !change.after.iter().any(|id| lost.contains(id)) && fate.keeps(odds);
            if !kept {
                lost.insert(change.id);
            }
            kept
        });
        changes
    }
}
