//! The description of a lake in its stores: `lake.json` in the warehouse, and the same bytes among the manifests.
//!
//! Invariants:
//! - It is created once and never replaced.
//! - Manifests belong to one lake: those of two lakes would have the same keys. So a host works only with manifests that
//!   hold its lake's description.

use super::bytes::sha256;
use super::error::Error;
use super::format::Description;
use super::keys;
use crate::store::{Kind, Store};

/// What is there after [`make`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The lake's description.
    pub description: Description,
    /// True if the call has made it.
    pub is_new: bool,
}

/// The lake in this warehouse, or among these manifests; None if there is none.
///
/// # Errors
/// The store fails, or `lake.json` is not one of this version.
pub fn read(store: &dyn Store) -> Result<Option<Description>, Error> {
    match store.get(keys::LAKE) {
        Ok(bytes) => Description::decode(&bytes).map(Some),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the lake, unless there is one. Safe to repeat, and safe for several at once: all get the same lake.
///
/// # Errors
/// As [`read`].
pub fn make(warehouse: &dyn Store, new: &Description) -> Result<Made, Error> {
    if let Some(description) = read(warehouse)? {
        return Ok(Made { description, is_new: false });
    }
    let bytes = new.encode();
    let created = warehouse.create(keys::LAKE, &bytes, &sha256(&bytes));
    match (created, read(warehouse)?) {
        // The id is random: this one was made here, even if the answer was lost.
        (_, Some(description)) => Ok(Made { is_new: description.lake.id == new.lake.id, description }),
        (Err(error), None) => Err(error.into()),
        (Ok(()), None) => {
            let why = "the store has confirmed its creation, and does not find it".to_owned();
            Err(Error::Description { key: keys::LAKE.to_owned(), why })
        }
    }
}

/// Checks that the manifests are the lake's. If they are no lake's yet, `may_mark` makes them this one's: only where the
/// operator has said that these are its manifests, since an empty place may be one that is not mounted.
///
/// # Errors
/// They belong to another lake, or to none; or as [`read`].
pub fn check_manifests(manifests: &dyn Store, own: &Description, may_mark: bool) -> Result<(), Error> {
    let found = match read(manifests)? {
        Some(found) => found,
        None if may_mark => make(manifests, own)?.description,
        None => return Err(Error::ManifestsUnmarked { lake: own.lake.id }),
    };
    let (found, expected) = (found.lake.id, own.lake.id);
    if found == expected { Ok(()) } else { Err(Error::ManifestsOfAnother { found, expected }) }
}
