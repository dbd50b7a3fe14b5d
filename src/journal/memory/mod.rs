//! What the records add up to.
//!
//! Invariant: each sum is a function of the records in LSN order, and of nothing else.

pub mod history;
pub mod index;
pub mod ingest;
pub mod report;
