//! Groups that are not done: which files belong together.
//!
//! Invariants:
//! - A function of the records in LSN order.
//! - A group is done only when none of its members is open.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::journal::disk::record::Group;
use crate::types::{IngestId, Lsn};

/// Why a GROUP_DONE is refused.
pub(super) const NOT_OPEN: &str = "GROUP_DONE of a group that is not open";
/// As above.
const HAS_OPEN: &str = "GROUP_DONE while one of its files is open";
/// Why a GROUP is refused.
const OLD_MEMBER: &str = "GROUP of a file that was found before";

/// A group that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGroup {
    /// The LSN of its GROUP record.
    pub lsn: Lsn,
    /// The record.
    pub group: Group,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(BTreeMap<Lsn, Arc<OpenGroup>>);

impl Groups {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &Arc<OpenGroup>> {
        self.0.values()
    }

    pub(super) fn begin(&mut self, lsn: Lsn, group: &Group) -> Result<(), &'static str> {
        check_members(lsn, group)?;
        self.0.insert(lsn, Arc::new(OpenGroup { lsn, group: group.clone() }));
        Ok(())
    }

    /// The group that a file with this id and inode belongs to.
    pub(super) fn of(&self, id: IngestId, inode: u64) -> Option<&Arc<OpenGroup>> {
        self.0.values().rev().find(|open| {
            let place = open.group.moving.binary_search(&id).ok();
            place.is_some_and(|place| open.group.inodes.get(place) == Some(&inode))
        })
    }

    /// `inode` returns the inode of an open file.
    pub(super) fn end(&mut self, lsn: Lsn, inode: impl Fn(&IngestId) -> Option<u64>) -> Result<(), &'static str> {
        must_be_closed(&self.0.get(&lsn).ok_or(NOT_OPEN)?.group, inode)?;
        self.0.remove(&lsn);
        Ok(())
    }
}

/// A group ends only when none of its files is open. `inode` returns the inode of an open file.
pub(super) fn must_be_closed(group: &Group, inode: impl Fn(&IngestId) -> Option<u64>) -> Result<(), &'static str> {
    let is_open = group.moving.iter().zip(&group.inodes).any(|(id, known)| inode(id) == Some(*known));
    if is_open { Err(HAS_OPEN) } else { Ok(()) }
}

/// Members are found after their group is recorded.
pub(super) fn check_members(lsn: Lsn, group: &Group) -> Result<(), &'static str> {
    let is_later = group.moving.first().is_none_or(|first| first.0 > lsn.0);
    is_later.then_some(()).ok_or(OLD_MEMBER)
}
