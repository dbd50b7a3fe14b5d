//! What operators and programs do to a lake now and then: skip, upgrade, clean.
//!
//! Invariants:
//! - Only an entry that stops its shard is skipped, and only the bytes that were looked at.
//! - A pack is removed as a leftover only when no entry can name it any more: the log is so long that an entry that named
//!   it would be refused, and all entries that name it are finished. No clock is needed for that.

use std::collections::BTreeSet;

use super::Host;
use crate::lake::bytes::sha256;
use crate::lake::entry::{Body, Entry};
use crate::lake::error::Error;
use crate::lake::keys;
use crate::lake::log::Appended;
use crate::lake::shard::skip;
use crate::lake::start;
use crate::limits::{LAKE_CHECKPOINTS_KEPT, LAKE_CLEAN_PAGES_MAX};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Packs that no entry needs.
    pub packs: u64,
    /// Pieces of checkpoints that newer ones replace.
    pub checkpoints: u64,
}

impl Host {
    /// Decides for all hosts that this entry, at which its shard stops, does not count. Reads the shard first.
    ///
    /// # Errors
    /// [`Error::NotSkipped`] if the shard does not stop there, or if there is a mark for other bytes.
    pub fn skip(&mut self, shard: u16, entry: u64) -> Result<(), Error> {
        let place = usize::from(shard);
        let key = keys::slot(shard, entry);
        let refused = |why| Error::NotSkipped { key: key.clone(), why };
        if place >= self.shards.len() {
            return Err(refused("there is no such shard"));
        }
        match self.read_shard(place) {
            Err(Error::Malformed { .. }) => {}
            read => return read.and(Err(refused("the shard does not stop there"))),
        }
        if self.shards[place].log.next() != entry {
            return Err(refused("the shard stops at another entry"));
        }
        let store = self.stores.warehouse.as_ref();
        skip(store, shard, entry, &sha256(&store.get(&key)?))?;
        // Proves that the shard goes on, unless a further entry stops it.
        match self.read_shard(place) {
            Err(Error::Malformed { key: stops, .. }) if stops != key => Ok(()),
            read => read,
        }
    }

    /// Lets entries have this format from now on: programs that do not know it stop, this one among them. Shards that were
    /// upgraded before are left as they are.
    pub fn upgrade(&mut self, version: u16) -> Result<(), Error> {
        for shard in 0..self.shards.len() {
            loop {
                match self.read_shard(shard) {
                    Err(Error::Newer { .. }) => break,
                    read => read?,
                }
                let entry = Entry { header: self.header(shard), body: Body::Upgrade(version) };
                match self.append(shard, &entry) {
                    Ok(Appended::Theirs) => {}
                    Ok(Appended::Ours) | Err(Error::Newer { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Removes what dead hosts have left, and old checkpoints, as far as `may` agrees to a key. Reads the logs first; one
    /// that cannot be read is left alone, and the first error is returned. It never removes what is needed, whatever `may`
    /// says; `may` may ask for the object's age, out of politeness.
    pub fn clean(&mut self, may: &dyn Fn(&str) -> bool) -> Result<Cleaned, Error> {
        let (mut cleaned, mut first) = (Cleaned::default(), None);
        for shard in 0..self.shards.len() {
            let mut clean = || {
                self.read_shard(shard)?;
                cleaned.packs += self.clean_packs(shard, may)?;
                cleaned.checkpoints += self.clean_checkpoints(shard, may)?;
                Ok(())
            };
            first = first.or(clean().err());
        }
        first.map_or(Ok(cleaned), Err)
    }

    fn clean_packs(&mut self, shard: usize, may: &dyn Fn(&str) -> bool) -> Result<u64, Error> {
        let (shard, store) = (&self.shards[shard], self.stores.warehouse.as_ref());
        let (prefix, mut after, mut removed) = (keys::packs(shard.log.shard()), String::new(), 0);
        for _ in 0..LAKE_CLEAN_PAGES_MAX {
            let page = store.list(&prefix, &after)?;
            let Some(last) = page.last().cloned() else { break };
            for key in page {
                if keys::pack_place(&key).is_none() {
                    continue;
                }
                // Keys are in the order in which packs were made.
                if shard.is_fresh(&key, shard.log.next()) {
                    return Ok(removed);
                }
                let is_needed = shard.unfinished.iter().any(|entry| entry.packs().contains(&key));
                if !is_needed && may(&key) {
                    store.delete(&key)?;
                    self.packs.remove(&key);
                    removed += 1;
                }
            }
            after = last;
        }
        Ok(removed)
    }

    fn clean_checkpoints(&mut self, shard: usize, may: &dyn Fn(&str) -> bool) -> Result<u64, Error> {
        let (number, store) = (self.shards[shard].log.shard(), self.stores.warehouse.as_ref());
        let places: BTreeSet<u64> = start::places(store, number)?.into_iter().collect();
        let Some(oldest) = places.iter().rev().nth(LAKE_CHECKPOINTS_KEPT - 1) else { return Ok(0) };
        let (prefix, end, mut removed) = (keys::checkpoints(number), keys::checkpoint(number, *oldest), 0);
        let mut after = String::new();
        for _ in 0..LAKE_CLEAN_PAGES_MAX {
            let page = store.list(&prefix, &after)?;
            let Some(last) = page.last().cloned() else { break };
            for key in page.into_iter().filter(|key| *key < end && may(key)) {
                store.delete(&key)?;
                removed += 1;
            }
            if last >= end {
                break;
            }
            after = last;
        }
        Ok(removed)
    }
}
