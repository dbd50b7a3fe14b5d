//! Entries of this host whose data objects are created while it makes the next entry.
//!
//! Invariants:
//! - Only an entry that is in its slot is published.
//! - There is one job at a time, with the requests at once that a host may have for data objects.
//! - The bytes of at most [`LAKE_PACK_BYTES_MAX`] wait for the next job, and as many are being published.
//! - A job is a shortcut: an entry whose job has failed, or was given up with its host, is finished as any other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Host;
use crate::lake::entry::{Entry, Place};
use crate::lake::error::Error;
use crate::lake::flight::Begun;
use crate::lake::pack;
use crate::lake::publish::{self, AtHand, PublishedEntry};
use crate::limits::{LAKE_BESIDE_LOOK, LAKE_PACK_BYTES_MAX};
use crate::types::Sha256;

/// Shard and number of an entry.
pub(super) type At = (usize, u64);

type Results = Vec<(At, Result<PublishedEntry, Error>)>;

#[derive(Default)]
pub(super) struct Beside {
    /// Entries that are appended now are kept for the next job.
    keeps: bool,
    kept: Vec<Kept>,
    under_way: Option<UnderWay>,
    /// What jobs have said of entries that were not attended to since.
    published: BTreeMap<At, Result<PublishedEntry, Error>>,
}

/// An entry with the bytes of its pack.
struct Kept {
    at: At,
    entry: Arc<Entry>,
    pack: Vec<u8>,
}

struct UnderWay {
    entries: BTreeSet<At>,
    job: Box<dyn Begun>,
    shared: Arc<Shared>,
}

/// What a job and its host share.
#[derive(Default)]
struct Shared {
    results: Mutex<Results>,
    /// Objects that the job has turned to.
    steps: AtomicU64,
    is_over: AtomicBool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// The contents of an entry in its pack.
struct Packed<'a> {
    places: HashMap<Sha256, (u64, u64)>,
    pack: &'a [u8],
    shared: &'a Shared,
}

impl AtHand for Packed<'_> {
    fn bytes(&self, content: &Sha256) -> Option<Vec<u8>> {
        self.shared.steps.fetch_add(1, Ordering::Relaxed);
        let (offset, size) = *self.places.get(content)?;
        pack::content(self.pack, offset, size, content).map(<[u8]>::to_vec)
    }

    fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Relaxed)
    }
}

impl Kept {
    fn publish(self, stores: &publish::Stores, shared: &Shared) {
        let place = |claim: &crate::lake::entry::Claim| match claim.bytes {
            Place::Pack { offset, .. } => Some((claim.sha256, (offset, claim.size))),
            Place::Upload { .. } => None,
        };
        let places = self.entry.claims().iter().filter_map(place).collect();
        let published = publish::data_of(stores, self.entry, &Packed { places, pack: &self.pack, shared });
        shared.results.lock().unwrap_or_else(PoisonError::into_inner).push((self.at, published));
    }
}

impl Beside {
    /// Takes over an entry that was just appended, with the bytes of its pack, if they are wanted and there is room.
    pub(super) fn keep(&mut self, at: At, entry: &Entry, pack: Vec<u8>) {
        let bytes: usize = self.kept.iter().map(|kept| kept.pack.len()).sum();
        if self.keeps && (bytes + pack.len()) as u64 <= LAKE_PACK_BYTES_MAX {
            self.kept.push(Kept { at, entry: Arc::new(entry.clone()), pack });
        }
    }

    pub(super) fn is_under_way(&self, at: At) -> bool {
        self.under_way.as_ref().is_some_and(|job| job.entries.contains(&at))
    }

    /// What a job has said of this entry.
    pub(super) fn take(&mut self, at: At) -> Option<Result<PublishedEntry, Error>> {
        self.published.remove(&at)
    }

    /// Takes what the job has said, if it has ended.
    fn take_ended(&mut self, most: std::time::Duration) -> bool {
        let Some(job) = &mut self.under_way else { return true };
        if !job.job.wait(most) {
            return false;
        }
        let results = std::mem::take(&mut *job.shared.results.lock().unwrap_or_else(PoisonError::into_inner));
        self.published.extend(results);
        self.under_way = None;
        true
    }
}

impl Host {
    /// From now on, entries that are appended wait for [`Host::publish_beside`], with their bytes, or do not.
    pub fn keep_for_beside(&mut self, keeps: bool) {
        self.beside.keeps = keeps;
        self.beside.kept.clear();
    }

    /// Begins to create the data objects of the entries that were kept, beside whatever is done next, after those of the
    /// entries before. `alive` is called while it waits for these, as long as they make progress. [`Host::help`] finishes
    /// the entries later.
    pub fn publish_beside(&mut self, alive: &mut dyn FnMut()) {
        self.await_beside(alive);
        self.beside.keeps = false;
        let mut kept = std::mem::take(&mut self.beside.kept);
        kept.retain(|kept| self.shards[kept.at.0].unfinished.get(kept.at.1).is_some());
        if kept.is_empty() {
            return;
        }
        let (stores, shared) = (self.stores.clone(), Arc::new(Shared::default()));
        let (entries, theirs) = (kept.iter().map(|kept| kept.at).collect(), shared.clone());
        let publish = move || kept.into_iter().for_each(|kept| kept.publish(&stores, &theirs));
        let job = self.stores.flight.begin(Box::new(publish));
        self.beside.under_way = Some(UnderWay { entries, job, shared });
    }

    /// Waits until no data objects are created beside.
    pub fn await_beside(&mut self, alive: &mut dyn FnMut()) {
        let steps = |beside: &Beside| beside.under_way.as_ref().map(|job| job.shared.steps.load(Ordering::Relaxed));
        let mut before = steps(&self.beside);
        while !self.beside.take_ended(LAKE_BESIDE_LOOK) {
            let now = steps(&self.beside);
            if now != before {
                alive();
            }
            before = now;
        }
    }

    /// True if a job has ended, and [`Host::help`] has not been called since.
    pub fn has_published(&mut self) -> bool {
        self.hear_beside();
        !self.beside.published.is_empty()
    }

    /// True if data objects are created beside, or were and [`Host::help`] has not been called since.
    pub fn is_publishing(&self) -> bool {
        self.beside.under_way.is_some() || !self.beside.published.is_empty()
    }

    /// Takes what the job has said, if it has ended, of entries that are still unfinished.
    pub(super) fn hear_beside(&mut self) {
        self.beside.take_ended(std::time::Duration::ZERO);
        let shards = &self.shards;
        self.beside.published.retain(|(shard, number), _| shards[*shard].unfinished.get(*number).is_some());
    }
}
