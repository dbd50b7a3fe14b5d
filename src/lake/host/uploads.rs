//! The uploads that this host has begun.
//!
//! Invariants:
//! - An upload is in here from when its id is noted until the entry that names it is finished or it was aborted.
//! - A content has at most one upload into which parts are put.

use std::collections::BTreeMap;

use super::packs::Item;
use crate::lake::entry::{Entry, Place};
use crate::lake::progress::{Progress, Step};
use crate::store::Part;
use crate::types::{Sha256, UnixMillis};

/// An upload into which parts are put.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) key: String,
    pub(super) id: String,
    /// The SHA-256 of each part.
    pub(super) sums: Vec<Sha256>,
    /// The parts that the store has confirmed.
    pub(super) parts: Vec<Option<Part>>,
}

impl Open {
    pub(super) fn new(key: String, id: String, sums: Vec<Sha256>) -> Open {
        let parts = vec![None; sums.len()];
        Open { key, id, sums, parts }
    }

    /// All parts, if the store has confirmed all of them.
    pub(super) fn whole(&self) -> Option<Vec<Part>> {
        self.parts.iter().cloned().collect()
    }
}

/// An upload that was begun.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) key: String,
    pub(super) item: Item,
    /// When the content for which it was begun was found.
    pub(super) since: UnixMillis,
}

#[derive(Debug, Default)]
pub(super) struct Uploads {
    pub(super) open: BTreeMap<Item, Open>,
    /// By id.
    begun: BTreeMap<String, Begun>,
}

impl Uploads {
    /// Those that the notes of earlier processes name, without the ones whose contents are listed.
    pub(super) fn of(progress: &[Progress]) -> Uploads {
        let mut uploads = Uploads::default();
        for Progress { content, generation, step } in progress {
            let item = (*content, *generation);
            match step {
                Step::Uploading { upload, key, since } => {
                    uploads.begin(upload.clone(), Begun { key: key.clone(), item, since: *since });
                }
                Step::Manifested => uploads.begun.retain(|_, begun| begun.item != item),
                Step::Hashed { .. } | Step::Claimed { .. } | Step::Moved => {}
            }
        }
        uploads
    }

    pub(super) fn begin(&mut self, id: String, begun: Begun) {
        self.begun.insert(id, begun);
    }

    /// The upload is completed or aborted.
    pub(super) fn remove(&mut self, id: &str) {
        self.begun.remove(id);
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.begun.contains_key(id)
    }

    /// The upload, while it may still be completed or aborted.
    pub(super) fn begun(&self, id: &str) -> Option<&Begun> {
        self.begun.get(id)
    }

    /// The uploads of a content.
    pub(super) fn of_item(&self, item: &Item) -> Vec<(String, Begun)> {
        self.over(|of| of == item)
    }

    /// The uploads for whose content `is_over` holds.
    pub(super) fn over(&self, is_over: impl Fn(&Item) -> bool) -> Vec<(String, Begun)> {
        let over = self.begun.iter().filter(|(_, begun)| is_over(&begun.item));
        over.map(|(id, begun)| (id.clone(), begun.clone())).collect()
    }
}

/// True if the entry needs an upload of which `is_it` holds.
pub(super) fn names(entry: &Entry, is_it: &dyn Fn(&str) -> bool) -> bool {
    entry.claims().iter().any(|claim| matches!(&claim.bytes, Place::Upload { id, .. } if is_it(id)))
}
