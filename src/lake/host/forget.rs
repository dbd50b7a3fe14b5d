//! Contents that may come again.
//!
//! Invariant: only contents of finished entries are forgotten, so that no two generations of one content are under way.

use super::Host;
use crate::lake::entry::{Body, Entry, Forget};
use crate::lake::error::Error;
use crate::lake::log::Appended;
use crate::limits::LAKE_FORGET_MAX;
use crate::types::Sha256;

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
}
