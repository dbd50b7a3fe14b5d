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

pub mod batch;
pub mod consumer;
pub mod cursor;
pub mod dead_letter;
pub mod deliver;
pub mod dir;
pub mod error;
pub mod event_type;
pub mod events;
pub mod exec;
mod group;
pub mod lag;
pub mod lake;
pub mod position;
pub mod print;
pub mod source;
pub mod spliced;
pub mod wake;
#[cfg(feature = "object-store")]
pub mod webhook;

pub use consumer::Consumer;
pub use cursor::{Cursor, Stream};
pub use error::{Error, Gone};
pub use event_type::EventType;
pub use source::{Line, Source};
