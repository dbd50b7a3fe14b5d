//! The write-ahead journal: every state transition, in order, durable before anything acts on it.
//!
//! Four parts; each uses only the parts before it:
//!
//! - `disk`: the on-disk formats: records, frames, segments, snapshots
//! - `log`: the writer, the reader, the lock
//! - `memory`: the state in memory that the records add up to
//! - `care`: maintenance: compaction, verification, repair, rebuilding
//!
//! Invariants:
//! - Only [`writer`], [`compact`], [`repair`] and [`rebuild`] write.
//! - A file that is complete and has its final name is never changed; its replacement is durable before it is removed.

mod care;
mod disk;
mod log;
mod memory;

pub use care::{compact, rebuild, repair, salvage, verify};
pub use disk::error::{Corrupt, Damage, Error, NotTorn, Rejected};
pub use disk::ids::{from_hex, hex};
pub use disk::{blank, expired, format, frame, lifecycle, names, record, relocations, segment, snapshot};
pub use log::beside::{exists, read};
pub use log::writer::{Journal, Opening};
pub use log::{clock, files, replay, verdict, writer};
pub use memory::{groups, history, index, ingest, report};
