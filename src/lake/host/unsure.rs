//! Contents of entries of which this process does not know whether they are in the log.
//!
//! Invariants:
//! - *Look first*: after an append that failed, none of its contents is claimed in another generation before the caller could
//!   look who has claimed it. Its entry may have arrived all the same, may be finished by others, and its contents forgotten:
//!   they seem new then, and their files would be listed again.
//! - In each shard at most one slot is in doubt. When the slot was read, nothing is.

use std::collections::BTreeMap;

use crate::lake::entry::Entry;
use crate::lake::shard::Shard;
use crate::types::Sha256;

/// By shard: the slot, and the generation in which each content was to be claimed there.
#[derive(Debug, Default)]
pub(super) struct Unsure(BTreeMap<usize, (u64, BTreeMap<Sha256, u32>)>);

impl Unsure {
    /// It is unknown whether this entry is in its slot, or will be.
    pub(super) fn add(&mut self, shard: usize, entry: &Entry) {
        if entry.claims().is_empty() {
            return;
        }
        let (slot, contents) = self.0.entry(shard).or_default();
        *slot = entry.header.number;
        contents.extend(entry.claims().iter().map(|claim| (claim.sha256, claim.generation)));
    }

    /// True, once, if contents of an entry that was in doubt were claimed and forgotten meanwhile, as far as this log was read.
    pub(super) fn were_forgotten(&mut self, shard: usize, known: &Shard) -> bool {
        if self.0.get(&shard).is_none_or(|(slot, _)| known.log.next() <= *slot) {
            return false;
        }
        let (_, contents) = self.0.remove(&shard).unwrap_or_default();
        let is_later = |(content, generation): (&Sha256, &u32)| {
            known.contents.next_generation(content).is_some_and(|next| next > *generation)
        };
        contents.iter().any(is_later)
    }
}
