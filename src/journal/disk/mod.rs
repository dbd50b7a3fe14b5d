//! The files in the state directory: the formats of segments and snapshots, and the states of a file that they record.
//!
//! Invariants:
//! - A file that is complete and has its final name is never changed.
//! - Nothing here depends on the state that the records add up to.

pub mod blank;
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
