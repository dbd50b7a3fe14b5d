//! Rolling a lake forward at an operator's request: every unfinished entry, now.
//!
//! Invariants:
//! - It does what any host does with another's entry, only without its patience: all keys and bytes are the entry's, so a
//!   host that finishes the same entry at the same time does the same.
//! - An entry that cannot be finished keeps no other one from being finished.

use std::time::Duration;

use crate::lake::entry::Entry;
use crate::lake::error::Error;
use crate::lake::format::Lake;
use crate::lake::publish::{self, AtHand, Stores};
use crate::lake::start::start;
use crate::types::Sha256;

/// What was achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Entries that were unfinished and are finished now.
    pub finished: u64,
    /// Entries that stay unfinished, by shard and number, and why.
    pub unfinished: Vec<(u16, u64, Error)>,
    /// Shards that cannot be read to their ends, and why. Their entries before that were finished.
    pub unread: Vec<(u16, Error)>,
}

/// Nothing is at hand: all bytes come from packs and uploads.
struct Nothing;

impl AtHand for Nothing {
    fn bytes(&self, _: &Sha256) -> Option<Vec<u8>> {
        None
    }
}

/// Finishes every unfinished entry of the lake, oldest first.
pub fn finish(stores: &Stores, lake: &Lake) -> Finished {
    let mut result = Finished::default();
    for number in 0..lake.shards {
        let (store, now) = (stores.warehouse.as_ref(), Duration::ZERO);
        let mut shard = match start(store, lake, number, now, &|_| false) {
            Ok(shard) => shard,
            Err(error) => {
                result.unread.push((number, error));
                continue;
            }
        };
        let read = shard.read(store, now, &|_| false).and_then(|()| shard.check_beyond(store, stores.flight.as_ref()));
        if let Err(error) = read {
            // After damage nothing may be written: what follows would rest on a log that is not the lake's.
            let is_damage = error.is_damage();
            result.unread.push((number, error));
            if is_damage {
                continue;
            }
        }
        for entry in shard.unfinished.iter() {
            match finish_one(stores, entry) {
                Ok(was_unfinished) => result.finished += u64::from(was_unfinished),
                Err(error) => result.unfinished.push((number, entry.header.number, error)),
            }
        }
    }
    result
}

/// Returns whether the entry was unfinished.
fn finish_one(stores: &Stores, entry: &Entry) -> Result<bool, Error> {
    let (listed, was_unfinished) = match publish::look(stores, entry)? {
        Some(listed) => (listed, false),
        None => (publish::lines(stores, &publish::data(stores, entry, &Nothing)?)?, true),
    };
    // A pack that stays costs room and nothing else; `clean` finds it.
    let _ = publish::clean_up(stores, &listed);
    Ok(was_unfinished)
}
