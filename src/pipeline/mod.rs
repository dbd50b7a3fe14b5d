//! The path of a file from staging to the manifest. Each stage has a type that only the stage before it can make, so no
//! file skips a stage:
//!
//! ```text
//! scan ──▶ settle ──▶ Settled ──▶ hash ──▶ HashedFile ──▶ commit ──▶ Report
//! ```
//!
//! Invariants:
//! - `scan`, `settle` and `hash` change nothing on disk except the copies in the warehouse's private directory.
//! - Every ordered, durable effect belongs to the committer, which is one thread: it alone owns the journal and the
//!   index. A second thread moves files, as recorded.

pub mod commit;
pub mod csv;
pub mod dirs;
mod error;
pub mod group;
pub mod hash;
pub mod in_order;
pub mod lake;
pub mod layout;
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
pub mod subdir;
pub mod warehouse;
mod why_not;

pub use error::Error;
pub use stage::{HashResult, HashedFile, Outcome, Refused, Report, Settled};
pub use why_not::{Refusal, WhyNot};
