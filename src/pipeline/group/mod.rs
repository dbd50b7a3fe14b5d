//! Groups: files that are ingested together or not at all. A group file names them, each with its SHA-256.
//!
//! Invariants:
//! - A group is handed out as a whole: every member is there and complete, or its content is in the warehouse already.
//! - No member is moved before all of them are hashed and have their sums.
//! - A group has at most [`GROUP_MEMBERS_MAX`] members, so that its record and its files fit into one batch.

mod file;
mod name;
mod read;

use std::ffi::OsStr;
use std::sync::Arc;

pub use file::{Member, parse};
pub use name::{bags_above, is_group_file};
pub use read::{NotRead, read};

use crate::limits::GROUP_MEMBERS_MAX;
use crate::types::FileIdentity;

const _: () = assert!(GROUP_MEMBERS_MAX <= u16::MAX as usize, "their number is a u16 in the journal");

/// A group that was handed out: all its members in staging are in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group file's name in staging.
    pub name: Arc<OsStr>,
    /// Its identity when it was read.
    pub identity: FileIdentity,
    /// All members, in its order.
    pub members: Arc<[Member]>,
    /// The numbers of the members that are not in staging, in ascending order.
    pub absent: Vec<usize>,
    /// The number of this attempt, unique within the process.
    pub ticket: u64,
}

impl Group {
    /// How many of its members are in staging.
    pub fn staged(&self) -> usize {
        self.members.len() - self.absent.len()
    }

    /// The member with this name in staging.
    pub fn member(&self, name: &OsStr) -> Option<&Member> {
        self.members.iter().find(|member| *member.staged == *name)
    }
}
