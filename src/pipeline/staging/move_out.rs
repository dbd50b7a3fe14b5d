//! Moving a file out of staging: into the warehouse, to quarantine, to the directory of duplicates.

use std::path::Path;

use super::Staging;
use crate::fs::{self, FileKind, Fs};
use crate::pipeline::dirs::split;
use crate::types::{FileIdentity, IngestId};

/// What came of moving a file to its place.
#[derive(Debug)]
pub enum Placed {
    /// It is there (and it is the right one).
    Done,
    /// The name is taken by something else.
    Taken,
    /// The source is gone.
    Vanished,
    /// What has arrived is another file, or was written to: it has to be put back.
    Changed,
    /// A rename cannot do it: another mount.
    NeedsCopy,
    /// The inode has further names, by which the warehouse's file could be written to: it has to be put back, and
    /// copied.
    Linked,
    /// What has arrived has another inode number, and the same size and times. There are file systems that number a file
    /// anew when it is renamed; its content decides.
    Renumbered,
    /// This file cannot be moved; others may.
    Refused(fs::Error),
    /// It was moved, and cannot be looked at: it has to be put back.
    Unseen(fs::Error),
}

impl<F: Fs> Staging<F> {
    /// Renames `from` to `to` if `to` is free, then checks that the file now at `to` is `identity`. What is not has to
    /// be put back by the caller.
    /// `staged` is the ingest whose file others may replace at `from` at any moment; None for a copy of our own.
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
            Ok(Some(stat)) if !stat.identity.same_but_renamed(identity) => {
                match stat.identity.same_but_renumbered(identity) {
                    // Somebody has given it another name meanwhile, through which it can be written to.
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

    /// The rename. None if something stands at `to` now that was at `from`.
    fn bring(
        &mut self,
        staged: Option<IngestId>,
        from: &Path,
        root: &Path,
        to: &Path,
        identity: &FileIdentity,
    ) -> fs::Result<Option<Placed>> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let source = self.dirs.dir(from_dir)?;
        let mut target = self.dirs.made_dir(root, to_dir)?;
        self.dirs.touch(from_dir, to_dir);
        let mut renamed = self.move_name(staged, (&source, from_name), (&target, to_name));
        if let Err(error) = &renamed
            && error.is_not_found()
        {
            if self.fs.stat(&source, from_name)?.is_none() {
                return Ok(Some(Placed::Vanished));
            }
            // Then it is the partition that somebody removed under us.
            self.dirs.forget(to_dir);
            target = self.dirs.made_dir(root, to_dir)?;
            renamed = self.move_name(staged, (&source, from_name), (&target, to_name));
        }
        match renamed {
            Ok(()) => Ok(None),
            Err(error) if error.is_taken() => Ok(Some(Placed::Taken)),
            Err(error) if error.is_not_found() => Ok(Some(Placed::Vanished)),
            Err(error) if error.is_cross_device() => Ok(Some(Placed::NeedsCopy)),
            // Only the two names tell what came of it.
            Err(error) if error.is_outcome_unknown() && error.spares_others() => {
                let is_it = |stat: Option<fs::Stat>| stat.is_some_and(|stat| stat.identity.same_but_renamed(identity));
                match (self.fs.stat_fresh(&target, to_name), self.fs.stat_fresh(&source, from_name)) {
                    (Ok(there), Ok(None)) if is_it(there) => Ok(None),
                    // Where a rename is made of halves, only the first may have been.
                    (Ok(there), Ok(here)) if is_it(there) && is_it(here) => {
                        self.fs.unlink(&target, to_name)?;
                        Err(error)
                    }
                    (Ok(_), Ok(_)) => Err(error),
                    // What has its old name still was not moved, whatever the other one says.
                    (Err(_), Ok(here)) if is_it(here) => Err(error),
                    _ => Ok(Some(Placed::Unseen(error))),
                }
            }
            Err(error) => Err(error),
        }
    }
}
