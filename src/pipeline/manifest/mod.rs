//! The manifest: one line per ingested file, exactly one.
//!
//! Invariants:
//! - A line is a pure function of the journal's records.
//! - Lines are appended under a lock, so that several ingestors may share a manifests directory. It is not on the manifest, which
//!   readers may lock, and it is not held while a full disk is waited for.
//! - A whole line that a reader may have seen is never taken back: what a crash left of a batch is completed in place, and so
//!   is a record that lacks its newline alone; only a last line that is torn and is not ours is cut off. What somebody else
//!   wrote between the lines stays.

mod append;
mod complete;
pub mod hours;
mod line;
mod lock;
pub mod read;

pub use append::{AppendProgress, Manifests};
pub use line::{LINE_BYTES_MAX, MANIFEST_NAME, hour_dir, json_path, line};
