//! What is known of groups.
//!
//! Invariant: the names of the members of watched groups are the only names that it holds.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::pipeline::Settled;
use crate::pipeline::group::{Group, Member};
use crate::types::FileIdentity;

/// The groups.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) watched: HashMap<Arc<OsStr>, Watched>,
    /// The groups that name a member.
    pub(super) named: HashMap<Arc<OsStr>, Vec<Arc<OsStr>>>,
    /// Group files that are settled and not read.
    pub(super) to_read: BTreeSet<Arc<OsStr>>,
    /// Groups of which a file has settled since the last check, each with the number of its attempts: of two groups that
    /// name one file, the one that has failed more often must not take it every time.
    pub(super) to_check: BTreeSet<(u32, Arc<OsStr>)>,
    /// Groups whose missing members the committer may know.
    pub(super) to_ask: Vec<Arc<Group>>,
    /// Groups without a file in staging: the committer knows all of their contents.
    pub(super) whole: Vec<Arc<Group>>,
    /// Members that were handed out and are not taken.
    pub(super) out: VecDeque<Settled>,
    /// A group lacks members that a scan from now on could show.
    pub(super) wants_scan: bool,
    /// How many scans have begun, and which of them ended last.
    pub(super) begun: u64,
    pub(super) ended: u64,
}

/// A group whose file was read.
pub(super) struct Watched {
    pub(super) identity: FileIdentity,
    pub(super) members: Arc<[Member]>,
    pub(super) since: Duration,
    /// The last scan that had begun when it was read, or when the committer was asked.
    pub(super) scan: u64,
    pub(super) was_asked: bool,
    /// The committer has not answered yet.
    pub(super) is_asking: bool,
    /// For each member, whether its content is in the warehouse; empty if that is unknown.
    pub(super) known: Vec<bool>,
    pub(super) is_told: bool,
    /// How often it was handed out.
    pub(super) attempts: u32,
}

/// A group that has been incomplete for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The group file's name in staging.
    pub name: Arc<OsStr>,
    /// How many members it names.
    pub members: usize,
    /// How many of them are missing.
    pub missing: usize,
    /// The first of those, and what they lack; or if none is missing, why the group file waits nevertheless, if it does.
    pub texts: Vec<String>,
    /// How long it has waited.
    pub waited: Duration,
}

impl Groups {
    /// A member is finished: other groups that name it may be complete by its content.
    pub(super) fn recheck(&mut self, member: &OsStr) {
        for group in self.named.get(member).cloned().into_iter().flatten() {
            self.watched.get_mut(&group).into_iter().for_each(|watched| watched.was_asked = false);
            self.check(group);
        }
    }

    /// The group is to be checked.
    pub(super) fn check(&mut self, group: Arc<OsStr>) {
        let attempts = self.watched.get(&group).map_or(0, |watched| watched.attempts);
        self.to_check.insert((attempts, group));
    }

    pub(super) fn forget(&mut self, group: &OsStr) {
        self.to_read.remove(group);
        let Some(watched) = self.watched.remove(group) else { return };
        for member in watched.members.iter() {
            if let Some(groups) = self.named.get_mut(&member.staged) {
                groups.retain(|name| **name != *group);
                if groups.is_empty() {
                    self.named.remove(&member.staged);
                }
            }
        }
    }
}
