//! Why a host cannot go on with a lake.
//!
//! Invariant: an error names the object that it is about.

use super::id::LakeId;
use super::keys;
use crate::store;
use crate::types::Sha256;

/// An error of the lake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A request failed, and waiting may help.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// `lake.json` says what this program cannot read.
    #[error("{key}: {why}")]
    Description {
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// An entry belongs to another lake, or does not name this host's predecessor: entries were replaced or removed, or
    /// the store let two hosts create one key. Nothing may be written.
    #[error("{key}: it does not continue the log that this host has read: {why}")]
    Chain {
        /// The entry's key.
        key: String,
        /// What differs.
        why: &'static str,
    },
    /// There is an entry behind a slot that is empty. Nothing may be written.
    #[error("{key} exists, but {empty} before it does not")]
    Hole {
        /// The entry.
        key: String,
        /// The empty slot.
        empty: String,
    },
    /// An entry is malformed or contradicts an earlier one: nobody appends to this shard until an operator skips it.
    #[error("{key}: {why}")]
    Malformed {
        /// The entry's key.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry of a later version of this program.
    #[error("{key}: written by a newer version of this program (format {version})")]
    Newer {
        /// The entry's key.
        key: String,
        /// Its format.
        version: u16,
    },
    /// An object that is not ours is at a key that an entry claims: the entry stays unfinished until it is gone.
    #[error("{key}: another object is there, and entry {entry} of shard {shard} needs the key")]
    Foreign {
        /// The key.
        key: String,
        /// The shard of the entry.
        shard: u16,
        /// The entry.
        entry: u64,
    },
    /// There is a checkpoint that is not what the entries add up to: one of two hosts has read another log.
    #[error("{key}: it is not what the entries add up to")]
    Checkpoint {
        /// The checkpoint.
        key: String,
    },
    /// Whether an entry was created is not known yet; the host must find out before it does anything else.
    #[error("{key}: the store does not say whether this entry exists")]
    Undecided {
        /// The slot.
        key: String,
    },
    /// The bytes of a claimed content are neither in the store nor at hand.
    #[error("{key}: its bytes are not there, and its pack is gone")]
    BytesMissing {
        /// The data object's key.
        key: String,
    },
    /// A content counts as claimed, and the entry that should claim it names another one: the entry was replaced, or two
    /// contents cannot be told apart.
    #[error("{key}: it does not claim {content}, though that counts as claimed there")]
    NotClaimed {
        /// The entry's key.
        key: String,
        /// The content.
        content: Sha256,
    },
    /// An entry cannot be skipped.
    #[error("{key}: it is not skipped: {why}")]
    NotSkipped {
        /// The entry's key.
        key: String,
        /// Why not.
        why: &'static str,
    },
    /// The lake is not the one that this host's journal belongs to.
    #[error("this is lake {found}, not {expected}")]
    OtherLake {
        /// Its id.
        found: LakeId,
        /// The id that was expected.
        expected: LakeId,
    },
    /// The manifests belong to another lake.
    #[error("the manifests belong to lake {found}, and the warehouse is that of lake {expected}")]
    ManifestsOfAnother {
        /// The lake of the manifests.
        found: LakeId,
        /// The lake of the warehouse.
        expected: LakeId,
    },
    /// The place of the manifests does not say that it belongs to this lake.
    #[error(
        "these are not the manifests of lake {lake}: there is no {} among them. Mount them, or give the right ones",
        keys::LAKE
    )]
    ManifestsUnmarked {
        /// The lake of the warehouse.
        lake: LakeId,
    },
    /// The host's journal failed.
    #[error("{0}")]
    Journal(String),
    /// A shard has as many entries as a shard can have.
    #[error("shard {0} is full")]
    Full(u16),
}

impl Error {
    /// True if the same may succeed later, without anybody's help or with an operator's.
    pub fn may_pass(&self) -> bool {
        !self.is_damage()
            && !matches!(
                self,
                Error::Full(_)
                    | Error::Description { .. }
                    | Error::ManifestsOfAnother { .. }
                    | Error::ManifestsUnmarked { .. }
            )
    }

    /// True if the log itself is wrong: this host must not write anything any more.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Error::Chain { .. }
                | Error::Checkpoint { .. }
                | Error::Hole { .. }
                | Error::Newer { .. }
                | Error::OtherLake { .. }
        )
    }
}
