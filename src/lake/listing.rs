//! Listings of a store that have more than one page.
//!
//! Invariant: a listing is a hint, for stores may show it late: nothing that safety rests on uses one.

use crate::limits::LAKE_LISTED_PAGES_MAX;
use crate::store::{Result, Store};

/// Passes every key that begins with `prefix` to `see`, in order, until it returns false.
///
/// # Errors
/// The store fails.
pub fn each_key(store: &dyn Store, prefix: &str, see: &mut dyn FnMut(String) -> bool) -> Result<()> {
    let mut after = String::new();
    for _ in 0..LAKE_LISTED_PAGES_MAX {
        let page = store.list(prefix, &after)?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(last);
        if !page.into_iter().all(&mut *see) {
            return Ok(());
        }
    }
    Ok(())
}
