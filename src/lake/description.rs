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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use crate::lake::format::{Lake, LakeId};
    use crate::store::sim::{Faults, SimStore};

    fn described(id: u8) -> Description {
        let lake = Lake { id: LakeId([id; 16]), shards: 1, checkpoint_entries: 1 };
        Description { lake, manifests: None }
    }

    #[test]
    fn a_lake_is_made_once_whoever_tries() {
        let store = SimStore::new(1, Faults::NONE);
        assert_eq!(read(&store), Ok(None));
        assert_eq!(make(&store, &described(1)), Ok(Made { description: described(1), is_new: true }));
        assert_eq!(make(&store, &described(2)), Ok(Made { description: described(1), is_new: false }));
    }

    /// Another host makes the lake before the first, the second or the third request of this one.
    #[test]
    fn of_two_hosts_that_make_a_lake_at_once_one_wins() {
        for at in 0..3 {
            let (store, requests) = (SimStore::new(1, Faults::NONE), AtomicU8::new(0));
            let other = store.clone();
            let gated = store.gated(Arc::new(move || {
                if requests.fetch_add(1, Ordering::Relaxed) == at {
                    assert_eq!(make(&other, &described(2)).map(|made| made.is_new), Ok(at < 2));
                }
            }));
            let made = make(&gated, &described(1));
            let winner = if at < 2 { 2 } else { 1 };
            assert_eq!(made, Ok(Made { description: described(winner), is_new: at == 2 }), "before request {at}");
            assert_eq!(read(&store), Ok(Some(described(winner))));
        }
    }

    /// An answer that is lost is no reason to fail, nor to take one's own lake for another host's.
    #[test]
    fn a_lost_answer_does_not_matter() {
        let mut made_by_this = 0;
        for seed in 0..200 {
            let store = SimStore::new(seed, Faults { unanswered: 300, ..Faults::NONE });
            let result = make(&store, &described(1));
            store.set_faults(Faults::NONE);
            let Ok(made) = result else { continue };
            assert_eq!(made, Made { description: described(1), is_new: true }, "seed {seed}");
            made_by_this += 1;
        }
        assert!(made_by_this > 40, "{made_by_this}");
    }
}
