//! Who claims a content.
//!
//! Invariant: a claim that is returned is one of an entry that names this content, as it lies in the store.

use super::{Claimed, Host};
use crate::lake::entry::{Entry, Fault};
use crate::lake::error::Error;
use crate::lake::keys;
use crate::types::Sha256;

fn claim_in(entry: &Entry, content: &Sha256) -> Option<Claimed> {
    let claim = entry.claims().iter().find(|claim| claim.sha256 == *content)?.clone();
    Some(Claimed { shard: entry.header.shard, entry: entry.header.number, host: entry.header.host, claim })
}

impl Host {
    /// The claim of this content, as far as this host has read; None if it is new. Needs no request for an unfinished
    /// entry and for the entry that was read here before, and one otherwise.
    pub fn claim_of(&mut self, content: &Sha256) -> Result<Option<Claimed>, Error> {
        match self.next_generation(content) {
            Some(_) => Ok(None),
            None => self.last_claim_of(content),
        }
    }

    /// The same, also if the content was forgotten since: the host that had brought it is done with it all the same.
    pub fn last_claim_of(&mut self, content: &Sha256) -> Result<Option<Claimed>, Error> {
        let shard = &self.shards[self.shard_of(content)];
        let Some(known) = shard.contents.get(content) else { return Ok(None) };
        let (number, entry) = (shard.log.shard(), known.entry);
        let missing = || Error::NotClaimed { key: keys::slot(number, entry), content: *content };
        self.claim_at(content, entry)?.ok_or_else(missing).map(Some)
    }

    /// What this entry of the content's shard claims of it, also if it was forgotten, and others have claimed it since.
    pub fn claim_at(&mut self, content: &Sha256, entry: u64) -> Result<Option<Claimed>, Error> {
        let shard = &self.shards[self.shard_of(content)];
        let number = shard.log.shard();
        if let Some(entry) = shard.unfinished.get(entry) {
            return Ok(claim_in(entry, content));
        }
        let is_it = |recent: &&Entry| (recent.header.shard, recent.header.number) == (number, entry);
        if self.recent.as_ref().filter(is_it).is_none() {
            let key = keys::slot(number, entry);
            let read = Entry::decode(&self.stores.warehouse.get(&key)?).map_err(|fault| match fault {
                Fault::Newer(version) => Error::Newer { key: key.clone(), version },
                Fault::Malformed(why) => Error::Malformed { key: key.clone(), why },
            })?;
            if read.header.lake != self.lake.id || (read.header.shard, read.header.number) != (number, entry) {
                return Err(Error::Chain { key, why: "it belongs in another slot" });
            }
            self.recent = Some(read);
        }
        Ok(self.recent.as_ref().and_then(|recent| claim_in(recent, content)))
    }
}
