//! Whether an entry may be skipped: whether no host can read it.
//!
//! Invariant: only an entry that every host refuses as malformed may be. A good one never is: its contents would be lost.

use std::time::Duration;

use crate::lake::bytes::sha256;
use crate::lake::error::Error;
use crate::lake::format::Lake;
use crate::lake::keys;
use crate::lake::start::start;
use crate::store::{Kind, Store};
use crate::types::Sha256;

/// What an entry is to a host that reads the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examined {
    /// Every host stops here.
    Malformed {
        /// What is wrong with it.
        why: &'static str,
        /// Bytes of the object.
        size: u64,
        /// The SHA-256 of its bytes.
        sha256: Sha256,
    },
    /// An operator has skipped it.
    Skipped,
    /// It is a good entry.
    Good,
    /// There is no such entry, or an earlier one keeps it from being read: the number of the first that is not read.
    NotReached(u64),
}

/// Reads the log up to this entry, as a host does.
///
/// # Errors
/// The log is damaged, or the store fails.
pub fn examine(store: &dyn Store, lake: &Lake, shard: u16, number: u64) -> Result<Examined, Error> {
    let now = Duration::ZERO;
    let mut read = start(store, lake, shard, now, &|_| false)?;
    let slot = keys::slot(shard, number);
    match read.read(store, now, &|_| false) {
        Err(Error::Malformed { key, why }) if key == slot => {
            let bytes = store.get(&slot)?;
            return Ok(Examined::Malformed { why, size: bytes.len() as u64, sha256: sha256(&bytes) });
        }
        Ok(()) | Err(Error::Malformed { .. }) => {}
        Err(error) => return Err(error),
    }
    if number >= read.log.next() {
        return Ok(Examined::NotReached(read.log.next()));
    }
    match store.head(&keys::skip(shard, number)) {
        Ok(_) => Ok(Examined::Skipped),
        Err(error) if error.kind == Kind::NotFound => Ok(Examined::Good),
        Err(error) => Err(error.into()),
    }
}
