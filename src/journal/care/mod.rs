//! What keeps a journal small and whole: compaction, verification, repair.
//!
//! Invariant: what replaces something is durable before that is removed.

pub mod compact;
pub(in crate::journal) mod merge;
pub mod rebuild;
pub(in crate::journal) mod renew;
pub mod repair;
pub mod salvage;
pub mod verify;
