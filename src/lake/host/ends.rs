//! What is finished, although no entry says so yet.
//!
//! Invariant: it only reads, and asks about other hosts' entries alone: a host finishes its own ones, and what is left of
//! them.

use super::Host;
use crate::lake::entry::Entry;
use crate::lake::error::Error;
use crate::lake::publish;

impl Host {
    /// Finds out which of the other hosts' entries are finished, as far as this host has read. An entry says only what was
    /// finished before it was made. So in a lake in which nothing happens, no entry says that the newest ones are finished.
    pub fn look_at_ends(&mut self) -> Result<(), Error> {
        let Host { shards, stores, id, .. } = self;
        for shard in shards {
            let others = shard.unfinished.iter().filter(|entry| entry.header.host != *id);
            let others: Vec<Entry> = others.cloned().collect();
            for entry in &others {
                match publish::look(stores, entry) {
                    Ok(Some(_)) => shard.unfinished.finished(entry.header.number),
                    Ok(None) | Err(Error::Foreign { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
