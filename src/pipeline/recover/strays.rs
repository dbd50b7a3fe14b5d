//! Files that an earlier run set aside in a directory below staging that has another path by now.
//!
//! Invariant (P2): such a file is removed only as its ingest's record intends, if it is the file that the record names;
//! any other file gets its name back, where it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Committer;
use crate::fs::{FileKind, Fs};
use crate::journal::groups::OpenGroup;
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::limits::TREE_DEPTH_MAX;
use crate::pipeline::staging::Expected;
use crate::pipeline::staging::names::{ASIDE_PREFIX, Aside, aside_name};
use crate::pipeline::{Error, subdir};
use crate::types::{FileIdentity, IngestId, Sha256};

/// What a run sets aside in staging.
const KINDS: [Aside; 4] = [Aside::Source, Aside::Sidecar, Aside::Duplicate, Aside::Second];

impl<F: Fs> Committer<F> {
    /// Searches staging for files that were set aside, if there may be any: only after a crash, and only if a file below
    /// a directory may have been on its way to be removed.
    pub(super) fn resolve_strays(&mut self) -> Result<(), Error> {
        let links = self.fs.renames_by_link(&self.shared.staging);
        let may_be_aside = |ingest: &&Ingest| {
            let is_removed = ingest.sidecar.is_some() || ingest.duplicate.is_some() || links;
            let is_copied = ingest.target.as_ref().is_some_and(|target| target.copy.is_some());
            let is_begun = ingest.state != FileState::Discovered && (is_removed || is_copied);
            is_begun && !subdir::subdir(ingest).as_os_str().is_empty()
        };
        let open: Vec<Ingest> = self.index.open().filter(may_be_aside).cloned().collect();
        let in_root = |path: &Path| path.parent() == Some(&*self.settings.input);
        let groups: Vec<Arc<OpenGroup>> = self.index.groups().filter(|it| !in_root(&it.group.path)).cloned().collect();
        if open.is_empty() && groups.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        let staging = self.shared.staging.clone();
        self.search(&staging, self.settings.input.clone(), 0, &mut found);
        let store = self.journal.store();
        for group in &groups {
            let name = aside_name(&store, IngestId(group.lsn.0), Aside::Sidecar);
            let is_stray =
                |path: &&PathBuf| path.file_name() == Some(&name) && path.parent() != group.group.path.parent();
            for path in found.iter().filter(is_stray) {
                // It gets its name back. If its files were listed, the next scan finds that all their contents are there.
                let given = path.with_file_name(subdir::file_name(group.group.path.as_os_str()));
                self.resolve_aside(IngestId(group.lsn.0), Aside::Sidecar, &given, None)?;
            }
        }
        for ingest in open.iter().filter(|_| !found.is_empty()) {
            for what in KINDS {
                let name = aside_name(&store, ingest.id, what);
                let is_stray =
                    |path: &&PathBuf| path.file_name() == Some(&name) && path.parent() != ingest.source_path.parent();
                for path in found.iter().filter(is_stray) {
                    self.resolve_stray(ingest, what, path)?;
                }
            }
        }
        Ok(())
    }

    /// The files that were set aside, as far as directories can be read.
    fn search(&self, dir: &F::Dir, path: PathBuf, depth: u16, found: &mut Vec<PathBuf>) {
        let Ok(entries) = self.fs.list(dir) else { return };
        for entry in entries.flatten() {
            if entry.name.as_encoded_bytes().starts_with(ASIDE_PREFIX) {
                found.push(path.join(&entry.name));
            } else if depth < TREE_DEPTH_MAX
                && entry.kind.is_none_or(|kind| kind == FileKind::Directory)
                && let Ok(below) = self.fs.open_subdir(dir, &entry.name)
            {
                self.search(&below, path.join(&entry.name), depth + 1, found);
            }
        }
    }

    fn resolve_stray(&mut self, ingest: &Ingest, what: Aside, aside: &Path) -> Result<(), Error> {
        let name = match (&ingest.sidecar, what) {
            (Some(sidecar), Aside::Sidecar) => subdir::file_name(sidecar.path.as_os_str()),
            _ => subdir::file_name(ingest.source_path.as_os_str()),
        };
        let identity = self.meant_to_go(ingest, what, aside)?;
        let sha256 = match what {
            Aside::Sidecar => None,
            _ => ingest.target.as_ref().map(|it| it.sha256).or_else(|| Some(ingest.duplicate.as_ref()?.sha256)),
        };
        let expected = identity.as_ref().map(|identity| Expected { identity, sha256: sha256.as_ref() });
        self.resolve_aside(ingest.id, what, &aside.with_file_name(name), expected).map(drop)
    }

    /// The file that the ingest's record intends to be removed; None if that is no longer right.
    fn meant_to_go(&mut self, ingest: &Ingest, what: Aside, aside: &Path) -> Result<Option<FileIdentity>, Error> {
        Ok(match what {
            Aside::Sidecar if !self.is_spent_aside(ingest, aside)? => None,
            Aside::Sidecar => ingest.sidecar.as_ref().map(|sidecar| sidecar.identity),
            Aside::Source if ingest.state == FileState::Moved => {
                let sha256 = ingest.target.as_ref().map_or(Sha256([0; 32]), |target| target.sha256);
                self.original_stands(ingest, &sha256)?.then_some(ingest.identity)
            }
            Aside::Duplicate => {
                let sha256 = ingest.duplicate.as_ref().map_or(Sha256([0; 32]), |duplicate| duplicate.sha256);
                self.original_stands(ingest, &sha256)?.then_some(ingest.identity)
            }
            Aside::Second => {
                let target = ingest.target.as_ref().map(|target| target.warehouse_path.clone());
                let target = target.or_else(|| Some(ingest.quarantined.as_ref()?.target.clone()));
                let target = target.or_else(|| ingest.duplicate.as_ref()?.target.clone());
                let new = target.map(|target| self.staging.dirs.look(&target)).transpose()?.flatten();
                let old = self.staging.dirs.look(aside)?;
                let is_one = matches!((&new, &old), (Some(new), Some(old)) if new.identity.key() == old.identity.key());
                old.filter(|_| is_one).map(|old| old.identity)
            }
            _ => None,
        })
    }
}
