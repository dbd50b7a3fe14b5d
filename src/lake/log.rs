//! The log of one shard, as a host reads and continues it.
//!
//! Invariants:
//! - *Chain*: an entry is taken only if it holds the SHA-256 of the one before it, this lake's id, and its own place. A
//!   wrong one means that entries were replaced or removed, or that the store let two hosts create one slot: nothing is
//!   written after that.
//! - *Contiguous*: entries are created in the slot behind the last one that was taken, and nowhere else.
//! - *Compare bytes*: after any answer but success the slot is read. An empty slot gets the same bytes again, after a
//!   pause; never the next slot.
//! - *Slots are kept*: nothing here deletes.

use super::bytes::sha256;
use super::clock::Clock;
use super::entry::Entry;
use super::error::Error;
use super::flight::{Flight, gather};
use super::format::LakeId;
use super::keys;
use super::read::Read;
use crate::limits::{LAKE_ENTRIES_MAX, LAKE_READ_AHEAD, LAKE_TRIES_MAX, LAKE_TRY_PAUSE};
use crate::store::{Kind, Store};
use crate::types::Sha256;

/// How far a log has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    lake: LakeId,
    shard: u16,
    next: u64,
    chain: Sha256,
}

/// Whose entry is in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The one that was to be appended.
    Ours,
    /// Another one, which is to be read.
    Theirs,
}

impl Log {
    /// A log of which nothing has been read.
    pub fn new(lake: LakeId, shard: u16) -> Log {
        Log { lake, shard, next: 0, chain: Sha256([0; 32]) }
    }

    /// A log that has been read up to `next`; `chain` is the SHA-256 of the last entry before that.
    pub fn at(lake: LakeId, shard: u16, next: u64, chain: Sha256) -> Log {
        Log { lake, shard, next, chain }
    }

    /// The lake.
    pub fn lake(&self) -> LakeId {
        self.lake
    }

    /// The shard.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The SHA-256 of the last entry.
    pub fn chain(&self) -> Sha256 {
        self.chain
    }

    /// The slot of the next entry.
    pub fn slot(&self) -> String {
        keys::slot(self.shard, self.next)
    }

    /// The bytes of the next entry; None at the end of the log.
    pub fn look(&self, store: &dyn Store) -> Result<Option<Vec<u8>>, Error> {
        match store.get(&self.slot()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Up to `count` entries from the next one on, read at once, up to the first that is missing.
    pub fn look_ahead(&self, store: &dyn Store, flight: &dyn Flight, count: u64) -> Result<Vec<Read>, Error> {
        let count = usize::try_from(count.min(LAKE_READ_AHEAD)).unwrap_or(1);
        let at = |number| Log { next: self.next + number as u64, ..self.clone() };
        let read = |number| Ok(at(number).look(store)?.map(|bytes| Read::of(&bytes)));
        let all = gather(flight, count, count, &read);
        let mut found = Vec::with_capacity(count);
        for entry in all {
            match entry {
                Ok(Some(read)) => found.push(read),
                Ok(None) => break,
                Err(error) if found.is_empty() => return Err(error),
                // Those before it are a result, and the next look says what is wrong.
                Err(_) => break,
            }
        }
        Ok(found)
    }

    /// Checks that the entry is the next one of this log.
    pub fn check(&self, entry: &Entry) -> Result<(), Error> {
        let header = &entry.header;
        let why = if header.lake != self.lake {
            "it belongs to another lake"
        } else if header.shard != self.shard || header.number != self.next {
            "it belongs in another slot"
        } else if header.predecessor != self.chain {
            "its predecessor is another entry"
        } else {
            return Ok(());
        };
        Err(Error::Chain { key: self.slot(), why })
    }

    /// Goes behind the next entry; this is the SHA-256 of its bytes.
    pub fn advance(&mut self, sha256: Sha256) {
        self.chain = sha256;
        self.next += 1;
    }

    /// Creates the next entry. After [`Appended::Theirs`], and after an error, the slot has to be read again before
    /// anything is appended: after [`Error::Undecided`] the entry may be there, now or later.
    pub fn append(&self, store: &dyn Store, clock: &dyn Clock, bytes: &[u8]) -> Result<Appended, Error> {
        if self.next >= LAKE_ENTRIES_MAX {
            return Err(Error::Full(self.shard));
        }
        let (slot, digest) = (self.slot(), sha256(bytes));
        let mut pause = LAKE_TRY_PAUSE;
        for _ in 0..LAKE_TRIES_MAX {
            let Err(error) = store.create(&slot, bytes, &digest) else { return Ok(Appended::Ours) };
            match store.get(&slot) {
                Ok(found) if found == bytes => return Ok(Appended::Ours),
                Ok(_) => return Ok(Appended::Theirs),
                Err(_) if matches!(error.kind, Kind::Denied | Kind::Gone | Kind::Refused) => return Err(error.into()),
                Err(_) => {}
            }
            clock.pause(pause);
            pause *= 2;
        }
        Err(Error::Undecided { key: slot })
    }

    /// Finds the end of the log from `from`, an entry that is known to exist or 0, in some 2 log2(n) requests: the
    /// number of the first slot that is empty. Only where no slot is missing; see [`Log::check_beyond`].
    pub fn find_end(&self, store: &dyn Store, from: u64) -> Result<u64, Error> {
        let exists = |number| exists(store, &keys::slot(self.shard, number));
        let (mut there, mut step) = (from, 1);
        if !exists(from)? {
            return Ok(from);
        }
        let mut empty = loop {
            let number = from.saturating_add(step).min(LAKE_ENTRIES_MAX);
            if number == LAKE_ENTRIES_MAX || !exists(number)? {
                break number;
            }
            (there, step) = (number, step * 2);
        };
        while empty - there > 1 {
            let middle = there + (empty - there) / 2;
            if exists(middle)? {
                there = middle;
            } else {
                empty = middle;
            }
        }
        Ok(empty)
    }

    /// Probes the slots 1, 2, 4, … behind the end: one that exists behind a hole is damage.
    pub fn check_beyond(&self, store: &dyn Store, flight: &dyn Flight) -> Result<(), Error> {
        let behind = |power| 1_u64.checked_shl(power).and_then(|step| self.next.checked_add(step));
        let numbers = (0..u64::BITS).map_while(behind).take_while(|number| *number < LAKE_ENTRIES_MAX);
        let probed: Vec<String> = numbers.map(|number| keys::slot(self.shard, number)).collect();
        let all = gather(flight, probed.len(), probed.len(), &|at| exists(store, &probed[at]));
        for (key, there) in probed.into_iter().zip(all) {
            // Others may append meanwhile; a hole remains one.
            if there? && !exists(store, &self.slot())? {
                return Err(Error::Hole { key, empty: self.slot() });
            }
        }
        Ok(())
    }
}

/// True if there is an object at the key.
fn exists(store: &dyn Store, key: &str) -> Result<bool, Error> {
    match store.head(key) {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
