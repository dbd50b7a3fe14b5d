//! Where a shard gets its next checkpoint.
//!
//! Invariants:
//! - This is economy. A checkpoint at any place is right, and so is none.
//! - A start reads at most as many bytes of entries as a checkpoint has, or [`LAKE_CHECKPOINT_APART_BYTES`], and
//!   [`LAKE_CHECKPOINT_STEP`] entries; and hosts write no more bytes of checkpoints than of entries, but for those at every
//!   `checkpoint_entries`, which keep small entries from becoming too many.

use super::checkpoint;
use crate::limits::{LAKE_CHECKPOINT_APART_BYTES, LAKE_CHECKPOINT_STEP};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    every: u64,
    /// Bytes of entries since a checkpoint was due.
    since_bytes: u64,
}

impl Due {
    /// Directly behind a checkpoint, or at the beginning, of a lake with this `checkpoint_entries`.
    pub fn new(checkpoint_entries: u32) -> Due {
        Due { every: u64::from(checkpoint_entries).max(1), since_bytes: 0 }
    }

    /// Takes an entry of so many bytes; `next` is the number behind it. True if there is to be a checkpoint, of so many
    /// contents.
    pub fn take(&mut self, bytes: u64, next: u64, contents: usize) -> bool {
        self.since_bytes = self.since_bytes.saturating_add(bytes);
        let apart = LAKE_CHECKPOINT_APART_BYTES.max(checkpoint::bytes(contents));
        let is_far = next.is_multiple_of(LAKE_CHECKPOINT_STEP) && self.since_bytes >= apart;
        let is_due = is_far || next.is_multiple_of(self.every);
        if is_due {
            self.since_bytes = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where checkpoints are due below `end`, if all entries are as large.
    fn places(checkpoint_entries: u32, entry_bytes: u64, contents: usize, end: u64) -> Vec<u64> {
        let mut due = Due::new(checkpoint_entries);
        (1..end).filter(|next| due.take(entry_bytes, *next, contents)).collect()
    }

    #[test]
    fn large_entries_have_checkpoints_closer_together() {
        assert_eq!(places(1024, 400, 10, 3000), [1024, 2048]);
        // One mebibyte each, and few contents: after 32 MiB, at the next multiple of 64.
        assert_eq!(places(1024, 1 << 20, 10, 200), [64, 128, 192]);
        // A checkpoint of 10 million contents has 162 MiB.
        assert_eq!(places(1024, 1 << 20, 10_000_000, 1100), [192, 384, 576, 768, 960, 1024]);
        assert_eq!(places(3, 1 << 20, 10, 10), [3, 6, 9]);
        assert_eq!(places(0, 0, 0, 3), [1, 2]);
    }
}
