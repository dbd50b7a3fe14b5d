//! A warehouse in a directory. A file gets there by a rename, or, from another file system, as a copy that is then
//! renamed.
//!
//! Invariants:
//! - A file is checked after its rename, and goes back if it is another file, was written to, or has a further name by
//!   which a process could write to it.
//! - P3: a name counts only after its directory was synced. Only then is the lease checked for a writer: until then the
//!   lease holds back a writer that opened the file by its old name, and from then on no process can open it by that
//!   name.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Access, Published, Warehouse};
use crate::fs::blame::twice;
use crate::fs::{self, Fs, Stat};
use crate::journal::ingest::{Ingest, Target};
use crate::journal::record::{AbandonReason, Copy};
use crate::limits::LINKED_FILES_MAX;
use crate::pipeline::Error;
use crate::pipeline::hash::{self, Shared};
use crate::pipeline::staging::{Placed, Staging};
use crate::pipeline::subdir;
use crate::types::Sha256;

/// The warehouse.
pub struct Local<F: Fs> {
    shared: Arc<Shared<F>>,
    /// How many files in a row had further names after their renames.
    linked: u32,
}

impl<F: Fs> Local<F> {
    /// `shared` is also used by the hashing workers, which learn from it when every file must be copied.
    pub fn new(shared: Arc<Shared<F>>) -> Local<F> {
        Local { shared, linked: 0 }
    }

    fn publish_one(&mut self, access: &mut Access<'_, F>, file: &Ingest) -> Result<Published, Error> {
        let Some(target) = &file.target else { return Ok(Published::Gone) };
        let arrived_as = match access.patiently(|staging| self.place(staging, file, target))? {
            Placed::Done(there) => {
                self.linked = 0;
                return Ok(Published::Done(there));
            }
            Placed::Taken => return Ok(Published::Taken),
            Placed::Vanished => return Ok(Published::Gone),
            Placed::NeedsCopy => {
                // A directory below staging may be on a mount of its own, which says nothing about the other files.
                if subdir::subdir(file).as_os_str().is_empty() {
                    self.copy_all();
                }
                return Ok(Published::NotComplete(AbandonReason::NeedsCopy));
            }
            Placed::Refused(error) => return Ok(Published::Refused(error)),
            // If it cannot go back either, the error ends the process: the next start checks again.
            Placed::Unseen(error) => {
                self.withdraw(access, file)?;
                return Ok(Published::Refused(error));
            }
            Placed::Changed | Placed::Renumbered => AbandonReason::Changed,
            Placed::Linked => AbandonReason::NeedsCopy,
        };
        let published = self.put_back(access, file, arrived_as)?;
        if matches!(published, Published::NotComplete(AbandonReason::NeedsCopy)) {
            self.linked += 1;
            if self.linked == LINKED_FILES_MAX {
                // So many files in a row do not all get a second link just before their rename: the link counts are wrong
                // here.
                self.copy_all();
            }
        }
        Ok(published)
    }

    fn copy_all(&self) {
        self.shared.copy_all.store(true, Ordering::Relaxed);
    }

    /// Gives an arrived file its old name back.
    fn put_back(&mut self, access: &mut Access<'_, F>, file: &Ingest, why: AbandonReason) -> Result<Published, Error> {
        match twice(Error::spares_others, || self.withdraw(access, file)) {
            Err(Error::Io(error)) if error.spares_others() => Ok(Published::Unknown(error)),
            done => done.map(|()| Published::NotComplete(why)),
        }
    }

    fn place(&mut self, staging: &mut Staging<F>, file: &Ingest, target: &Target) -> fs::Result<Placed> {
        let placed = match &target.copy {
            Some(copy) => self.place_copy(staging, file, target, copy)?,
            None => {
                let (root, to) = (&file.settings.warehouse, &target.warehouse_path);
                staging.place(Some(file.id), &file.source_path, root, to, &file.identity)?
            }
        };
        Ok(match staging.recognize(placed, &target.warehouse_path, file.identity.size, &target.sha256)? {
            // No other process has ever had a name of the ingestor's own copy: some file systems report a wrong link
            // count.
            Placed::Linked if target.copy.is_some() => Placed::Done(None),
            placed => placed,
        })
    }

    /// The copy has the content of the file as it was. If the file was removed since, the copy is the only one left, and
    /// is placed. If the file was changed, it was not complete, and the copy is discarded.
    fn place_copy(
        &mut self,
        staging: &mut Staging<F>,
        file: &Ingest,
        target: &Target,
        copy: &Copy,
    ) -> fs::Result<Placed> {
        match staging.dirs.look(&file.source_path) {
            Ok(Some(stat)) if stat.identity != file.identity => Ok(Placed::Vanished),
            Err(error) if error.spares_others() => Ok(Placed::Refused(error)),
            Err(error) => Err(error),
            Ok(_) => {
                let (root, to) = (&file.settings.warehouse, &target.warehouse_path);
                staging.place(None, &copy.path, root, to, &copy.identity)
            }
        }
    }
}

impl<F: Fs> Warehouse<F> for Local<F> {
    fn publish(&mut self, access: &mut Access<'_, F>, files: &[&Ingest]) -> Result<Vec<Published>, Error> {
        let publish = |file: &&Ingest| {
            access.patience.may_go_on()?;
            self.publish_one(access, file)
        };
        files.iter().map(publish).collect()
    }

    fn confirm(
        &mut self,
        access: &mut Access<'_, F>,
        files: &[(&Ingest, Option<&F::File>)],
    ) -> Result<Vec<Published>, Error> {
        access.patience.may_go_on()?;
        access.patiently(|staging| staging.dirs.sync())?;
        let mut confirmed = Vec::with_capacity(files.len());
        for (file, lease) in files {
            confirmed.push(match lease.map_or(Ok(false), |lease| self.shared.fs.lease_broken(lease))? {
                true => self.put_back(access, file, AbandonReason::OpenForWriting)?,
                false => Published::Done(None),
            });
        }
        access.staging.dirs.sync()?;
        Ok(confirmed)
    }

    fn withdraw(&mut self, access: &mut Access<'_, F>, file: &Ingest) -> Result<(), Error> {
        let Some(target) = &file.target else { return Ok(()) };
        let from = target.copy.as_ref().map_or(&file.source_path, |copy| &copy.path);
        access.patiently(|staging| staging.put_back(file.id, &target.warehouse_path, from))
    }

    fn look(&mut self, access: &mut Access<'_, F>, path: &Path) -> fs::Result<Option<Stat>> {
        access.staging.dirs.look(path)
    }

    fn holds(&mut self, access: &mut Access<'_, F>, path: &Path, size: u64, sha256: &Sha256) -> fs::Result<bool> {
        access.staging.holds(path, size, sha256)
    }

    fn discard(&mut self, access: &mut Access<'_, F>, copy: &Path) -> Result<(), Error> {
        access.patiently(|staging| staging.dirs.discard(copy))
    }

    fn discard_others(&mut self, needed: &[OsString]) -> fs::Result<()> {
        match &self.shared.copies {
            Some(copies) => hash::remove_leftovers(&self.shared.fs, copies, needed),
            None => Ok(()),
        }
    }
}
