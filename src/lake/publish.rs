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
use super::flight::{Flight, Threads, gather};
use super::keys;
use super::pack;
use crate::limits::LAKE_IN_FLIGHT;
use crate::store::{Head, Kind, Part, Store};
use crate::types::Sha256;

/// The stores of a lake: each sees keys below its own prefix.
pub struct Stores {
    /// Data objects, and the lake's own.
    pub warehouse: Arc<dyn Store>,
    /// Manifest objects.
    pub manifests: Arc<dyn Store>,
    /// How several requests are made at once.
    pub flight: Box<dyn Flight>,
}

impl Stores {
    /// Stores whose requests are made from several threads at once.
    pub fn new(warehouse: Arc<dyn Store>, manifests: Arc<dyn Store>) -> Stores {
        Stores { warehouse, manifests, flight: Box::new(Threads) }
    }
}

/// Bytes that this host has at hand, so that they need not come from a pack.
pub trait AtHand: Sync {
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

/// Creates the data objects that are missing, several at once. Goes on after an error, and returns the first.
pub fn data<'a>(stores: &Stores, entry: &'a Entry, at_hand: &dyn AtHand) -> Result<Published<'a>, Error> {
    let publisher = Publisher { store: stores.warehouse.as_ref(), entry, at_hand };
    let (claims, flight) = (entry.claims(), stores.flight.as_ref());
    let all = gather(flight, LAKE_IN_FLIGHT, claims.len(), &|number| publisher.publish(&claims[number]));
    // What is not at hand comes from its pack; one pack is in memory at a time.
    let (mut first, mut missing): (_, BTreeMap<u8, Vec<(&Claim, u64)>>) = (None, BTreeMap::new());
    for (result, claim) in all.into_iter().zip(claims) {
        match (result, &claim.bytes) {
            (Ok(true), _) => {}
            (Ok(false), Place::Pack { pack, offset }) => missing.entry(*pack).or_default().push((claim, *offset)),
            (Ok(false), Place::Upload { .. }) => first = first.or_else(|| Some(publisher.bytes_missing(claim))),
            (Err(error), _) => first = first.or(Some(error)),
        }
    }
    for (pack, missing) in missing {
        let bytes = match publisher.pack(usize::from(pack)) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                first.get_or_insert(error);
                continue;
            }
        };
        let all = gather(flight, LAKE_IN_FLIGHT, missing.len(), &|number| {
            let (claim, offset) = missing[number];
            publisher.publish_from(claim, &bytes, offset)
        });
        first = first.or_else(|| all.into_iter().find_map(Result::err));
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
}

impl Publisher<'_> {
    /// Publishes a content that is at hand or uploaded. False if its bytes have to come from its pack.
    fn publish(&self, claim: &Claim) -> Result<bool, Error> {
        if let Place::Upload { id, parts } = &claim.bytes {
            self.complete(claim, id, parts)?;
            return Ok(true);
        }
        let bytes = self.at_hand.bytes(&claim.sha256);
        match bytes.filter(|bytes| bytes.len() as u64 == claim.size && sha256(bytes) == claim.sha256) {
            Some(bytes) => self.create(claim, &bytes).map(|()| true),
            None => Ok(false),
        }
    }

    /// Publishes a content of this pack.
    fn publish_from(&self, claim: &Claim, pack: &[u8], offset: u64) -> Result<(), Error> {
        match pack::content(pack, offset, claim.size, &claim.sha256) {
            Some(bytes) => self.create(claim, bytes),
            None if self.is_there(claim)? => Ok(()),
            None => Err(self.bytes_missing(claim)),
        }
    }

    fn create(&self, claim: &Claim, bytes: &[u8]) -> Result<(), Error> {
        let Err(error) = self.store.create(&claim.key, bytes, &claim.sha256) else { return Ok(()) };
        if self.is_there(claim)? { Ok(()) } else { Err(error.into()) }
    }

    /// Looks before, since a store may replace an object by a completed upload; and after, since the same request sent
    /// again is answered with success, refusal or error, by store.
    fn complete(&self, claim: &Claim, id: &str, parts: &[Part]) -> Result<(), Error> {
        if self.is_there(claim)? {
            return Ok(());
        }
        let completed = self.store.complete(&claim.key, id, parts);
        if self.is_there(claim)? {
            return Ok(());
        }
        match completed {
            Err(error) if error.kind != Kind::NotFound => Err(error.into()),
            _ => Err(self.bytes_missing(claim)),
        }
    }

    fn is_there(&self, claim: &Claim) -> Result<bool, Error> {
        let expected = Head { size: claim.size, sha256: Some(claim.sha256) };
        is_there(self.store, self.entry, &claim.key, &expected)
    }

    fn bytes_missing(&self, claim: &Claim) -> Error {
        Error::BytesMissing { key: claim.key.clone() }
    }

    /// The bytes of a pack; None if it is gone.
    fn pack(&self, index: usize) -> Result<Option<Vec<u8>>, Error> {
        let Some(key) = self.entry.packs().get(index) else { return Ok(None) };
        match self.store.get(key) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
