//! What became of contents.
//!
//! Invariant: these are only values.

use std::collections::HashMap;

use crate::lake::entry::Claim;
use crate::lake::error::Error;
use crate::types::Sha256;

/// The claim of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The shard.
    pub shard: u16,
    /// The entry.
    pub entry: u64,
    /// The host that wrote the entry. For people only.
    pub host: [u8; 16],
    /// The content's generation, its key and its line are in here.
    pub claim: Claim,
}

/// The result of an ingestion for one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// An entry claims what was new.
    Claimed(u64),
    /// There was nothing new.
    Nothing,
    /// Too many entries are unfinished: these come first.
    Busy,
}

/// What became of one content of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An entry of this host claims it now.
    Claimed {
        /// The entry, in the content's shard.
        entry: u64,
        /// The data object's key.
        key: String,
    },
    /// An entry that was read claims it: another host's, or one that this host made before.
    Taken {
        /// The entry, in the content's shard.
        entry: u64,
    },
    /// Its bytes are not at hand any more, or not those of its SHA-256.
    Differs,
    /// No entry can ever claim it as it is, for this reason.
    Unfit(&'static str),
    /// It is still new: it did not fit, its parts are under way, or something has failed.
    Left,
}

/// Fates that are known, by content.
pub(super) type Fates = HashMap<Sha256, Fate>;

/// The result of an ingestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// By shard, those before an error of the store or the journal.
    pub shards: Vec<Ingested>,
    /// For each content of the batch, in its order.
    pub fates: Vec<(Sha256, Fate)>,
    /// The first error.
    pub error: Option<Error>,
}
