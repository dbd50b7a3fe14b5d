//! A snapshot: the sum of all records up to an LSN, in one immutable file.
//!
//! Invariants:
//! - A file with a snapshot's name is complete and was read back before it got that name: any fault in it is damage and
//!   never the result of a crash.
//! - Opening reads only header and index, however many rows there are; each row is checked when it is read.
//! - Every checksum covers the file's salt and the position, so that bytes of another file or position never pass.
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
pub(in crate::journal) use row::{key_of, stamps};
pub use rows::RowReader;
pub use survivor::Survivor;
pub use write::{Contents, Writer};
