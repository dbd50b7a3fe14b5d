//! Reading the log of one shard: everything that a host checks, and the floor.
//!
//! Invariant: what a host would stop at is a finding, and ends the reading of this shard.

use std::time::Duration;

use super::context::{Audit, Where};
use crate::audit::finding::Kind;
use crate::lake::Error;
use crate::lake::entry::Entry;
use crate::lake::flight::Threads;
use crate::lake::keys;
use crate::lake::log::Log;
use crate::lake::shard::Shard;

/// How far a shard was read; None if it cannot be read on.
pub(super) type Tail = Option<Log>;

impl Audit<'_> {
    /// Reads a shard, and checks the objects of its entries.
    pub(super) fn read_shard(&self, number: u16) -> Result<Tail, Error> {
        let (store, mut shard) = (self.plan.stores.warehouse.as_ref(), Shard::new(self.plan.lake, number));
        let end = shard.log.find_end(store, 0)?;
        let floor = self.last_floor(number, end)?;
        while !self.watch.is_stopped() {
            let begin = shard.log.next();
            let block = shard.log.look_ahead(store, &Threads, end.saturating_sub(begin).max(1))?;
            if block.is_empty() {
                break;
            }
            let (mut entries, mut stopped) = (Vec::with_capacity(block.len()), None);
            for read in block {
                // One that was skipped contradicts what is known, or is no entry.
                let entry = read.entry.clone().ok().filter(|entry| shard.contents.check(entry).is_ok());
                let slot = shard.log.slot();
                match shard.take(store, read, Duration::ZERO, &|_| false) {
                    Ok(()) => entries.extend(entry),
                    Err(error @ Error::Store(_)) => return Err(error),
                    Err(error) => {
                        stopped = Some((slot, error));
                        break;
                    }
                }
            }
            let read = shard.log.next() - begin;
            self.count(|summary| {
                summary.entries += read;
                summary.skipped += read - entries.len() as u64;
            });
            self.check_block(&entries, floor)?;
            if let Some((slot, error)) = stopped {
                self.report(Kind::DamagedLog, Where::Warehouse, &slot, error.to_string());
                return Ok(None);
            }
        }
        match shard.check_beyond(store, &Threads) {
            Ok(()) => Ok(Some(shard.log)),
            Err(error @ Error::Store(_)) => Err(error),
            Err(error) => {
                self.report(Kind::DamagedLog, Where::Warehouse, &shard.log.slot(), error.to_string());
                Ok(None)
            }
        }
    }

    /// The floor that the last entry before `end` names: everything below it is finished.
    fn last_floor(&self, number: u16, end: u64) -> Result<u64, Error> {
        let Some(last) = end.checked_sub(1) else { return Ok(0) };
        let bytes = self.plan.stores.warehouse.get(&keys::slot(number, last))?;
        Ok(Entry::decode(&bytes).map_or(0, |entry| entry.header.floor))
    }
}
