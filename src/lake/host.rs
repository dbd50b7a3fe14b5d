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
//! - *Look first*: what an append of unknown outcome may have claimed is not claimed again before the caller has looked.
//! - Every step may fail, and be interrupted for ever, at any request: calling the same again goes on.

mod ends;
mod fate;
mod forget;
mod help;
mod ingest;
mod operate;
mod packs;
mod unsure;
mod upload;
mod uploads;
mod who;
mod whole;

use std::collections::BTreeSet;
use std::time::Duration;

use self::fate::Fates;
pub use self::fate::{Claimed, Fate, Ingested, Outcome};
pub use self::forget::Age;
use self::packs::Packs;
use self::unsure::Unsure;
use self::uploads::{Uploads, names};
pub use self::whole::Whole;
use super::clock::Clock;
use super::entry::{Entry, Header};
use super::error::Error;
use super::format::Lake;
use super::log::Appended;
use super::parts::Cut;
use super::progress::{Journal, Progress, Step};
use super::publish::{AtHand, Stores};
use super::read::Read;
use super::shard::Shard;
use super::start::start_with;
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
    /// The SHA-256 of each part of a large content, as [`Cut::USUAL`] cuts it, from the read that gave its own. Without
    /// them the host reads the content once more before it uploads it.
    pub parts: Option<Vec<Sha256>>,
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

    /// Reads bytes of the content from `offset` into the buffer, and returns how many; 0 only at the content's end. Called
    /// for large contents, from several threads.
    fn read_at(&self, content: &Sha256, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.bytes(content).ok_or(std::io::ErrorKind::NotFound)?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }
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
    uploads: Uploads,
    cut: Cut,
    /// A finished entry that was asked for.
    recent: Option<Entry>,
    /// Entries that this process has written and not tried to finish yet, by shard and number: everything of them is
    /// missing.
    fresh: BTreeSet<(usize, u64)>,
    unsure: Unsure,
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
        let (packs, uploads) = (Packs::of(progress), Uploads::of(progress));
        let (serial, cut, recent, fresh, unsure) = (0, Cut::USUAL, None, BTreeSet::new(), Unsure::default());
        Host { stores, lake, id, serial, clock, journal, shards, packs, uploads, cut, recent, fresh, unsure }
    }

    /// Cuts large contents in another way from now on. Uploads that were begun before must have been cut in the same way.
    pub fn cut(&mut self, cut: Cut) {
        self.cut = cut;
    }

    /// True for a content of so many bytes that is uploaded in parts.
    pub fn is_large(&self, size: u64) -> bool {
        self.cut.is_large(size)
    }

    /// Begins with the newest checkpoints, before anything is read. A host may do without.
    pub fn start(&mut self) -> Result<(), Error> {
        let (now, flight, store) = (self.clock.steady(), self.stores.flight.as_ref(), self.stores.warehouse.as_ref());
        let is_ours = |entry: &Entry| is_ours(entry, &self.id, &self.packs, &self.uploads);
        let numbers = self.shards.iter().map(|shard| shard.log.shard());
        let started = numbers.map(|number| start_with(flight, store, &self.lake, number, now, &is_ours));
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
        let is_ours = |entry: &Entry| is_ours(entry, &self.id, &self.packs, &self.uploads);
        let (flight, store) = (self.stores.flight.as_ref(), self.stores.warehouse.as_ref());
        self.shards[shard].read_with(flight, store, now, &is_ours)
    }

    /// Fails if a log goes on behind its end: at a start, after [`Host::read`].
    pub fn check_ends(&mut self) -> Result<(), Error> {
        let (store, flight) = (self.stores.warehouse.as_ref(), self.stores.flight.as_ref());
        self.shards.iter_mut().try_for_each(|shard| shard.check_beyond(store, flight))
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

    /// The generation that a claim of this content would have, as far as this host has read; None if it is claimed.
    pub fn next_generation(&self, content: &Sha256) -> Option<u32> {
        self.shards[self.shard_of(content)].contents.next_generation(content)
    }

    /// True if the entry is finished, as far as this host has read; whatever became of its contents since.
    pub fn is_finished(&self, shard: u16, entry: u64) -> bool {
        let shard = self.shards.get(usize::from(shard));
        shard.is_some_and(|shard| entry < shard.log.next() && shard.unfinished.get(entry).is_none())
    }

    /// The source of this content waits for its line: the entry is looked at soon, if it is another host's.
    pub fn wants(&mut self, content: &Sha256) {
        let (now, shard) = (self.clock.steady(), self.shard_of(content));
        let shard = &mut self.shards[shard];
        if let Some(known) = shard.contents.get(content) {
            shard.unfinished.wants(known.entry, now);
        }
    }

    /// The time by this host's steady clock.
    pub fn now(&self) -> Duration {
        self.clock.steady()
    }

    /// When [`Host::ingest`] may be called next, by the clock's steady time: earlier calls make hosts lose slots to each
    /// other, and nothing else. `is_full`: what waits fills an entry.
    pub fn next_entry_at(&self, is_full: bool) -> Duration {
        let now = self.clock.steady();
        self.shards.iter().map(|shard| shard.pace.next_entry_at(now, is_full)).max().unwrap_or(now)
    }

    /// When a host that has nothing to do calls [`Host::read`] next, by the clock's steady time.
    pub fn idle_read_at(&self) -> Duration {
        self.shards.iter().map(|shard| shard.pace.idle_read_at()).min().unwrap_or_default()
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
        let (bytes, store, begin) = (entry.encode(), self.stores.warehouse.as_ref(), self.clock.steady());
        entry.check().map_err(|why| Error::Malformed { key: self.shards[shard].log.slot(), why })?;
        let appended = self.shards[shard].log.append(store, self.clock.as_ref(), &bytes);
        let appended = appended.inspect_err(|_| self.unsure.add(shard, entry))?;
        let (now, pace) = (self.clock.steady(), &mut self.shards[shard].pace);
        if appended == Appended::Ours {
            pace.spread(self.clock.random()[0]);
            pace.appended(now, now.saturating_sub(begin));
            self.shards[shard].take(store, Read::encoded(entry, &bytes), now, &|_| true)?;
            // While nothing else was read. If it fails, it is tried again with the next help.
            match self.shards[shard].write_checkpoint(store) {
                Err(error) if error.is_damage() => return Err(error),
                _ => {}
            }
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
fn is_ours(entry: &Entry, host: &[u8; 16], packs: &Packs, uploads: &Uploads) -> bool {
    entry.header.host == *host
        || entry.packs().iter().any(|pack| packs.has(pack))
        || names(entry, &|id| uploads.has(id))
}
