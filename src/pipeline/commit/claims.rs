//! What the files of batches under way will have when they are in the warehouse.

use std::ffi::OsString;

use hashbrown::HashSet;

use crate::types::Key;

/// Paths in the warehouse, compared as bytes: all of them are built in the same way.
pub(super) type Chosen = HashSet<OsString>;

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
