//! Moves a file out of staging: into the warehouse, to quarantine, to the directory of duplicates.

use std::path::Path;

use super::Staging;
use crate::fs::{self, FileKind, Fs};
use crate::pipeline::dirs::split;
use crate::types::{FileIdentity, IngestId};

/// The result of moving a file to its place.
#[derive(Debug)]
pub enum Placed {
    /// The file is there, and it is the right one.
    Done,
    /// The name is taken by another file.
    Taken,
    /// The source is gone.
    Vanished,
    /// The file that arrived is another one, or was written to: it must be put back.
    Changed,
    /// A rename is not possible: the target is on another mount.
    NeedsCopy,
    /// The inode has further names, through which a process could write to the warehouse's file: it must be put back, and
    /// copied.
    Linked,
    /// The file that arrived has another inode number, but the same size and times. Some file systems renumber a file
    /// when it is renamed; the content decides.
    Renumbered,
    /// This file cannot be moved; others may.
    Refused(fs::Error),
    /// It was moved, and cannot be checked: it must be put back.
    Unseen(fs::Error),
}

impl<F: Fs> Staging<F> {
    /// Renames `from` to `to` if `to` is free, then checks that the file now at `to` is `identity`. If it is not, the
    /// caller must put it back. `root` is the directory below which missing directories are made. `staged` is the ingest
    /// of a staged file, which an upstream may replace at `from` at any moment; None for a copy made by this program.
    pub fn place(
        &mut self,
        staged: Option<IngestId>,
        from: &Path,
        root: &Path,
        to: &Path,
        identity: &FileIdentity,
    ) -> fs::Result<Placed> {
        match self.bring(staged, from, root, to, identity) {
            Ok(None) => {}
            Ok(Some(placed)) => return Ok(placed),
            Err(error) if error.spares_others() => return Ok(Placed::Refused(error)),
            Err(error) => return Err(error),
        }
        let (to_dir, to_name) = split(to)?;
        let target = self.dirs.dir(to_dir)?;
        Ok(match self.fs.stat_fresh(&target, to_name) {
            Ok(Some(stat)) if stat.kind != FileKind::Regular => Placed::Changed,
            // Where renamed files are renumbered, the same number proves nothing: it may be one that has become free.
            Ok(Some(stat)) if !stat.identity.same_but_renamed(identity) || self.renumbers(stat.identity.device) => {
                match stat.identity.same_but_renumbered(identity) {
                    // Another process has given it another name meanwhile, and can write to it by that.
                    true if stat.links > 1 => Placed::Linked,
                    true => Placed::Renumbered,
                    false => Placed::Changed,
                }
            }
            Ok(Some(stat)) if stat.links > 1 => Placed::Linked,
            Ok(Some(_)) => Placed::Done,
            Ok(None) => Placed::Vanished,
            Err(error) if error.spares_others() => Placed::Unseen(error),
            Err(error) => return Err(error),
        })
    }

    /// The rename. None if it was done: the file of `from` is now at `to`.
    fn bring(
        &mut self,
        staged: Option<IngestId>,
        from: &Path,
        root: &Path,
        to: &Path,
        identity: &FileIdentity,
    ) -> fs::Result<Option<Placed>> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let Some(source) = self.dirs.if_there(from_dir)? else { return Ok(Some(Placed::Vanished)) };
        let mut target = self.dirs.made_dir(root, to_dir)?;
        self.dirs.touch(from_dir, to_dir);
        let mut renamed = self.move_name(staged, (&source, from_name), (&target, to_name));
        if let Err(error) = &renamed
            && error.is_not_found()
        {
            if self.fs.stat(&source, from_name)?.is_none() {
                return Ok(Some(Placed::Vanished));
            }
            // Then another process has removed the partition.
            self.dirs.forget(to_dir);
            target = self.dirs.made_dir(root, to_dir)?;
            renamed = self.move_name(staged, (&source, from_name), (&target, to_name));
        }
        match renamed {
            Ok(()) => Ok(None),
            Err(error) if error.is_taken() => Ok(Some(Placed::Taken)),
            Err(error) if error.is_not_found() => Ok(Some(Placed::Vanished)),
            Err(error) if error.is_cross_device() => Ok(Some(Placed::NeedsCopy)),
            // Only the two names show whether the rename was done.
            Err(error) if error.is_outcome_unknown() && error.spares_others() => {
                let is_it = |stat: Option<fs::Stat>| stat.is_some_and(|stat| stat.identity.same_but_renamed(identity));
                match (self.fs.stat_fresh(&target, to_name), self.fs.stat_fresh(&source, from_name)) {
                    (Ok(there), Ok(None)) if is_it(there) => Ok(None),
                    // Where rename is link and unlink, only the link may have been done.
                    (Ok(there), Ok(here)) if is_it(there) && is_it(here) => {
                        self.fs.unlink(&target, to_name)?;
                        Err(error)
                    }
                    (Ok(_), Ok(_)) => Err(error),
                    // A file that still has its old name was not moved, whatever is wrong with the new one.
                    (Err(_), Ok(here)) if is_it(here) => Err(error),
                    _ => Ok(Some(Placed::Unseen(error))),
                }
            }
            Err(error) => Err(error),
        }
    }
}
