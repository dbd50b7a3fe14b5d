//! Files that go to a lake.
//!
//! Invariant: a content that an entry claims is never given up: the entry can be finished by any host.

use crate::types::IngestId;

/// The entry that claims a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The file.
    pub ingest_id: IngestId,
    /// The shard of its content.
    pub shard: u16,
    /// The entry's number.
    pub entry: u64,
}
