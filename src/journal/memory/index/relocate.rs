//! RELOCATED: changes every path in memory to the new root.

use std::path::PathBuf;
use std::sync::Arc;

use super::Index;
use crate::journal::disk::record::{Relocated, Settings};
use crate::journal::memory::ingest::Ingest;

impl Index {
    /// Changes all paths in memory. Paths of the snapshot's rows are changed when the rows are looked up.
    pub(super) fn relocate(&mut self, roots: &Relocated) {
        if let Some(settings) = &mut self.settings {
            renew_settings(roots, settings);
        }
        self.rules.quarantine.iter_mut().for_each(|path| roots.renew(path));
        self.open.values_mut().for_each(|ingest| renew_ingest(roots, Arc::make_mut(ingest)));
        for original in self.recent.values_mut() {
            if let Some(path) = roots.of(&original.warehouse_path) {
                original.warehouse_path = path.into_boxed_path();
            }
        }
    }
}

fn renew_settings(roots: &Relocated, settings: &mut Arc<Settings>) {
    let settings = Arc::make_mut(settings);
    for path in [&mut settings.input, &mut settings.warehouse, &mut settings.manifests] {
        roots.renew(path);
    }
    settings.duplicates_dir.iter_mut().for_each(|path| roots.renew(path));
}

fn renew_ingest(roots: &Relocated, ingest: &mut Ingest) {
    renew_settings(roots, &mut ingest.settings);
    let mut paths: Vec<&mut PathBuf> = vec![&mut ingest.source_path];
    paths.extend(ingest.sidecar.as_mut().map(|sidecar| &mut sidecar.path));
    paths.extend(ingest.target.as_mut().map(|target| &mut target.warehouse_path));
    paths.extend(ingest.duplicate.as_mut().and_then(|duplicate| duplicate.target.as_mut()));
    paths.extend(ingest.quarantined.as_mut().map(|quarantined| &mut quarantined.target));
    paths.into_iter().for_each(|path| roots.renew(path));
}
