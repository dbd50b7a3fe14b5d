//! The write-ahead journal: every state transition, in order, durable before anything is done about it.
//!
//! Four wings, each of which uses only those before it:
//!
//! - `disk`: what lies there: records, frames, segments, snapshots
//! - `log`: written and read: the writer, the one reader, the lock
//! - `memory`: what the records add up to
//! - `care`: what keeps it: compaction, verification, repair
//!
//! Invariants:
//! - Nothing here writes but [`writer`], [`compact`], [`repair`] and [`rebuild`].
//! - What is written and named is never changed; what replaces it is durable before it is removed.

mod care;
mod disk;
mod log;
mod memory;

pub use care::{compact, rebuild, repair, salvage, verify};
pub use disk::error::{Corrupt, Damage, Error, NotTorn, Rejected};
pub use disk::ids::{from_hex, hex};
pub use disk::{expired, format, frame, lifecycle, names, record, relocations, segment, snapshot};
pub use log::beside::{exists, read};
pub use log::writer::{Journal, Opening};
pub use log::{clock, files, replay, verdict, writer};
pub use memory::{history, index, ingest, report};
