//! Contents that may come again.
//!
//! Invariants:
//! - Only contents of finished entries are forgotten, so that no two generations of one content are under way.
//! - How old an entry is, the store says, and it errs on the safe side: an entry that is copied, or that no listing shows,
//!   is younger.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::Host;
use crate::lake::claims::Contents;
use crate::lake::entry::{Body, Entry, Forget};
use crate::lake::error::Error;
use crate::lake::keys;
use crate::lake::log::Appended;
use crate::lake::rows::Mark;
use crate::limits::LAKE_FORGET_MAX;
use crate::store::Store;
use crate::types::{Sha256, UnixMillis};

impl Host {
    /// Forgets these contents, with one entry in each shard that has any of them. Those that are unknown, unfinished or
    /// forgotten already are left out. Returns how many are forgotten.
    pub fn forget(&mut self, contents: &[Sha256]) -> Result<u64, Error> {
        let mut forgotten = 0;
        for shard in 0..self.shards.len() {
            let mut of_it: Vec<_> = contents.iter().copied().filter(|one| self.shard_of(one) == shard).collect();
            of_it.sort_unstable();
            of_it.dedup();
            of_it.truncate(LAKE_FORGET_MAX);
            if !of_it.is_empty() {
                forgotten += self.forget_in(shard, &of_it)?;
            }
        }
        Ok(forgotten)
    }

    fn forget_in(&mut self, shard: usize, contents: &[Sha256]) -> Result<u64, Error> {
        loop {
            self.read_shard(shard)?;
            let header = self.header(shard);
            let known = &self.shards[shard].contents;
            let may = |content: &&Sha256| {
                known.get(content).is_some_and(|known| !known.is_forgotten && known.entry < header.floor)
            };
            let contents: Vec<Sha256> = contents.iter().filter(may).copied().collect();
            let count = contents.len() as u64;
            if count == 0 {
                return Ok(0);
            }
            let entry = Entry { header, body: Body::Forget(Forget { below: 0, contents }) };
            if self.append(shard, &entry)? == Appended::Ours {
                return Ok(count);
            }
        }
    }

    /// Forgets every content of a shard that an entry below this number claimed last, with one entry. Of what is not
    /// finished nothing is forgotten. False if there is nothing to forget.
    pub fn forget_below(&mut self, shard: u16, below: u64) -> Result<bool, Error> {
        let place = usize::from(shard);
        while place < self.shards.len() {
            self.read_shard(place)?;
            let header = self.header(place);
            let below = below.min(header.floor);
            if below <= self.shards[place].contents.forgotten_below() {
                break;
            }
            let entry = Entry { header, body: Body::Forget(Forget { below, contents: Vec::new() }) };
            if self.append(place, &entry)? == Appended::Ours {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets every content of a shard that was claimed last by an entry that is older than this, with one entry. Does
    /// nothing while the oldest of them is not older by `slack`: so hosts that do it again and again make few entries. Of what
    /// is not finished nothing is forgotten. Returns how many contents are forgotten. Needs some 2 log2(n) requests for n
    /// entries that are older.
    pub fn forget_older(&mut self, shard: u16, age: &Age, slack: Duration) -> Result<u64, Error> {
        let place = usize::from(shard);
        if place >= self.shards.len() {
            return Ok(0);
        }
        self.read_shard(place)?;
        let (store, known) = (self.stores.warehouse.as_ref(), &self.shards[place]);
        let all = known.contents.forgotten_below()..known.unfinished.floor(known.log.next());
        let before = age.before(store);
        if all.is_empty() || !is_older(store, shard, all.start, before.minus(slack))? {
            return Ok(0);
        }
        let below = first_younger(store, shard, all.clone(), before)?;
        let count = remembered(&known.contents, all.start..below);
        let is_forgotten = count > 0 && self.forget_below(shard, below)?;
        Ok(if is_forgotten { count } else { 0 })
    }
}

/// An age, and this host's time.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    /// By this host's clock.
    pub now: UnixMillis,
    /// What is older is meant.
    pub age: Duration,
}

impl Age {
    /// The time on the store's clock before which what is meant was written.
    fn before(&self, store: &dyn Store) -> UnixMillis {
        let ahead = i64::try_from(self.now.0).unwrap_or(i64::MAX);
        let ahead = ahead.saturating_add(store.skew().unwrap_or(0).saturating_mul(1000));
        UnixMillis(u64::try_from(ahead).unwrap_or(0)).minus(self.age)
    }
}

fn is_older(store: &dyn Store, shard: u16, entry: u64, before: UnixMillis) -> Result<bool, Error> {
    Ok(store.written(&keys::slot(shard, entry))?.is_some_and(|at| at < before))
}

/// The first of these entries that is not older, or the end: they were written one after the other.
fn first_younger(store: &dyn Store, shard: u16, entries: Range<u64>, before: UnixMillis) -> Result<u64, Error> {
    // All entries below it are older.
    let mut below = entries.start;
    let mut step = 1;
    let mut above = loop {
        let number = entries.start.saturating_add(step).min(entries.end);
        if number == below || !is_older(store, shard, number - 1, before)? {
            break number;
        }
        (below, step) = (number, step.saturating_mul(2));
    };
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if is_older(store, shard, middle - 1, before)? {
            below = middle;
        } else {
            above = middle;
        }
    }
    Ok(below)
}

/// How many contents these entries claimed last that are not forgotten.
fn remembered(contents: &Contents, entries: Range<u64>) -> u64 {
    if entries.is_empty() {
        return 0;
    }
    let by_name = contents.odd(0, 1).filter(|(_, odd)| odd.is_forgotten).map(|(mark, _)| *mark);
    let by_name: BTreeSet<Mark> = by_name.collect();
    let is_meant = |(mark, entry): &(Mark, u32)| entries.contains(&u64::from(*entry)) && !by_name.contains(mark);
    contents.marks(0, 1).filter(is_meant).count() as u64
}
