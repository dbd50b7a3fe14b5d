//! Lines from a lake, shard by shard, in the order of the log.
//!
//! Invariants:
//! - It only reads: one GET for each entry, and a HEAD for each of its manifest objects.
//! - An entry is passed when its lines are there: when its manifest objects exist, or a later entry says that all entries
//!   before it are finished. A slot that is not there is never taken for an empty one.
//! - The lines come from the entry, which holds them byte for byte, and stays: no retention job takes lines away.

use std::time::Duration;

use super::cursor::{Cursor, Stream};
use super::error::Error;
use super::group::together;
use super::source::{Line, Source};
use crate::lake;
use crate::lake::bytes::sha256;
use crate::lake::clock::Clock;
use crate::lake::entry::{Entry, Fault};
use crate::lake::format::Lake;
use crate::lake::log::Log;
use crate::lake::publish::{self, Stores};
use crate::lake::shard::is_skipped;
use crate::limits::{FOLLOW_LAKE_FAILURES_MAX, FOLLOW_LAKE_PAUSE_MAX, FOLLOW_LAKE_PAUSE_MIN};
use crate::types::Sha256;

/// Bits of a line's number that count the claims of an entry.
const PLACE_BITS: u32 = 11;

/// The entry and the place in it of the line with this number, from 1.
fn place_of(number: u64) -> (u64, usize) {
    let id = number - 1;
    (id >> PLACE_BITS, (id & ((1 << PLACE_BITS) - 1)) as usize)
}

fn number_of(entry: u64, place: usize) -> u64 {
    (entry << PLACE_BITS | place as u64) + 1
}

/// A shard that is followed.
struct Shard {
    number: u16,
    /// The entry of the next line, and its place there.
    entry: u64,
    place: usize,
    /// That entry, if its lines are there.
    read: Option<Entry>,
    /// All entries below this one are finished.
    floor: u64,
}

/// A lake that is followed.
pub struct LakeLines {
    stores: Stores,
    lake: Lake,
    clock: Box<dyn Clock>,
    cursor: Cursor,
    shards: Vec<Shard>,
    turn: usize,
    /// The next pause; it grows while nothing comes.
    pause: Duration,
    /// How often in a row a store that is away is waited for.
    patience: u32,
    failures: u32,
}

impl LakeLines {
    /// Follows the lake from the lines behind `cursor` on; `once`: a store that is away is an error at once.
    pub fn new(stores: Stores, lake: Lake, clock: Box<dyn Clock>, cursor: Cursor, once: bool) -> LakeLines {
        let shards = (0..lake.shards).map(|number| {
            let passed = cursor.passed(&Stream { id: lake.id.0, shard: Some(number) });
            let (entry, place) = if passed == 0 { (0, 0) } else { place_of(passed + 1) };
            Shard { number, entry, place, read: None, floor: 0 }
        });
        let shards = shards.collect();
        let patience = if once { 0 } else { FOLLOW_LAKE_FAILURES_MAX };
        LakeLines { stores, lake, clock, cursor, shards, turn: 0, pause: FOLLOW_LAKE_PAUSE_MIN, patience, failures: 0 }
    }

    /// The cursor behind all entries that are there now. An entry that is not finished yet comes with those behind it.
    ///
    /// # Errors
    /// The store fails.
    pub fn newest(&self) -> Result<Cursor, Error> {
        let mut cursor = Cursor::default();
        for shard in &self.shards {
            let end = Log::new(self.lake.id, shard.number).find_end(self.stores.warehouse.as_ref(), 0)?;
            let stream = Stream { id: self.lake.id.0, shard: Some(shard.number) };
            cursor.pass(stream, end.checked_sub(1).map_or(0, |last| number_of(last + 1, 0) - 1));
        }
        Ok(cursor)
    }
}

impl Shard {
    /// Reads the entry of the next line, if it is there and its lines are. False if it is not yet.
    fn read(&mut self, stores: &Stores, lake: &Lake) -> Result<bool, Error> {
        while self.read.is_none() {
            let log = Log::at(lake.id, self.number, self.entry, Sha256([0; 32]));
            let Some(bytes) = log.look(stores.warehouse.as_ref())? else { return Ok(false) };
            let is_skipped = || is_skipped(stores.warehouse.as_ref(), &log, &sha256(&bytes));
            let entry = match decoded(&log, &bytes) {
                Err(lake::Error::Malformed { .. }) if is_skipped()? => None,
                entry => Some(entry?),
            };
            let has_line = |entry: &Entry| self.place < entry.claims().len();
            let Some(entry) = entry.filter(has_line) else {
                (self.entry, self.place) = (self.entry + 1, 0);
                continue;
            };
            self.floor = self.floor.max(entry.header.floor);
            if publish::look(stores, &entry)?.is_none() {
                if self.entry >= self.floor {
                    self.floor = self.newest_floor(stores, lake)?;
                }
                if self.entry >= self.floor {
                    return Ok(false);
                }
                // It is over: its manifest objects were there and are gone, or no host counts it.
                if is_skipped()? {
                    (self.entry, self.place) = (self.entry + 1, 0);
                    continue;
                }
            }
            self.read = Some(entry);
        }
        Ok(true)
    }

    /// What the newest entry says is finished.
    fn newest_floor(&self, stores: &Stores, lake: &Lake) -> Result<u64, Error> {
        let log = Log::at(lake.id, self.number, self.entry, Sha256([0; 32]));
        let end = log.find_end(stores.warehouse.as_ref(), self.entry)?;
        let newest = Log::at(lake.id, self.number, end.saturating_sub(1), Sha256([0; 32]));
        let Some(bytes) = newest.look(stores.warehouse.as_ref())? else { return Ok(0) };
        Ok(decoded(&newest, &bytes).map_or(0, |entry| entry.header.floor))
    }

    /// Passes lines of the entry on, `most` at most, but a group as a whole. Returns how many.
    fn pass_on(
        &mut self,
        stream: Stream,
        cursor: &mut Cursor,
        (most, is_begun): (usize, bool),
        take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let Some(entry) = &self.read else { return Ok(0) };
        let (claims, mut count) = (entry.claims(), 0);
        while self.place < claims.len() && count < most {
            let together = together(claims[self.place..].iter().map(|claim| &*claim.line));
            if count + together > most && (is_begun || count > 0) {
                break;
            }
            for (place, claim) in claims.iter().enumerate().skip(self.place).take(together) {
                take(Line { stream, number: number_of(self.entry, place), text: &claim.line })?;
            }
            (self.place, count) = (self.place + together, count + together);
            cursor.pass(stream, number_of(self.entry, self.place - 1));
        }
        if self.place == claims.len() {
            (self.entry, self.place, self.read) = (self.entry + 1, 0, None);
        }
        Ok(count)
    }
}

/// The entry in the log's next slot. The chain is not checked: the entry before it is not known here.
fn decoded(log: &Log, bytes: &[u8]) -> Result<Entry, lake::Error> {
    let key = log.slot();
    let entry = Entry::decode(bytes).map_err(|fault| match fault {
        Fault::Newer(version) => lake::Error::Newer { key: key.clone(), version },
        Fault::Malformed(why) => lake::Error::Malformed { key: key.clone(), why },
    })?;
    if entry.header.lake != log.lake() || (entry.header.shard, entry.header.number) != (log.shard(), log.next()) {
        return Err(lake::Error::Chain { key, why: "it belongs in another slot" });
    }
    Ok(entry)
}

impl LakeLines {
    fn read_all(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        let (mut count, shards) = (0, self.shards.len());
        for place in 0..shards {
            let Some(shard) = self.shards.get_mut((self.turn + place) % shards) else { continue };
            let stream = Stream { id: self.lake.id.0, shard: Some(shard.number) };
            while count < most {
                match shard.read(&self.stores, &self.lake) {
                    Ok(true) => {}
                    Ok(false) => break,
                    // It comes again, after these.
                    Err(_) if count > 0 => return Ok(count),
                    Err(error) => return Err(error),
                }
                let passed = shard.pass_on(stream, &mut self.cursor, (most - count, count > 0), take)?;
                if passed == 0 {
                    // A group that does not fit into this batch.
                    return Ok(count);
                }
                count += passed;
            }
        }
        self.turn = (self.turn + 1) % shards.max(1);
        if count > 0 {
            self.pause = FOLLOW_LAKE_PAUSE_MIN;
        }
        Ok(count)
    }
}

impl Source for LakeLines {
    fn read(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        match self.read_all(most, take) {
            Err(Error::Lake(lake::Error::Store(error))) if error.kind.may_pass() && self.failures < self.patience => {
                self.failures += 1;
                Ok(0)
            }
            read => {
                self.failures = 0;
                read
            }
        }
    }

    fn wait(&mut self, at_most: Duration) {
        self.clock.pause(self.pause.min(at_most));
        self.pause = (self.pause * 2).min(FOLLOW_LAKE_PAUSE_MAX);
    }

    fn cursor(&self) -> &Cursor {
        &self.cursor
    }
}
