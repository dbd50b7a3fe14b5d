//! Follows the manifests: passes each line on once, in the order of its number, as soon as it is durable.
//!
//! ```text
//! manifests ──▶ source ──▶ batches ──▶ standard output, a command, or a webhook ──▶ position of the consumer
//! ```
//!
//! Invariants:
//! - It only reads manifests, and needs nothing else of the ingestor: it works on another host, with permission to read.
//! - A line is passed on after all lines of its journal with smaller numbers, or after it was said that these are gone.
//! - The lines of a group are in one batch.

pub mod cursor;
pub mod dir;
pub mod error;
pub mod source;
pub mod wake;

pub use cursor::{Cursor, Stream};
pub use error::{Error, Gone};
pub use source::{Line, Source};
