//! What the records say that are about no single file: what has expired, the wall clock's jumps, directories that were moved.
//!
//! Invariant: as the rest of the index, a function of the records in LSN order.

use crate::journal::disk::expired::Expired;
use crate::journal::disk::relocations::Relocations;
use crate::journal::log::clock::Clock;

/// The sum of these records.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    pub(super) expired: Expired,
    pub(super) clock: Clock,
    pub(super) relocations: Relocations,
}
