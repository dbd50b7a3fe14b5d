//! How a host gets to know a shard without reading all of it: from the newest checkpoint that it can read.
//!
//! Invariants:
//! - Any checkpoint gives the same state after the log was read to its end, and so does none: a listing is a hint.
//! - Unfinished entries below the checkpoint are read as well: from its floor on, and along the chain to its chain value.

use std::time::Duration;

use super::bytes::sha256;
use super::checkpoint::{self, Checkpoint, Joined};
use super::entry::Entry;
use super::error::Error;
use super::flight::{Flight, OneByOne, gather};
use super::format::Lake;
use super::keys;
use super::log::Log;
use super::shard::{IsOurs, Shard};
use crate::limits::{LAKE_CHECKPOINT_PAGES_MAX, LAKE_CHECKPOINT_PIECES_AT_ONCE, LAKE_CHECKPOINTS_TRIED_MAX};
use crate::store::{Kind, Store};
use crate::types::Sha256;

/// The shard as of its newest checkpoint, or as of its beginning.
pub fn start(store: &dyn Store, lake: &Lake, number: u16, now: Duration, is_ours: IsOurs<'_>) -> Result<Shard, Error> {
    start_with(&OneByOne, store, lake, number, now, is_ours)
}

/// The same, with several requests at once.
pub fn start_with(
    flight: &dyn Flight,
    store: &dyn Store,
    lake: &Lake,
    number: u16,
    now: Duration,
    is_ours: IsOurs<'_>,
) -> Result<Shard, Error> {
    let mut places = places(store, number)?;
    places.sort_unstable();
    for place in places.into_iter().rev().take(LAKE_CHECKPOINTS_TRIED_MAX) {
        if let Some(read) = read_with(flight, store, lake, number, place)? {
            return resume(store, lake, read, now, is_ours);
        }
    }
    Ok(Shard::new(lake, number))
}

/// Where there are checkpoints, according to the store.
pub fn places(store: &dyn Store, shard: u16) -> Result<Vec<u64>, Error> {
    let (prefix, mut after, mut found) = (keys::checkpoints(shard), String::new(), Vec::new());
    for _ in 0..LAKE_CHECKPOINT_PAGES_MAX {
        let page = store.list(&prefix, &after)?;
        found.extend(page.iter().filter_map(|key| keys::checkpoint_number(shard, key)));
        match page.into_iter().next_back() {
            Some(last) => after = last,
            None => break,
        }
    }
    Ok(found)
}

/// The checkpoint at this place; None if it does not exist or is none: an older one serves as well.
pub fn read(store: &dyn Store, lake: &Lake, shard: u16, place: u64) -> Result<Option<Checkpoint>, Error> {
    read_with(&OneByOne, store, lake, shard, place)
}

fn read_with(
    flight: &dyn Flight,
    store: &dyn Store,
    lake: &Lake,
    shard: u16,
    place: u64,
) -> Result<Option<Checkpoint>, Error> {
    let piece = |number| match store.get(&keys::checkpoint_piece(shard, place, number)) {
        Ok(bytes) => Ok(checkpoint::decode(&bytes)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error)),
    };
    let is_it = |log: &Log| log.lake() == lake.id && log.shard() == shard && log.next() == place;
    let Some(first) = piece(0)?.filter(|first| is_it(&first.whole.log)) else { return Ok(None) };
    let (mut next, pieces) = (1, first.whole.pieces());
    let mut joined = Joined::new(first.whole.clone());
    if joined.add(first).is_none() {
        return Ok(None);
    }
    while next < pieces {
        let count = (pieces - next).min(LAKE_CHECKPOINT_PIECES_AT_ONCE);
        for piece in gather(flight, count, count, &|number| piece(next + number)) {
            if piece?.and_then(|piece| joined.add(piece)).is_none() {
                return Ok(None);
            }
        }
        next += count;
    }
    Ok(joined.finish())
}

/// The shard as of this checkpoint.
pub fn resume(
    store: &dyn Store,
    lake: &Lake,
    checkpoint: Checkpoint,
    now: Duration,
    is_ours: IsOurs<'_>,
) -> Result<Shard, Error> {
    let (number, next, floor) = (checkpoint.log.shard(), checkpoint.log.next(), checkpoint.contents.floor());
    let chain = checkpoint.log.chain();
    let mut shard = Shard::at(lake, checkpoint);
    let mut before: Option<Sha256> = None;
    for entry in floor..next {
        // The first entry's predecessor is not read; the last one proves them all.
        let log = Log::at(lake.id, number, entry, before.unwrap_or(Sha256([0; 32])));
        let key = log.slot();
        let Some(bytes) = log.look(store)? else {
            return Err(Error::Hole { key: keys::checkpoint(number, next), empty: key });
        };
        let read = Entry::decode(&bytes);
        if let (Some(_), Ok(entry)) = (before, &read) {
            log.check(entry)?;
        }
        before = Some(sha256(&bytes));
        // What is malformed was skipped when the checkpoint was made.
        if let Ok(entry) = read {
            let is_ours = is_ours(&entry);
            shard.unfinished.add(entry, now, is_ours);
        }
    }
    if before.is_some_and(|last| last != chain) {
        return Err(Error::Chain { key: keys::checkpoint(number, next), why: "its last entry is another one" });
    }
    Ok(shard)
}
