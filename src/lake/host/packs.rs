//! The packs that this host has made and not deleted.
//!
//! Invariant: a pack is in here from before its creation until the store has confirmed that it is deleted.

use std::collections::{BTreeMap, BTreeSet};

use crate::lake::progress::{Progress, Step};
use crate::types::Sha256;

/// A content and its generation.
pub(super) type Item = (Sha256, u32);

#[derive(Debug, Default)]
pub(super) struct Packs {
    contents: BTreeMap<String, Vec<Item>>,
}

impl Packs {
    /// Those that the notes of earlier processes name, without the ones whose contents are all listed.
    pub(super) fn of(progress: &[Progress]) -> Packs {
        let (mut packs, mut listed) = (Packs::default(), BTreeSet::new());
        for Progress { content, generation, step } in progress {
            let item = (*content, *generation);
            match step {
                Step::Hashed { pack } => packs.contents.entry(pack.clone()).or_default().push(item),
                Step::Manifested => drop(listed.insert(item)),
                Step::Uploading { .. } | Step::Claimed { .. } | Step::Moved => {}
            }
        }
        packs.contents.retain(|_, items| items.iter().any(|item| !listed.contains(item)));
        packs
    }

    pub(super) fn add(&mut self, pack: String, contents: Vec<Item>) {
        self.contents.insert(pack, contents);
    }

    pub(super) fn remove(&mut self, pack: &str) {
        self.contents.remove(pack);
    }

    pub(super) fn has(&self, pack: &str) -> bool {
        self.contents.contains_key(pack)
    }

    /// The packs of which `is_over` holds for every content.
    pub(super) fn over(&self, is_over: impl Fn(&Item) -> bool) -> Vec<String> {
        let over = self.contents.iter().filter(|(_, contents)| contents.iter().all(&is_over));
        over.map(|(pack, _)| pack.clone()).collect()
    }
}
