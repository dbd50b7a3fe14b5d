//! What the files of batches under way will have when they are in the warehouse.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;

use hashbrown::HashSet;

use crate::types::Key;

/// Paths in the warehouse, by a hash of their bytes: all of them are built in the same way. A path whose hash is here may be
/// another one, once in 2^64: then its file gets another name, as if this one were taken.
#[derive(Default)]
pub(super) struct Chosen(HashSet<u64>);

impl Chosen {
    fn hash(path: &Path) -> u64 {
        // The same in all batches.
        BuildHasherDefault::<DefaultHasher>::default().hash_one(path.as_os_str())
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.0.contains(&Chosen::hash(path))
    }

    /// False if it was there already.
    pub(super) fn insert(&mut self, path: &Path) -> bool {
        self.0.insert(Chosen::hash(path))
    }
}

/// What the files of a batch will have.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) keys: HashSet<Key>,
    pub(super) paths: Chosen,
}

/// A batch that was planned, and is not done.
pub(super) struct UnderWay<W> {
    pub(super) claims: Claims,
    /// Duplicates, and what goes to quarantine: cleared at the end.
    pub(super) to_clear: Vec<W>,
}
