//! The state in memory that the records add up to.
//!
//! Invariant: each of these states is a function of the records in LSN order, and of nothing else.

pub mod groups;
pub mod history;
pub mod index;
pub mod ingest;
pub mod report;
