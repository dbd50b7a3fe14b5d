//! What the fuzz targets share: journals and snapshots to damage, and second readers to compare with.

pub mod bounded;
pub mod journal;
pub mod mutate;
pub mod oracle;
pub mod snapshot;
