//! Groups: files that are ingested together or not at all.
//!
//! Invariant: the members' ids ascend, and are greater than the LSN of their GROUP.

use std::path::PathBuf;

use crate::types::{FileIdentity, IngestId, Sha256};

/// A group, all of whose members were found and have their sums. From here on all are moved, or all are put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The path of the group file in staging.
    pub path: PathBuf,
    /// The group file's identity when it was read.
    pub identity: FileIdentity,
    /// The members that are about to be moved to the warehouse. Their DISCOVERED records follow this record.
    pub moving: Vec<IngestId>,
    /// `st_ino` of each of them: if a crash cuts off what follows this record, other files get the same ids.
    pub inodes: Vec<u64>,
    /// The members whose content is in the warehouse already, or is that of a member before them.
    pub known: Vec<KnownMember>,
}

/// A member of a group that counts as there, because its content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMember {
    /// Its name, as the group file has it.
    pub name: PathBuf,
    /// The hash of its content.
    pub sha256: Sha256,
    /// The file that brought this content.
    pub of: IngestId,
}

impl Group {
    /// How many members it has.
    pub fn size(&self) -> usize {
        self.moving.len() + self.known.len()
    }
}
