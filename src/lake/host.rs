//! One host of a lake: it takes contents, and brings each of them into the warehouse exactly once, or finds that somebody
//! else does.
//!
//! Invariants:
//! - *Bytes before claim*: an entry is appended after the store confirmed its pack.
//! - *Unclaimed only*, *once*: a claim is made for a content that no entry names, as read up to the slot before; a slot
//!   that somebody else got is read, and what it names is taken out.
//! - A pack of which nothing was claimed is deleted when every content of it is claimed, in the generation for which it
//!   was packed, by an entry that was read, and no unfinished entry names the pack: an entry that names it can then never
//!   appear, not even one that is still under way.
//! - Every step may fail, and be interrupted for ever, at any request: calling the same again goes on.

mod forget;
mod help;
mod ingest;
mod packs;

use std::collections::BTreeSet;
use std::time::Duration;

use self::packs::Packs;
use super::clock::Clock;
use super::entry::{Entry, Header};
use super::error::Error;
use super::format::Lake;
use super::log::Appended;
use super::progress::{Journal, Progress, Step};
use super::publish::{AtHand, Stores};
use super::shard::Shard;
use super::start::start;
use crate::types::{Sha256, UnixMillis};

/// A content that waits in staging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// Its directory in the warehouse.
    pub partition: String,
    /// Its name in staging.
    pub name: Vec<u8>,
    /// When it is ingested.
    pub ingested_at: UnixMillis,
}

/// What the entry decides about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided<'a> {
    /// The data object's key, below the warehouse.
    pub key: &'a str,
    /// How often the content was forgotten before.
    pub generation: u32,
    /// A number that no other line of the lake has.
    pub id: u64,
}

/// The files that wait, with their bytes and lines.
pub trait Staging: AtHand {
    /// The manifest line of a content, without its end: not empty, one line.
    fn line(&self, content: &Content, decided: &Decided<'_>) -> Vec<u8>;
}

/// How far a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has claimed it, as far as this host has read.
    New,
    /// An entry claims it.
    Claimed,
    /// Its line is there: its source may be removed.
    Listed,
}

/// The result of [`Host::ingest`] for one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// An entry claims what was new.
    Claimed(u64),
    /// There was nothing new.
    Nothing,
    /// Too many entries are unfinished: these come first.
    Busy,
}

/// Who brings a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The content's shard.
    pub shard: u16,
    /// The entry.
    pub entry: u64,
    /// The data object's key.
    pub key: String,
    /// The manifest line.
    pub line: Vec<u8>,
}

/// A host.
pub struct Host {
    stores: Stores,
    lake: Lake,
    id: [u8; 16],
    serial: u64,
    clock: Box<dyn Clock>,
    journal: Box<dyn Journal>,
    shards: Vec<Shard>,
    packs: Packs,
    /// Entries that this process has written and not tried to finish yet, by shard and number: everything of them is
    /// missing.
    fresh: BTreeSet<(usize, u64)>,
}

impl Host {
    /// A host that knows nothing of the log yet; `progress` is what its journal holds, oldest first.
    pub fn new(
        stores: Stores,
        lake: Lake,
        id: [u8; 16],
        clock: Box<dyn Clock>,
        journal: Box<dyn Journal>,
        progress: &[Progress],
    ) -> Host {
        let shards = (0..lake.shards).map(|shard| Shard::new(&lake, shard)).collect();
        Host { stores, lake, id, serial: 0, clock, journal, shards, packs: Packs::of(progress), fresh: BTreeSet::new() }
    }

    /// Begins with the newest checkpoints, before anything is read. A host may do without.
    pub fn start(&mut self) -> Result<(), Error> {
        let (now, store) = (self.clock.steady(), self.stores.warehouse.as_ref());
        let is_ours = |entry: &Entry| is_ours(entry, &self.id, &self.packs);
        let started = self.shards.iter().map(|shard| start(store, &self.lake, shard.log.shard(), now, &is_ours));
        self.shards = started.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Reads all logs to their ends. One that cannot be read does not keep the others from being read; the first error
    /// is returned.
    pub fn read(&mut self) -> Result<(), Error> {
        let results: Vec<_> = (0..self.shards.len()).map(|shard| self.read_shard(shard)).collect();
        results.into_iter().collect()
    }

    fn read_shard(&mut self, shard: usize) -> Result<(), Error> {
        let now = self.clock.steady();
        let is_ours = |entry: &Entry| is_ours(entry, &self.id, &self.packs);
        self.shards[shard].read(self.stores.warehouse.as_ref(), now, &is_ours)
    }

    /// Fails if a log goes on behind its end: at a start, after [`Host::read`].
    pub fn check_ends(&mut self) -> Result<(), Error> {
        let store = self.stores.warehouse.as_ref();
        self.shards.iter_mut().try_for_each(|shard| shard.check_beyond(store))
    }

    /// How far a content is, as far as this host has read.
    pub fn state(&self, content: &Sha256) -> State {
        let shard = &self.shards[self.shard_of(content)];
        match shard.contents.next_generation(content) {
            Some(_) => State::New,
            None if shard.is_listed(content) => State::Listed,
            None => State::Claimed,
        }
    }

    /// The source of this content waits for its line: the entry is looked at soon, if it is another host's.
    pub fn wants(&mut self, content: &Sha256) {
        let (now, shard) = (self.clock.steady(), self.shard_of(content));
        let shard = &mut self.shards[shard];
        if let Some(known) = shard.contents.get(content) {
            shard.unfinished.wants(known.entry, now);
        }
    }

    /// This host's clock.
    pub fn now(&self) -> Duration {
        self.clock.steady()
    }

    /// When this host may make its next entry.
    pub fn next_entry_at(&self) -> Duration {
        Duration::ZERO
    }

    /// When the log should be read again.
    pub fn idle_read_at(&self) -> Duration {
        Duration::ZERO
    }

    /// The entry that claims this content, and its line.
    pub fn claim_of(&self, content: &Sha256) -> Result<Option<Claimed>, Error> {
        let shard = &self.shards[self.shard_of(content)];
        let Some(known) = shard.contents.get(content).filter(|known| !known.is_forgotten) else { return Ok(None) };
        let number = shard.log.shard();
        let read = match shard.unfinished.get(known.entry) {
            Some(entry) => entry.clone(),
            None => {
                let key = super::keys::slot(number, known.entry);
                let bytes = self.stores.warehouse.get(&key)?;
                Entry::decode(&bytes).map_err(|_| Error::Malformed { key, why: "it has changed since it was read" })?
            }
        };
        let claim = read.claims().iter().find(|claim| claim.sha256 == *content);
        Ok(claim.map(|claim| Claimed {
            shard: number,
            entry: known.entry,
            key: claim.key.clone(),
            line: claim.line.clone(),
        }))
    }

    /// True if everything that this host has read is finished.
    pub fn is_idle(&self) -> bool {
        self.shards.iter().all(|shard| shard.unfinished.iter().next().is_none())
    }

    /// What this host knows of each shard.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    fn shard_of(&self, content: &Sha256) -> usize {
        usize::from(self.lake.shard_of(content))
    }

    /// The place of the next entry of a shard.
    fn header(&mut self, shard: usize) -> Header {
        self.serial += 1;
        let Host { lake, id, serial, .. } = *self;
        let shard = &self.shards[shard];
        let (number, predecessor) = (shard.log.next(), shard.log.chain());
        let floor = shard.unfinished.floor(number);
        Header { lake: lake.id, shard: shard.log.shard(), number, predecessor, floor, host: id, serial }
    }

    /// Appends an entry and takes it, if its slot is still free. Otherwise the log has to be read.
    fn append(&mut self, shard: usize, entry: &Entry) -> Result<Appended, Error> {
        let (bytes, store) = (entry.encode(), self.stores.warehouse.as_ref());
        let appended = self.shards[shard].log.append(store, self.clock.as_ref(), &bytes)?;
        if appended == Appended::Ours {
            self.shards[shard].take(store, &bytes, self.clock.steady(), &|_| true)?;
        }
        Ok(appended)
    }

    /// Notes a step of all contents of an entry.
    fn note(&mut self, entry: &Entry, step: &Step) -> Result<(), Error> {
        let note = |claim: &super::entry::Claim| Progress {
            content: claim.sha256,
            generation: claim.generation,
            step: step.clone(),
        };
        self.journal.note(&entry.claims().iter().map(note).collect::<Vec<_>>())
    }
}

/// True for an entry that this host wrote, in this life or another.
fn is_ours(entry: &Entry, host: &[u8; 16], packs: &Packs) -> bool {
    entry.header.host == *host || entry.packs().iter().any(|pack| packs.has(pack))
}
