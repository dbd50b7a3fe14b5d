//! The seam between the committer and what holds the ingested files.
//!
//! Invariants:
//! - The committer decides (which content, which name, what the journal says); a warehouse carries it out.
//! - Nothing is overwritten: a name that is taken stays as it is, and the committer chooses another one.
//! - Nothing counts as published before [`Warehouse::confirm`] has returned: then it is durable.

mod local;
pub mod names;

use std::ffi::OsString;
use std::path::Path;

pub use local::Local;

use super::error::Error;
use super::patience::Hands;
use crate::fs::{self, Fs, Stat};
use crate::journal::ingest::Ingest;
use crate::journal::record::AbandonReason;
use crate::types::Sha256;

/// What came of publishing a file.
#[derive(Debug)]
pub enum Published {
    /// It is there, and it is the right one.
    Done,
    /// The name is taken by something else.
    Taken,
    /// The source is gone.
    Gone,
    /// It is not what was hashed, or cannot come this way. It is in staging, as if nothing had happened.
    NotComplete(AbandonReason),
    /// This file cannot be published; others may. It is in staging.
    Refused(fs::Error),
    /// Nobody can tell where it is, or it cannot go back: it is for the next start.
    Unknown(fs::Error),
}

/// What holds the ingested files. A file is told by its ingest, which says where it was found, whether there is a draft of it
/// (a copy that a worker has made), and which name it gets.
pub trait Warehouse<F: Fs>: Send {
    /// Brings files to their names, and says of each what came of it. None of it is durable yet.
    ///
    /// # Errors
    /// An effect failed, and going on could break a promise.
    fn publish(&mut self, hands: &mut Hands<'_, F>, files: &[&Ingest]) -> Result<Vec<Published>, Error>;

    /// Makes what was published durable; then asks each lease whether a writer came meanwhile. A file that one wants goes back.
    ///
    /// # Errors
    /// As [`Warehouse::publish`].
    fn confirm(
        &mut self,
        hands: &mut Hands<'_, F>,
        files: &[(&Ingest, Option<&F::File>)],
    ) -> Result<Vec<Published>, Error>;

    /// Takes back what was published and should not be there: gives the file, or its draft, its old name.
    ///
    /// # Errors
    /// It could not be done.
    fn withdraw(&mut self, hands: &mut Hands<'_, F>, file: &Ingest) -> Result<(), Error>;

    /// What stands at a name; None if nothing does.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn look(&mut self, hands: &mut Hands<'_, F>, path: &Path) -> fs::Result<Option<Stat>>;

    /// True if a file of that size and content stands at a name. It is read.
    ///
    /// # Errors
    /// It cannot be looked at; what cannot be read is no such file.
    fn holds(&mut self, hands: &mut Hands<'_, F>, path: &Path, size: u64, sha256: &Sha256) -> fs::Result<bool>;

    /// Discards a draft that will not be published.
    ///
    /// # Errors
    /// It could not be removed.
    fn discard(&mut self, hands: &mut Hands<'_, F>, draft: &Path) -> Result<(), Error>;

    /// Lists the drafts that are left, and discards all but those of these names.
    ///
    /// # Errors
    /// They cannot be listed or removed.
    fn discard_others(&mut self, needed: &[OsString]) -> fs::Result<()>;
}
