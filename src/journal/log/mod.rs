//! The log: one writer, and one reader that every other part uses.
//!
//! Invariants:
//! - Reader and writer are separate, and every reader uses the same code ([`replay`]).
//! - Reading never writes.

pub(in crate::journal) mod beside;
pub mod clock;
pub mod files;
pub(in crate::journal) mod lock;
pub mod replay;
pub mod verdict;
pub mod writer;
