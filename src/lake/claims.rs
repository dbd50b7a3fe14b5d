//! What all entries of a shard add up to: which contents are claimed, and which generation a further claim would have.
//!
//! Invariants:
//! - This is a pure function of the entries: two hosts that have read the same log hold the same.
//! - *Unclaimed only*: an entry that claims a content once more is refused, whoever wrote it.
//! - A content's generation is the number of times that it was forgotten.

use std::collections::HashMap;

use super::entry::{Body, Entry, Forget};
use crate::types::Sha256;

/// One content that was ever claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The entry that claimed it last.
    pub entry: u64,
    /// How often it was forgotten before that.
    pub generation: u32,
    /// It was forgotten since.
    pub is_forgotten: bool,
    /// Its data object.
    pub key: String,
}

/// All contents of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    known: HashMap<Sha256, Content>,
    floor: u64,
}

impl Contents {
    /// What a checkpoint holds.
    pub fn restored(contents: Vec<(Sha256, Content)>, floor: u64) -> Contents {
        Contents { known: contents.into_iter().collect(), floor }
    }

    /// The content, if it was ever claimed.
    pub fn get(&self, content: &Sha256) -> Option<&Content> {
        self.known.get(content)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Sha256, &Content)> {
        self.known.iter()
    }

    /// The number of contents that were ever claimed.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if nothing was ever claimed.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The highest floor of an entry.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The generation that a claim of this content must have; None if it is claimed.
    pub fn next_generation(&self, content: &Sha256) -> Option<u32> {
        match self.known.get(content) {
            None => Some(0),
            Some(known) if known.is_forgotten => known.generation.checked_add(1),
            Some(_) => None,
        }
    }

    /// Checks that the entry contradicts none before it.
    pub fn check(&self, entry: &Entry) -> Result<(), &'static str> {
        if entry.header.floor < self.floor {
            return Err("the entry's floor is below that of an earlier one");
        }
        match &entry.body {
            Body::Claims(body) => {
                let is_next =
                    |claim: &super::entry::Claim| self.next_generation(&claim.sha256) == Some(claim.generation);
                body.claims.iter().all(is_next).then_some(()).ok_or("the entry claims a content that is claimed")
            }
            Body::Forget(body) => {
                let may = |content: &Sha256| {
                    self.known.get(content).is_some_and(|known| !known.is_forgotten && known.entry < entry.header.floor)
                };
                body.contents.iter().all(may).then_some(()).ok_or("the entry forgets a content that is not finished")
            }
            Body::Upgrade(_) => Ok(()),
        }
    }

    /// Adds an entry that has passed [`Contents::check`].
    pub fn add(&mut self, entry: &Entry) {
        self.floor = entry.header.floor;
        for claim in entry.claims() {
            let (entry, generation) = (entry.header.number, claim.generation);
            let content = Content { entry, generation, is_forgotten: false, key: claim.key.clone() };
            self.known.insert(claim.sha256, content);
        }
        if let Body::Forget(body) = &entry.body {
            self.forget(body);
        }
    }

    fn forget(&mut self, body: &Forget) {
        for content in &body.contents {
            if let Some(known) = self.known.get_mut(content) {
                known.is_forgotten = true;
            }
        }
        if body.below > 0 {
            let old = self.known.values_mut().filter(|known| known.entry < body.below);
            old.for_each(|known| known.is_forgotten = true);
        }
    }
}

#[cfg(test)]
mod tests;
