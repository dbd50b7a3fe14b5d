//! A record that outlives its segment, as a snapshot holds it.
//!
//! Invariant: the record is encoded as in its frame; its LSN and its time precede it.

use crate::journal::disk::record::Record;
use crate::types::{Lsn, UnixMillis};

/// A record that still matters.
pub struct Survivor {
    /// Its LSN.
    pub lsn: Lsn,
    /// When its frame was written.
    pub written_at: UnixMillis,
    /// The record.
    pub record: Record,
    /// Its encoded length in bytes.
    pub(super) length: usize,
}

/// Bytes of LSN and time before a surviving record.
const STAMP_BYTES: usize = 16;

impl Survivor {
    /// Appends a survivor's bytes.
    pub fn encode(lsn: Lsn, written_at: UnixMillis, record: &Record, out: &mut Vec<u8>) {
        out.extend_from_slice(&lsn.0.to_le_bytes());
        out.extend_from_slice(&written_at.0.to_le_bytes());
        record.encode(out);
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Survivor> {
        let (lsn, rest) = bytes.split_first_chunk()?;
        let (written_at, rest) = rest.split_first_chunk()?;
        let (record, length) = Record::decode(rest)?;
        let (lsn, written_at) = (Lsn(u64::from_le_bytes(*lsn)), UnixMillis(u64::from_le_bytes(*written_at)));
        Some(Survivor { lsn, written_at, record, length: STAMP_BYTES + length })
    }
}
