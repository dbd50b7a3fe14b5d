//! Sidecars: which have released a file, and which files may share one.
//!
//! Invariants:
//! - A sidecar that has released a file, and is still there, never releases another one under the same name; nor under any
//!   other name, unless the names of sidecars show that files may share it.
//! - Where files may share sidecars, the table of names has the names of the tracked files, and of the kept duplicates that
//!   the last scan has shown.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::pipeline::sidecar::SidecarNames;
use crate::types::FileIdentity;

/// What is known of sidecars.
#[derive(Default)]
pub(super) struct Sidecars {
    /// None: each belongs to one file.
    shared: Option<SidecarNames>,
    used: HashMap<(u64, u64), Used>,
    /// The names of data files, each with the scan that has shown it, by the names of their sidecars.
    beside: HashMap<OsString, Vec<(Arc<OsStr>, u16)>>,
}

/// A sidecar that has released a file.
struct Used {
    sidecar: FileIdentity,
    /// The names of the files that it has released, if it may be shared and they are known.
    names: Vec<Arc<OsStr>>,
}

impl Sidecars {
    pub(super) fn name_as(&mut self, names: SidecarNames) {
        self.shared = Some(names).filter(SidecarNames::are_shared);
    }

    /// The sidecar has released a file; `name` is None if that was in an earlier run.
    pub(super) fn record_use(&mut self, sidecar: FileIdentity, name: Option<&Arc<OsStr>>) {
        let used = self.used.entry(sidecar.key()).or_insert_with(|| Used { sidecar, names: Vec::new() });
        if used.sidecar != sidecar {
            *used = Used { sidecar, names: Vec::new() };
        }
        if let Some(name) = name.filter(|name| self.shared.is_some() && !used.names.contains(name)) {
            used.names.push(name.clone());
        }
    }

    /// True if the sidecar must not release the file of that name. Of one that was used in an earlier run, the files' births
    /// show to which it belongs; `is_dated` if they are known.
    pub(super) fn is_used(&self, sidecar: &FileIdentity, name: &Arc<OsStr>, is_dated: bool) -> bool {
        self.used.get(&sidecar.key()).filter(|used| used.sidecar == *sidecar).is_some_and(|used| {
            match (&self.shared, used.names.is_empty()) {
                (None, _) => true,
                (Some(_), true) => !is_dated,
                (Some(_), false) => used.names.contains(name),
            }
        })
    }

    /// The sidecar is gone.
    pub(super) fn end_use(&mut self, key: (u64, u64)) {
        self.used.remove(&key);
    }

    /// A file of that name is there.
    pub(super) fn add(&mut self, name: &Arc<OsStr>, scan: u16) {
        let Some(shared) = &self.shared else { return };
        let names = self.beside.entry(shared.of(name)).or_default();
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, seen)) => *seen = scan,
            None => names.push((name.clone(), scan)),
        }
    }

    pub(super) fn remove(&mut self, name: &OsStr) {
        let Some(shared) = &self.shared else { return };
        let sidecar = shared.of(name);
        if let Some(names) = self.beside.get_mut(&sidecar) {
            names.retain(|(known, _)| **known != *name);
            if names.is_empty() {
                self.beside.remove(&sidecar);
            }
        }
    }

    /// Removes the names that the scan has not shown, unless they are tracked.
    pub(super) fn end_scan(&mut self, scan: u16, is_tracked: impl Fn(&OsStr) -> bool) {
        self.beside.retain(|_, names| {
            names.retain(|(name, seen)| *seen == scan || is_tracked(name));
            !names.is_empty()
        });
    }

    /// The files that may share the sidecar of that name.
    pub(super) fn of(&self, sidecar: &OsStr) -> Vec<Arc<OsStr>> {
        let names = self.beside.get(sidecar).map_or(&[][..], |names| &names[..]);
        names.iter().map(|(name, _)| name.clone()).collect()
    }
}
