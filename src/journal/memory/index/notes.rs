//! The sum of the records that are about no single file: expiries, the wall clock's jumps, moved directories, groups, by
//! what two files are one and the same, and the lake.
//!
//! Invariant: like the rest of the index, a function of the records in LSN order.

use crate::journal::disk::expired::Expired;
use crate::journal::disk::record::Identity;
use crate::journal::disk::relocations::Relocations;
use crate::journal::log::clock::Clock;
use crate::journal::memory::groups::Groups;

/// The sum of these records.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    pub(super) expired: Expired,
    pub(super) clock: Clock,
    pub(super) relocations: Relocations,
    pub(super) groups: Groups,
    pub(super) identity: Option<Identity>,
    pub(super) lake: Option<[u8; 16]>,
    pub(super) last_seq: u64,
}
