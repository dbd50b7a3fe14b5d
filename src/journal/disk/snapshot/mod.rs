//! A snapshot: what all records up to an LSN add up to, in one immutable file.
//!
//! Invariants:
//! - A file with a snapshot's name is complete and was read back before it got that name: anything wrong with it is
//!   damage and never the mark of a crash.
//! - Opening reads header and index only, whatever the number of rows; every row is checked when it is read.
//! - Every checksum covers the file's salt and the place, so that nothing is taken for something else.
//! - Reading never writes.

mod block;
mod damaged;
mod header;
mod index;
mod reader;
mod row;
mod rows;
mod survivor;
mod write;

pub(in crate::journal) use damaged::Damaged;
pub use header::{SnapshotHeader, Spare};
pub use reader::Snapshot;
pub use row::{Directories, Row};
pub(in crate::journal) use row::{sha256_of, stamps};
pub use rows::RowReader;
pub use survivor::Survivor;
pub use write::{Contents, Writer};
