//! Maintenance that keeps a journal small and sound: compaction, verification, repair, rebuilding.
//!
//! Invariant: a replacement is durable before the files it replaces are removed.

pub mod compact;
pub(in crate::journal) mod merge;
pub mod rebuild;
pub(in crate::journal) mod renew;
pub mod repair;
pub mod salvage;
pub mod verify;
