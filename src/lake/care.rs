//! What an operator does with a lake: look at it, finish what dead hosts left, skip an entry that nobody can read.
//!
//! Invariants:
//! - Everything here is safe beside running hosts: it reads, or does what any host may do.
//! - No journal is needed, and none is written.

pub mod finish;
pub mod skip;
pub mod survey;
