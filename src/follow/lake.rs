//! Lines from a lake, shard by shard, in the order of the log.
//!
//! Invariants:
//! - It only reads: one GET for each entry, and a HEAD for each of its manifest objects.
//! - An entry is passed when its lines are there: when its manifest objects exist, or a later entry that counts says that all
//!   entries before it are finished. A slot that is not there is never taken for an empty one.
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
            Shard::at(number, if passed == 0 { (0, 0) } else { place_of(passed + 1) })
        });
        let shards = shards.collect();
        let patience = if once { 0 } else { FOLLOW_LAKE_FAILURES_MAX };
        LakeLines { stores, lake, clock, cursor, shards, turn: 0, pause: FOLLOW_LAKE_PAUSE_MIN, patience, failures: 0 }
    }

    /// The cursor behind all lines that are there now, in each shard up to the first entry that is not finished: its lines come
    /// later, and those behind it with them.
    ///
    /// # Errors
    /// The store fails.
    pub fn newest(&self) -> Result<Cursor, Error> {
        let mut cursor = Cursor::default();
        for shard in &self.shards {
            let stream = Stream { id: self.lake.id.0, shard: Some(shard.number) };
            cursor.pass(stream, Shard::at(shard.number, (0, 0)).end(&self.stores, &self.lake)? << PLACE_BITS);
        }
        Ok(cursor)
    }
}

impl Shard {
    fn at(number: u16, (entry, place): (u64, usize)) -> Shard {
        Shard { number, entry, place, read: None, floor: 0 }
    }

    /// The number of the first entry that is not finished, or of the next one.
    fn end(mut self, stores: &Stores, lake: &Lake) -> Result<u64, Error> {
        self.floor = self.newest_floor(stores, lake)?;
        self.entry = self.floor;
        loop {
            match self.read(stores, lake) {
                Ok(true) => (self.entry, self.read) = (self.entry + 1, None),
                // Nobody has finished the one at which the shard has stopped.
                Ok(false) | Err(Error::Lake(lake::Error::Malformed { .. } | lake::Error::Foreign { .. })) => {
                    return Ok(self.entry);
                }
                Err(error) => return Err(error),
            }
        }
    }

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
                // No host counts it.
                if is_skipped()? {
                    (self.entry, self.place) = (self.entry + 1, 0);
                    continue;
                }
                if self.entry >= self.floor {
                    self.floor = self.newest_floor(stores, lake)?;
                }
                // Otherwise it is over: its manifest objects were there and are gone.
                if self.entry >= self.floor {
                    return Ok(false);
                }
            }
            self.read = Some(entry);
        }
        Ok(true)
    }

    /// What the newest entry that counts says is finished: all entries below this number.
    fn newest_floor(&self, stores: &Stores, lake: &Lake) -> Result<u64, Error> {
        let (store, at) = (stores.warehouse.as_ref(), |number| Log::at(lake.id, self.number, number, Sha256([0; 32])));
        let end = at(self.entry).find_end(store, self.entry)?;
        for log in (self.entry..end).rev().map(at) {
            let Some(bytes) = log.look(store)? else { continue };
            let Ok(entry) = decoded(&log, &bytes) else { continue };
            // Hosts go on behind an entry only if it counts or is skipped, and finish only those that count.
            let counts = match log.next() + 1 < end {
                true => !is_skipped(store, &log, &sha256(&bytes))?,
                false => !entry.claims().is_empty() && is_finished(stores, &entry)?,
            };
            if counts {
                return Ok(entry.header.floor);
            }
        }
        Ok(0)
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

/// True if all manifest objects of the entry are there.
fn is_finished(stores: &Stores, entry: &Entry) -> Result<bool, lake::Error> {
    match publish::look(stores, entry) {
        Err(lake::Error::Foreign { .. }) => Ok(false),
        found => Ok(found?.is_some()),
    }
}

/// The entry in the log's next slot. Who does not know the entry before it cannot check the chain.
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

fn is_of_the_store(error: &Error) -> bool {
    matches!(error, Error::Lake(lake::Error::Store(_)))
}

impl LakeLines {
    fn read_all(&mut self, most: usize, take: &mut dyn FnMut(Line<'_>) -> Result<(), Error>) -> Result<usize, Error> {
        let (mut count, shards, mut stopped) = (0, self.shards.len(), None);
        for place in 0..shards {
            let Some(shard) = self.shards.get_mut((self.turn + place) % shards) else { continue };
            let stream = Stream { id: self.lake.id.0, shard: Some(shard.number) };
            while count < most {
                match shard.read(&self.stores, &self.lake) {
                    Ok(true) => {}
                    Ok(false) => break,
                    // What is wrong with one shard holds up no other.
                    Err(error) if !is_of_the_store(&error) => {
                        stopped = stopped.or(Some(error));
                        break;
                    }
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
        stopped.filter(|_| count == 0).map_or(Ok(count), Err)
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
