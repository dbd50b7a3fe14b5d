//! Refuses to start a journal with another `--identity` than the one that it has worked with.
//!
//! Invariant: it only reads.

use crate::Error;
use crate::journal::index::Index;
use crate::journal::record::{Identity, SameBy};
use crate::pipeline::places::Accepts;

/// Checks that two files are the same by what they were the same by until now. A journal without files takes any.
///
/// # Errors
/// They are not, and the operator has not accepted what follows from it.
pub(super) fn check(index: &Index, now: Identity, accepts: Accepts) -> Result<(), Error> {
    let known = index.identity().unwrap_or_default().same_by;
    let is_new = index.settings().is_none() && index.remembered() == 0;
    if known == now.same_by || is_new || accepts.identity {
        return Ok(());
    }
    let what_follows = match now.same_by {
        SameBy::NameAndContent => "each of them is ingested again under each name under which it is sent again",
        SameBy::Content => "each of them is ingested once more if it is sent again, under whatever name",
    };
    Err(Error::IdentityDiffers { known: known.text(), now: now.same_by.text(), what_follows })
}
