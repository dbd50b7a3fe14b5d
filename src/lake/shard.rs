//! One shard as a host knows it: its log, what that adds up to, and what is unfinished.
//!
//! Invariants:
//! - Entries are taken in order, each once, and only after all checks: [`Log::check`] and [`Contents::check`].
//! - After an error that means damage, nothing is read or written any more.
//! - A malformed or contradictory entry stops the shard until an operator's mark names exactly these bytes.

use std::time::Duration;

use super::bytes::sha256;
use super::checkpoint::{self, Checkpoint};
use super::claims::Contents;
use super::due::Due;
use super::entry::{Body, Claim, Entry, Fault};
use super::error::Error;
use super::flight::{Flight, OneByOne};
use super::format::Lake;
use super::keys;
use super::log::Log;
use super::pace::Pace;
use super::read::Read;
use super::roll_forward::Unfinished;
use crate::limits::LAKE_BACKLOG;
use crate::store::{Kind, Store};
use crate::types::Sha256;

/// The state of a shard.
#[derive(Debug)]
pub struct Shard {
    /// How far it was read.
    pub log: Log,
    /// What was read.
    pub contents: Contents,
    /// What remains to be done.
    pub unfinished: Unfinished,
    /// When it is to be continued and read.
    pub pace: Pace,
    lake: Lake,
    due: Due,
    /// The place of a checkpoint that this host has to write.
    checkpoint: Option<u64>,
    damage: Option<Error>,
}

/// Whether an entry is this host's to finish at once.
pub type IsOurs<'a> = &'a dyn Fn(&Entry) -> bool;

impl Shard {
    /// A shard of which nothing has been read.
    pub fn new(lake: &Lake, number: u16) -> Shard {
        Shard::at(lake, Checkpoint { log: Log::new(lake.id, number), contents: Contents::default() })
    }

    /// A shard that was read up to here; what is unfinished has to be added.
    pub fn at(lake: &Lake, checkpoint: Checkpoint) -> Shard {
        let (Checkpoint { log, contents }, unfinished) = (checkpoint, Unfinished::default());
        let (pace, due) = (Pace::default(), Due::new(lake.checkpoint_entries));
        Shard { log, contents, unfinished, pace, lake: *lake, due, checkpoint: None, damage: None }
    }

    /// Reads the log to its end.
    pub fn read(&mut self, store: &dyn Store, now: Duration, is_ours: IsOurs<'_>) -> Result<(), Error> {
        self.read_with(&OneByOne, store, now, is_ours)
    }

    /// The same, with several requests at once where there are many entries.
    pub fn read_with(
        &mut self,
        flight: &dyn Flight,
        store: &dyn Store,
        now: Duration,
        is_ours: IsOurs<'_>,
    ) -> Result<(), Error> {
        self.ensure_whole()?;
        let (begin, mut end, mut in_a_row) = (self.log.next(), 0_u64, 0);
        loop {
            let entries = match end.saturating_sub(self.log.next()) {
                0 | 1 => self.log.look(store)?.map(|bytes| Read::of(&bytes)).into_iter().collect(),
                known => self.log.look_ahead(store, flight, known)?,
            };
            if entries.is_empty() {
                break;
            }
            in_a_row += entries.len() as u64;
            for read in entries {
                self.take(store, read, now, is_ours)?;
            }
            if in_a_row >= LAKE_BACKLOG && end <= self.log.next() {
                (end, in_a_row) = (self.log.find_end(store, self.log.next())?, 0);
            }
        }
        self.pace.has_read(now, self.log.next() > begin);
        Ok(())
    }

    /// Fails if damage was found before.
    pub fn ensure_whole(&self) -> Result<(), Error> {
        self.damage.clone().map_or(Ok(()), Err)
    }

    /// Fails, for ever, if there are entries behind a hole.
    pub fn check_beyond(&mut self, store: &dyn Store, flight: &dyn Flight) -> Result<(), Error> {
        self.log.check_beyond(store, flight).inspect_err(|error| {
            self.damage = Some(error.clone()).filter(Error::is_damage);
        })
    }

    /// Takes the next entry.
    pub fn take(&mut self, store: &dyn Store, read: Read, now: Duration, is_ours: IsOurs<'_>) -> Result<(), Error> {
        let Read { sha256, bytes, entry } = read;
        let checked = self.checked(entry).inspect_err(|error| {
            self.damage = Some(error.clone()).filter(Error::is_damage);
        });
        let mut is_writer = false;
        match checked {
            Ok(entry) => {
                self.contents.add(&entry);
                self.unfinished.drop_below(entry.header.floor);
                is_writer = is_ours(&entry);
                if !is_writer {
                    self.pace.read(now, entry.header.host);
                }
                self.unfinished.add(entry, now, is_writer);
            }
            Err(error @ Error::Malformed { .. }) if !self.is_skipped(store, &sha256)? => return Err(error),
            Err(Error::Malformed { .. }) => {}
            Err(error) => return Err(error),
        }
        self.log.advance(sha256);
        // One host is enough; if it dies before it has written it, there will be another checkpoint.
        if self.due.take(bytes, self.log.next(), self.contents.len()) && is_writer {
            self.checkpoint = Some(self.log.next());
        }
        Ok(())
    }

    /// Writes the checkpoint that is due, if one is and nothing was read since. Another host's must be the same.
    pub fn write_checkpoint(&mut self, store: &dyn Store) -> Result<(), Error> {
        let due = self.checkpoint.filter(|place| *place == self.log.next());
        let Some(place) = due else {
            self.checkpoint = None;
            return Ok(());
        };
        // The first piece is the last one that is written: without it there is no checkpoint.
        for piece in (0..checkpoint::pieces(self.contents.len())).rev() {
            let key = keys::checkpoint_piece(self.log.shard(), place, piece);
            let bytes = checkpoint::encode(&self.log, &self.contents, piece);
            if store.create(&key, &bytes, &sha256(&bytes)).is_err() && store.get(&key)? != bytes {
                let error = Error::Checkpoint { key };
                self.damage = Some(error.clone());
                return Err(error);
            }
        }
        self.checkpoint = None;
        Ok(())
    }

    fn checked(&self, read: Result<Entry, Fault>) -> Result<Entry, Error> {
        let key = self.log.slot();
        let entry = match read {
            Ok(entry) => entry,
            Err(Fault::Newer(version)) => return Err(Error::Newer { key, version }),
            Err(Fault::Malformed(why)) => return Err(Error::Malformed { key, why }),
        };
        self.log.check(&entry)?;
        if let Body::Upgrade(version) = entry.body {
            return Err(Error::Newer { key, version });
        }
        let is_fresh = |pack: &String| self.is_fresh(pack, entry.header.number);
        let is_own = |claim: &Claim| self.lake.shard_of(&claim.sha256) == entry.header.shard;
        let checked = if !entry.packs().iter().all(is_fresh) {
            Err("the entry names a pack that is too old")
        } else if !entry.claims().iter().all(is_own) {
            Err("the entry claims a content of another shard")
        } else {
            self.contents.check(&entry)
        };
        checked.map_err(|why| Error::Malformed { key, why })?;
        Ok(entry)
    }

    /// True if an entry of this number may name the pack: so few numbers after that with which it was made that, once the
    /// log is longer, no entry will ever name it.
    pub fn is_fresh(&self, pack: &str, number: u64) -> bool {
        keys::pack_place(pack)
            .is_some_and(|(_, since)| number <= since.saturating_add(u64::from(self.lake.checkpoint_entries)))
    }

    /// True if an operator has decided that exactly this entry does not count.
    fn is_skipped(&self, store: &dyn Store, entry: &Sha256) -> Result<bool, Error> {
        is_skipped(store, &self.log, entry)
    }

    /// True if the content's line is there, as far as this host knows.
    pub fn is_listed(&self, content: &Sha256) -> bool {
        self.contents.get(content).is_some_and(|known| self.unfinished.get(known.entry).is_none())
    }
}

/// True if an operator has decided that the entry in the log's next slot, with these bytes, does not count.
///
/// # Errors
/// The store fails.
pub fn is_skipped(store: &dyn Store, log: &Log, entry: &Sha256) -> Result<bool, Error> {
    match store.get(&keys::skip(log.shard(), log.next())) {
        Ok(mark) => Ok(Sha256::from_hex(&mark) == Some(*entry)),
        Err(error) if error.kind == Kind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Decides for all hosts that the entry with these bytes, at which its shard stops, does not count. The mark names the
/// bytes, so that it skips these and no others; it is created and never replaced.
///
/// # Errors
/// The store fails, or [`Error::NotSkipped`]: there is a mark that names other bytes.
pub fn skip(store: &dyn Store, shard: u16, number: u64, bytes: &Sha256) -> Result<(), Error> {
    let (key, mark) = (keys::skip(shard, number), bytes.hex().into_bytes());
    let Err(error) = store.create(&key, &mark, &sha256(&mark)) else { return Ok(()) };
    match store.get(&key) {
        Ok(found) if found == mark => Ok(()),
        Ok(_) => Err(Error::NotSkipped { key: keys::slot(shard, number), why: "there is a mark for other bytes" }),
        Err(_) => Err(error.into()),
    }
}
