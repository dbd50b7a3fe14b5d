//! What is to be seen of a lake from outside: how far each shard is, who wrote last, what is unfinished and why, and what is
//! wrong.
//!
//! Invariants:
//! - It only reads, and works beside running hosts. What it shows is a moment of each shard, one after the other.
//! - A shard that is damaged hides no other one. Only a store that fails ends it.
//! - Memory: the contents of one shard at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::lake::entry::{Body, Entry};
use crate::lake::error::Error;
use crate::lake::flight::{Flight as _, Threads};
use crate::lake::format::Lake;
use crate::lake::keys;
use crate::lake::listing::each_key;
use crate::lake::publish::{self, Stores};
use crate::lake::shard::Shard;
use crate::lake::start::{places, start};
use crate::limits::{LAKE_IN_SIGHT, LAKE_LOOKS_AT_ONCE};
use crate::store::{Head, Kind};
use crate::types::UnixMillis;

/// A lake as it is seen.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Its shards.
    pub shards: Vec<ShardView>,
    /// The hosts that wrote the entries in sight, and the newest entry of each.
    pub hosts: BTreeMap<[u8; 16], Note>,
    /// Packs that unfinished entries need.
    pub packs_needed: u64,
    /// Other packs: not claimed yet, or left by hosts that died.
    pub packs_other: u64,
}

/// One shard.
#[derive(Clone, Debug, Default)]
pub struct ShardView {
    /// Its number.
    pub shard: u16,
    /// Its entries, up to the first that cannot be read.
    pub entries: u64,
    /// Contents that were ever claimed.
    pub contents: u64,
    /// All entries below this number are finished, as the entries say.
    pub floor: u64,
    /// Where it has checkpoints, ascending.
    pub checkpoints: Vec<u64>,
    /// Its newest entries, newest first.
    pub newest: Vec<Note>,
    /// Entries that are not finished, oldest first.
    pub unfinished: Vec<Unfinished>,
    /// Why it cannot be read to its end: damage, or an entry that is malformed.
    pub problem: Option<Error>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its shard.
    pub shard: u16,
    /// Its number.
    pub number: u64,
    /// Who wrote it.
    pub host: [u8; 16],
    /// When its contents were ingested, by that host's clock: the latest. None if it claims none.
    pub at: Option<UnixMillis>,
    /// Contents that it claims.
    pub claims: usize,
    /// What kind of entry it is.
    pub kind: &'static str,
}

/// An entry that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The entry.
    pub entry: Note,
    /// Its data objects that are there.
    pub published: usize,
    /// Objects that stand in its way, and what else was found.
    pub errors: Vec<Error>,
}

impl Note {
    fn of(entry: &Entry) -> Note {
        let (header, claims) = (&entry.header, entry.claims());
        let kind = match &entry.body {
            Body::Claims(_) => "claims",
            Body::Forget(_) => "forget",
            Body::Upgrade(_) => "upgrade",
        };
        let at = claims.iter().map(|claim| claim.ingested_at).max();
        let (shard, number, host) = (header.shard, header.number, header.host);
        Note { shard, number, host, at, claims: claims.len(), kind }
    }
}

/// Looks at the lake.
///
/// # Errors
/// The store fails.
pub fn survey(stores: &Stores, lake: &Lake) -> Result<Survey, Error> {
    let (mut survey, mut needed) = (Survey::default(), BTreeSet::new());
    for number in 0..lake.shards {
        let view = look_at(stores, lake, number, &mut needed)?;
        for note in &view.newest {
            let is_newer = survey.hosts.get(&note.host).is_none_or(|known| known.at < note.at);
            if is_newer {
                survey.hosts.insert(note.host, note.clone());
            }
        }
        survey.shards.push(view);
    }
    each_key(stores.warehouse.as_ref(), keys::PACKS, &mut |key| {
        *if needed.contains(&key) { &mut survey.packs_needed } else { &mut survey.packs_other } += 1;
        true
    })?;
    Ok(survey)
}

/// `needed` gets the packs that unfinished entries of the shard name.
fn look_at(stores: &Stores, lake: &Lake, number: u16, needed: &mut BTreeSet<String>) -> Result<ShardView, Error> {
    let (store, now) = (stores.warehouse.as_ref(), Duration::ZERO);
    let mut view = ShardView { shard: number, checkpoints: places(store, number)?, ..ShardView::default() };
    let read = start(store, lake, number, now, &|_| false).and_then(|mut shard| {
        // What could be read is shown in any case.
        let read = shard.read(store, now, &|_| false).and_then(|()| shard.check_beyond(store, stores.flight.as_ref()));
        match read {
            Err(error @ Error::Store(_)) => Err(error),
            read => Ok((shard, read.err())),
        }
    });
    let shard = match read {
        Ok((shard, problem)) => {
            view.problem = problem;
            shard
        }
        Err(error @ Error::Store(_)) => return Err(error),
        // A checkpoint and the log contradict each other: what can be read without checkpoints is shown.
        Err(error) => {
            view.problem = Some(error);
            let mut shard = Shard::new(lake, number);
            match shard.read(store, now, &|_| false) {
                Err(error @ Error::Store(_)) => return Err(error),
                _ => shard,
            }
        }
    };
    view.entries = shard.log.next();
    view.contents = shard.contents.len() as u64;
    view.floor = shard.contents.floor();
    view.newest = newest(stores, &shard)?;
    for entry in shard.unfinished.iter() {
        let Some(unfinished) = unfinished(stores, entry)? else { continue };
        needed.extend(entry.packs().iter().cloned());
        view.unfinished.push(unfinished);
    }
    Ok(view)
}

/// The newest entries of a shard that was read, newest first.
fn newest(stores: &Stores, shard: &Shard) -> Result<Vec<Note>, Error> {
    let (next, number) = (shard.log.next(), shard.log.shard());
    let begin = next.saturating_sub(LAKE_IN_SIGHT);
    let found = Mutex::new(Vec::new());
    Threads.each(LAKE_LOOKS_AT_ONCE, (next - begin) as usize, &|at| {
        let bytes = stores.warehouse.get(&keys::slot(number, begin + at as u64));
        // One that was skipped says nothing.
        let note = bytes.map(|bytes| Entry::decode(&bytes).ok().map(|entry| Note::of(&entry)));
        found.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut notes: Vec<Note> = found.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
    notes.sort_unstable_by_key(|note| std::cmp::Reverse(note.number));
    Ok(notes)
}

/// None if the entry is finished.
fn unfinished(stores: &Stores, entry: &Entry) -> Result<Option<Unfinished>, Error> {
    let mut errors = Vec::new();
    match publish::look(stores, entry) {
        Ok(Some(_)) => return Ok(None),
        Ok(None) => {}
        Err(error @ Error::Foreign { .. }) => errors.push(error),
        Err(error) => return Err(error),
    }
    let (claims, found) = (entry.claims(), Mutex::new((0, Vec::new(), None)));
    Threads.each(LAKE_LOOKS_AT_ONCE, claims.len(), &|at| {
        let claim = &claims[at];
        let head = stores.warehouse.head(&claim.key);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match head {
            Ok(head) if head == (Head { size: claim.size, sha256: Some(claim.sha256) }) => found.0 += 1,
            Ok(_) => {
                let (shard, entry) = (entry.header.shard, entry.header.number);
                found.1.push(Error::Foreign { key: claim.key.clone(), shard, entry });
            }
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => found.2 = Some(error),
        }
    });
    let (published, foreign, failed) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failed {
        return Err(error.into());
    }
    errors.extend(foreign);
    Ok(Some(Unfinished { entry: Note::of(entry), published, errors }))
}
