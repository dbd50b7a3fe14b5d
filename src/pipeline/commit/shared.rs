//! Sidecars that several files share: one is removed with the last of them.
//!
//! Invariant: a sidecar stays while another file that it may release is in staging, or is being moved and may go back. What
//! counts is what is there at the moment of the removal, so a recovery decides as the run before it would have.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use super::{Beside, Committer, Work};
use crate::fs::{self, FileKind, Fs, Stat};
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::limits::BESIDE_NAMES_MAX;
use crate::pipeline::Error;
use crate::pipeline::dirs::split;
use crate::pipeline::sidecar::{SidecarNames, is_older};
use crate::types::FileIdentity;

impl<F: Fs> Committer<F> {
    /// Lists the directories of the sidecars that files of this batch may share with others.
    pub(super) fn look_beside<'a>(&mut self, works: impl Iterator<Item = &'a Work<F>>) -> Result<(), Error>
    where
        F: 'a,
    {
        let mut dirs: HashMap<PathBuf, Vec<SidecarNames>> = HashMap::new();
        let mut sidecars: HashMap<PathBuf, Vec<OsString>> = HashMap::new();
        for work in works {
            // A duplicate that stays is closed already.
            let Some(ingest) = self.index.ingest(work.id) else { continue };
            let Some((names, path)) = self.shared_names(ingest).zip(ingest.sidecar.as_ref().map(|it| &it.path)) else {
                continue;
            };
            let templates = dirs.entry(split(path)?.0.to_path_buf()).or_default();
            if !templates.contains(&names) {
                templates.push(names);
            }
            sidecars.insert(path.clone(), Vec::new());
        }
        if sidecars.is_empty() {
            self.pending.beside = Beside::default();
            return Ok(());
        }
        let hashed = self.index.open().filter(|ingest| ingest.state == FileState::Hashed);
        let of_hashed = hashed.filter_map(|ingest| Some(&ingest.sidecar.as_ref()?.path));
        let of_hashed = of_hashed.filter(|path| sidecars.contains_key(*path)).cloned().collect();
        let mut beside = Beside { names: sidecars, of_hashed, are_unknown: false };
        for (path, templates) in dirs {
            match self.list_beside(&path, &templates, &mut beside.names) {
                Err(error) if error.spares_others() => beside.are_unknown = true,
                is_whole => beside.are_unknown |= !is_whole?,
            }
        }
        self.pending.beside = beside;
        Ok(())
    }

    /// Notes the files in a directory to which one of the sidecars may belong. False if there are too many.
    fn list_beside(
        &mut self,
        path: &Path,
        templates: &[SidecarNames],
        sidecars: &mut HashMap<PathBuf, Vec<OsString>>,
    ) -> fs::Result<bool> {
        let Some(dir) = self.staging.dirs.if_there(path)? else { return Ok(true) };
        let mut count = 0;
        for entry in self.fs.list(&dir)? {
            let name = entry?.name;
            for names in templates.iter().filter(|names| names.core(&name).is_none()) {
                if let Some(known) = sidecars.get_mut(&path.join(names.of(&name)))
                    && self.shared.names.wants(&name)
                {
                    known.push(name.clone());
                    count += 1;
                }
            }
            if count > BESIDE_NAMES_MAX {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How sidecars are named, if this file's may be shared.
    fn shared_names(&self, ingest: &Ingest) -> Option<SidecarNames> {
        let (name, sidecar) = (ingest.source_path.file_name()?, ingest.sidecar.as_ref()?.path.file_name()?);
        match &self.shared.names.sidecars {
            Some(names) if names.of(name) == sidecar => names.are_shared().then(|| names.clone()),
            // Released in an earlier run, with other options; or this is `replay`.
            _ => SidecarNames::shared_by(name, sidecar),
        }
    }

    /// True if the sidecar may release another file that is in staging.
    pub(super) fn is_needed(&mut self, ingest: &Ingest, path: &Path, sidecar: &FileIdentity) -> Result<bool, Error> {
        let is_in_doubt = self.pending.beside.are_unknown || self.pending.beside.of_hashed.contains(path);
        if is_in_doubt && self.shared_names(ingest).is_some() {
            return Ok(true);
        }
        let others = self.pending.beside.names.get(path).cloned().unwrap_or_default();
        let (dir, own) = (split(path)?.0.to_path_buf(), ingest.source_path.file_name());
        // Those that this batch has removed come first.
        for name in others.iter().rev().filter(|name| Some(name.as_os_str()) != own) {
            // Without a checksum it releases no file that came after it.
            let may_release = |stat: &Stat| sidecar.size > 0 || !is_older(sidecar, stat.born);
            match self.staging.dirs.look_afresh(&dir.join(name)) {
                Err(error) if error.spares_others() => return Ok(true),
                stat => {
                    if stat?.is_some_and(|stat| stat.kind == FileKind::Regular && may_release(&stat)) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
