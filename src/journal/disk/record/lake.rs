//! Files that go to a lake.
//!
//! Invariants:
//! - A content that an entry claims is never given up: the entry can be finished by any host.
//! - An UPLOADING holds until the next record of its file. Safety rests on none: without it, the parts that are in the store
//!   are put again into another upload.

use crate::types::{IngestId, UnixMillis};

/// The upload into which a file's content is put in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploading {
    /// The file.
    pub ingest_id: IngestId,
    /// The upload.
    pub upload: Upload,
}

/// An upload that the store has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// How often the content had been forgotten when the upload was begun: it may be claimed in this generation only.
    pub generation: u32,
    /// When the file for which it was begun was found complete: the upload is not older.
    pub since: UnixMillis,
    /// The key of the object that the parts will be, below the warehouse: 1 to
    /// [`LAKE_KEY_BYTES_MAX`](crate::limits::LAKE_KEY_BYTES_MAX) bytes.
    pub key: String,
    /// The store's name for the upload: 1 to [`LAKE_UPLOAD_ID_BYTES_MAX`](crate::limits::LAKE_UPLOAD_ID_BYTES_MAX) bytes.
    pub id: String,
}

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
