//! The interface between the committer and the store of ingested files.
//!
//! Invariants:
//! - The committer decides (which content, which name, what the journal records); a warehouse carries it out.
//! - What recovery does about a rename or a link that a crash cut off is in `recover`, not here: two names of one file
//!   exist only where publishing is a rename. Workers make the copies (`hash`), because that takes as long as hashing.
//! - Nothing is overwritten: a name that is taken stays as it is, and the committer chooses another one.
//! - Nothing counts as published before [`Warehouse::confirm`] has returned; then it is durable.

mod local;
pub mod names;

use std::ffi::OsString;
use std::path::Path;

pub use local::Local;

use super::error::Error;
use super::patience::Patience;
use super::staging::Staging;
use crate::fs::{self, Fs, Stat};
use crate::journal::ingest::Ingest;
use crate::journal::record::AbandonReason;
use crate::types::{FileIdentity, Sha256};

/// The result of publishing a file.
#[derive(Debug)]
pub enum Published {
    /// The file is there, and it is the right one. Its identity there, if it was seen.
    Done(Option<FileIdentity>),
    /// The name is taken by another file.
    Taken,
    /// The source is gone.
    Gone,
    /// It is not the file that was hashed, or cannot be moved this way. It is back in staging, unchanged.
    NotComplete(AbandonReason),
    /// This file cannot be published; others may. It is in staging.
    Refused(fs::Error),
    /// It is unknown where the file is, or it cannot go back: the next start decides.
    Unknown(fs::Error),
}

/// What a warehouse may use of the committer's.
pub struct Access<'a, F: Fs> {
    /// Staging, with all open directories.
    pub staging: &'a mut Staging<F>,
    /// For waiting while the disk is full.
    pub patience: &'a mut Patience,
}

impl<F: Fs> Access<'_, F> {
    /// See [`Patience::run`].
    pub fn patiently<T>(&mut self, mut effect: impl FnMut(&mut Staging<F>) -> fs::Result<T>) -> Result<T, Error> {
        self.patience.run(|| effect(self.staging))
    }
}

/// A store of ingested files. An [`Ingest`] describes a file: where it was found, whether a worker has
/// made a copy of it, and which name it gets.
pub trait Warehouse<F: Fs>: Send {
    /// Moves files to their names, and returns the result for each. None of it is durable yet. A file that is
    /// [`Published::Unknown`] does not stop those after it: the journal has them all as HASHED.
    ///
    /// # Errors
    /// An effect failed, and going on could break a promise.
    fn publish(&mut self, access: &mut Access<'_, F>, files: &[&Ingest]) -> Result<Vec<Published>, Error>;

    /// Makes the published files durable, then checks each lease: if a writer has come meanwhile, that file goes back.
    ///
    /// # Errors
    /// As [`Warehouse::publish`].
    fn confirm(
        &mut self,
        access: &mut Access<'_, F>,
        files: &[(&Ingest, Option<&F::File>)],
    ) -> Result<Vec<Published>, Error>;

    /// Takes back a file that was published by mistake: gives the file, or its copy, its old name.
    ///
    /// # Errors
    /// It could not be done.
    fn withdraw(&mut self, access: &mut Access<'_, F>, file: &Ingest) -> Result<(), Error>;

    /// The file at a path; None if there is no such name.
    ///
    /// # Errors
    /// The file system cannot report it.
    fn look(&mut self, access: &mut Access<'_, F>, path: &Path) -> fs::Result<Option<Stat>>;

    /// True if a file of that size and content is at a path. Reads the file.
    ///
    /// # Errors
    /// The file system cannot report it. A file that cannot be read counts as another one.
    fn holds(&mut self, access: &mut Access<'_, F>, path: &Path, size: u64, sha256: &Sha256) -> fs::Result<bool>;

    /// Discards a copy that will not be published.
    ///
    /// # Errors
    /// It could not be removed.
    fn discard(&mut self, access: &mut Access<'_, F>, copy: &Path) -> Result<(), Error>;

    /// Discards all remaining copies except those with these names.
    ///
    /// # Errors
    /// They cannot be listed or removed.
    fn discard_others(&mut self, needed: &[OsString]) -> fs::Result<()>;
}
