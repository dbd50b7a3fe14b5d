//! The code that the fuzz targets share: journals, snapshots and manifests to damage, and second readers to compare
//! with.

pub mod bounded;
pub mod csv;
pub mod groups;
pub mod journal;
pub mod lines;
pub mod manifest;
pub mod mutate;
pub mod oracle;
pub mod snapshot;
