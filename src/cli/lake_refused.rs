//! Commands that work with directories, and not with a lake.
//!
//! Invariant: a lake is refused before anything is read or changed there.

use std::path::Path;

use crate::Error;
use crate::journal::index::Index;
use crate::store::location::Location;

/// Fails if the path is the URL of a lake. `instead` says what to do, for people.
pub(super) fn must_be_dir(path: &Path, instead: &str) -> Result<(), Error> {
    match path.to_str().filter(|text| Location::is_meant(text)) {
        Some(url) => Err(Error::Usage(format!("{url} is a lake: {instead}"))),
        None => Ok(()),
    }
}

/// Fails if the journal works with a lake.
pub(super) fn must_be_in_dirs(index: &Index, instead: &str) -> Result<(), Error> {
    index.settings().map_or(Ok(()), |settings| must_be_dir(&settings.warehouse, instead))
}
