//! An entry as it was read: its bytes' SHA-256, and what they say.
//!
//! Invariant: whatever can be found out from the bytes alone is in here, so that several threads can do it; whether the
//! entry fits to those before it is found out later, one after the other.

use super::bytes::sha256;
use super::entry::{Entry, Fault};
use crate::types::Sha256;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Of the bytes.
    pub sha256: Sha256,
    /// The number of bytes.
    pub bytes: u64,
    /// What they say, or why they are no entry.
    pub entry: Result<Entry, Fault>,
}

impl Read {
    /// The entry that consists of these bytes.
    pub fn of(bytes: &[u8]) -> Read {
        Read { sha256: sha256(bytes), bytes: bytes.len() as u64, entry: Entry::decode(bytes) }
    }

    /// An entry that has passed [`Entry::check`], and its bytes, just encoded.
    pub fn encoded(entry: &Entry, bytes: &[u8]) -> Read {
        let is_same = || Entry::decode(bytes).as_ref() == Ok(entry);
        assert!(!crate::limits::IS_CHECKED || is_same(), "what is encoded is decoded");
        Read { sha256: sha256(bytes), bytes: bytes.len() as u64, entry: Ok(entry.clone()) }
    }
}
