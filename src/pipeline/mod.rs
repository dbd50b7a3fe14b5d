//! A file's way from staging to the manifest. Each stage has a type, and only the stage before can make it, so no
//! file skips one:
//!
//! ```text
//! scan ──▶ settle ──▶ Settled ──▶ hash ──▶ HashedFile ──▶ commit ──▶ Report
//! ```
//!
//! Invariants:
//! - `scan`, `settle` and `hash` change nothing anywhere but the copies in the warehouse's private directory.
//! - Every ordered, durable effect is the committer's, which is one thread: it alone owns journal and state.

pub mod commit;
pub mod csv;
pub mod dirs;
mod error;
pub mod hash;
pub mod manifest;
pub mod names;
pub mod patience;
pub mod places;
pub mod quarantine;
pub mod recover;
pub mod scan;
pub mod settle;
pub mod sidecar;
mod stage;
pub mod staging;
pub mod warehouse;
mod why_not;

pub use error::Error;
pub use stage::{HashResult, HashedFile, Outcome, Refused, Report, Settled};
pub use why_not::{Refusal, WhyNot};
