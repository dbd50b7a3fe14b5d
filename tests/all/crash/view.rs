//! Views of a simulated machine.

use std::path::Path;

use csv_ingestor::fs::FileKind;
use csv_ingestor::fs::sim::Upstream;

use super::places::{DUPLICATES, MANIFESTS, QUARANTINE, STAGING, WAREHOUSE};
pub use crate::common::view::{
    Digest, FOREIGN, Files, Line, Places, UNFINISHED, View, digest, is_data, is_hidden, sidecar_of,
};

/// Every regular file below `dir`, with its content.
pub fn files(upstream: &mut Upstream<'_>, dir: &Path) -> Files {
    match upstream.stat(dir) {
        Ok(stat) if stat.kind == FileKind::Directory => upstream.files(dir).unwrap().into_iter().collect(),
        _ => Files::new(),
    }
}

impl View {
    pub fn of(upstream: &mut Upstream<'_>) -> View {
        let places = Places {
            staging: Path::new(STAGING),
            warehouse: Path::new(WAREHOUSE),
            manifests: Path::new(MANIFESTS),
            duplicates: Path::new(DUPLICATES),
            quarantine: Path::new(QUARANTINE),
        };
        View::taken(places, |dir| files(upstream, dir))
    }
}
