//! What has to be done with an entry after it was created: its data objects, its manifest objects, and the end of its
//! packs. Anybody may do it, several at once and again: all keys and all bytes are the entry's.
//!
//! Invariants:
//! - *The key is the entry's*: nothing here chooses a key.
//! - *Data before line*: [`lines`] takes the proof that all data objects are there ([`Published`]).
//! - *Pack until line*: [`clean_up`] takes the proof that all manifest objects are there ([`Listed`]).
//! - An object counts as there if the store confirmed its creation, or reports this size and this SHA-256. An object
//!   that differs is never overwritten: the entry stays unfinished.
//! - Bytes are checked against their SHA-256 before they are published.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::sha256;
use super::entry::{Claim, Entry, Place};
use super::error::Error;
use super::keys;
use super::pack;
use crate::store::{Head, Kind, Store};
use crate::types::Sha256;

/// The stores of a lake: each sees keys below its own prefix.
pub struct Stores {
    /// Data objects, and the lake's own.
    pub warehouse: Arc<dyn Store>,
    /// Manifest objects.
    pub manifests: Arc<dyn Store>,
}

/// Bytes that this host has at hand, so that they need not come from a pack.
pub trait AtHand {
    /// The content with this SHA-256. It is checked by whoever asks.
    fn bytes(&self, content: &Sha256) -> Option<Vec<u8>>;
}

/// Proof that every data object of an entry is there.
#[derive(Debug)]
pub struct Published<'a>(&'a Entry);

/// Proof that every manifest object of an entry is there: it is finished.
#[derive(Debug)]
pub struct Listed<'a>(&'a Entry);

/// The manifest objects of an entry, by key: a pure function of the entry.
pub fn manifests(entry: &Entry) -> BTreeMap<String, Vec<u8>> {
    let mut objects: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for claim in entry.claims() {
        let hour = claim.ingested_at.hour_partition();
        let key = keys::manifest(&hour, entry.header.shard, entry.header.number);
        let lines = objects.entry(key).or_default();
        lines.extend_from_slice(&claim.line);
        lines.push(b'\n');
    }
    objects
}

/// Reads whether the entry is finished.
pub fn look<'a>(stores: &Stores, entry: &'a Entry) -> Result<Option<Listed<'a>>, Error> {
    for (key, bytes) in manifests(entry) {
        let expected = Head { size: bytes.len() as u64, sha256: Some(sha256(&bytes)) };
        if !is_there(stores.manifests.as_ref(), entry, &key, &expected)? {
            return Ok(None);
        }
    }
    Ok(Some(Listed(entry)))
}

/// Creates the data objects that are missing. Goes on after an error, and returns the first.
pub fn data<'a>(stores: &Stores, entry: &'a Entry, at_hand: &dyn AtHand) -> Result<Published<'a>, Error> {
    let mut publisher = Publisher { store: stores.warehouse.as_ref(), entry, at_hand, packs: BTreeMap::new() };
    let mut first = None;
    for claim in entry.claims() {
        if let Err(error) = publisher.publish(claim) {
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(Published(entry)), Err)
}

/// Creates the manifest objects that are missing.
pub fn lines<'a>(stores: &Stores, published: &Published<'a>) -> Result<Listed<'a>, Error> {
    let entry = published.0;
    for (key, bytes) in manifests(entry) {
        let sha256 = sha256(&bytes);
        let Err(error) = stores.manifests.create(&key, &bytes, &sha256) else { continue };
        let expected = Head { size: bytes.len() as u64, sha256: Some(sha256) };
        if !is_there(stores.manifests.as_ref(), entry, &key, &expected)? {
            return Err(error.into());
        }
    }
    Ok(Listed(entry))
}

/// Deletes the packs of a finished entry. Uploads are gone when they are completed.
pub fn clean_up(stores: &Stores, listed: &Listed<'_>) -> Result<(), Error> {
    listed.0.packs().iter().try_for_each(|key| Ok(stores.warehouse.delete(key)?))
}

/// True if the object is there; [`Error::Foreign`] if another one is.
fn is_there(store: &dyn Store, entry: &Entry, key: &str, expected: &Head) -> Result<bool, Error> {
    match store.head(key) {
        Ok(found) if found == *expected => Ok(true),
        Ok(_) => {
            let (shard, entry) = (entry.header.shard, entry.header.number);
            Err(Error::Foreign { key: key.to_owned(), shard, entry })
        }
        Err(error) if error.kind == Kind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

struct Publisher<'a> {
    store: &'a dyn Store,
    entry: &'a Entry,
    at_hand: &'a dyn AtHand,
    /// Packs that were read; None for one that does not exist.
    packs: BTreeMap<usize, Option<Vec<u8>>>,
}

impl Publisher<'_> {
    fn publish(&mut self, claim: &Claim) -> Result<(), Error> {
        let expected = Head { size: claim.size, sha256: Some(claim.sha256) };
        let failed = match &claim.bytes {
            Place::Pack { pack, offset } => self.create(claim, usize::from(*pack), *offset)?,
            Place::Upload { id, parts } => {
                // A store may replace an object by a completed upload.
                if is_there(self.store, self.entry, &claim.key, &expected)? {
                    return Ok(());
                }
                self.store.complete(&claim.key, id, parts).err().map(|error| match error.kind {
                    Kind::NotFound => Error::BytesMissing { key: claim.key.clone() },
                    _ => error.into(),
                })
            }
        };
        let Some(error) = failed else { return Ok(()) };
        let is_there = is_there(self.store, self.entry, &claim.key, &expected)?;
        if is_there { Ok(()) } else { Err(error) }
    }

    /// Creates a data object from bytes. Returns the error after which the key has to be looked at.
    fn create(&mut self, claim: &Claim, pack: usize, offset: u64) -> Result<Option<Error>, Error> {
        let at_hand = self.at_hand.bytes(&claim.sha256);
        let at_hand = at_hand.filter(|bytes| bytes.len() as u64 == claim.size && sha256(bytes) == claim.sha256);
        let bytes = match at_hand {
            Some(bytes) => bytes,
            None => match self.pack(pack)?.and_then(|pack| pack::content(pack, offset, claim.size, &claim.sha256)) {
                Some(bytes) => bytes.to_vec(),
                None => return Ok(Some(Error::BytesMissing { key: claim.key.clone() })),
            },
        };
        Ok(self.store.create(&claim.key, &bytes, &claim.sha256).err().map(Error::from))
    }

    /// The bytes of a pack; None if it is gone.
    fn pack(&mut self, index: usize) -> Result<Option<&[u8]>, Error> {
        if !self.packs.contains_key(&index) {
            let Some(key) = self.entry.packs().get(index) else { return Ok(None) };
            let bytes = match self.store.get(key) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind == Kind::NotFound => None,
                Err(error) => return Err(error.into()),
            };
            self.packs.insert(index, bytes);
        }
        Ok(self.packs.get(&index).and_then(Option::as_deref))
    }
}
