//! The manifest: exactly one line per ingested file.
//!
//! Invariants:
//! - A line is a pure function of the journal's records.
//! - Lines are appended under a lock, so that several ingestors may share a manifests directory. The lock is not on the
//!   manifest, which readers may lock, and it is not held while waiting for room on a full disk.
//! - A whole line that a reader may have seen is never taken back. A batch that a crash cut off is completed in place,
//!   and so is a record that lacks only its newline. Only a last line that is torn and that this ingestor cannot complete
//!   is cut off. Lines that other programs wrote stay.

mod append;
mod complete;
pub mod group;
pub mod hours;
mod line;
mod lock;
mod number;
pub mod numbers;
pub mod read;

pub use append::{AppendProgress, Manifests};
pub use line::{LINE_BYTES_MAX, MANIFEST_NAME, hour_dir, json_path, line};
pub use number::number_of;
