//! What lies in the state directory: the bytes of segments and snapshots, and the states of a file that they tell.
//!
//! Invariants:
//! - What is written and named is never changed.
//! - Nothing here knows what the records add up to.

pub(in crate::journal) mod error;
pub mod expired;
pub mod format;
pub mod frame;
pub(in crate::journal) mod ids;
pub mod lifecycle;
pub mod names;
pub mod record;
pub mod relocations;
pub(in crate::journal) mod salt;
pub mod segment;
pub mod snapshot;
