//! The log, written and read: one writer, and one reader for whoever reads.
//!
//! Invariants:
//! - Reader and writer are apart, and all read by the same code ([`replay`]).
//! - Reading never writes.

pub(in crate::journal) mod beside;
pub mod clock;
pub mod files;
pub(in crate::journal) mod lock;
pub mod replay;
pub mod verdict;
pub mod writer;
