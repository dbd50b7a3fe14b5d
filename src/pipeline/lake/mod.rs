//! A lake as the committer sees it: one host of it, and patience with its store.
//!
//! Invariants:
//! - While the store does not answer, nothing is decided, and staging is left as it is.
//! - What shows that the log is damaged, or that this program may not write to it, ends the process.

mod away;
pub mod batch;
pub mod line;
mod notes;
mod remember;

use std::time::Duration;

pub use self::away::{Away, OnAway};
pub use self::notes::Notes;
use self::remember::Forgetting;
use super::Error;
use crate::heartbeat;
use crate::lake::format::LakeId;
use crate::lake::host::{Content, Host, State};
use crate::lake::publish::AtHand;
use crate::lake::{self, keys};
use crate::limits::{LAKE_RETRY_MIN, LAKE_TURN_MIN};
use crate::store::location::Location;
use crate::types::{Sha256, UnixMillis};

/// One host of a lake, with the places of the lake.
pub struct Lake {
    pub(super) host: Host,
    /// The lake's id.
    pub(super) id: [u8; 16],
    /// Where data objects are.
    pub warehouse: Location,
    away: Away,
    /// What the host has noted.
    pub(super) notes: Notes,
    /// When the log was read the last time, and what was due was done.
    turned: Duration,
    forgetting: Forgetting,
}

/// How a wait for entries that are not finished has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// They are to be looked at again.
    Enough,
    /// The process is to stop.
    Stopping,
    /// A run that ends by itself does not wait any longer.
    TooLong,
}

/// Nothing of any content: whoever finishes an entry takes the bytes from its pack.
struct Nothing;

impl AtHand for Nothing {
    fn bytes(&self, _: &Sha256) -> Option<Vec<u8>> {
        heartbeat::step();
        None
    }
}

impl Lake {
    /// A host whose log was not read yet, and which keeps these notes.
    pub fn new(host: Host, id: LakeId, warehouse: Location, away: Away, notes: Notes) -> Lake {
        Lake { host, id: id.0, warehouse, away, notes, turned: Duration::ZERO, forgetting: Forgetting::default() }
    }

    /// Reads checkpoints and logs to their ends, makes sure that these are the ends, and finds out what other hosts have
    /// finished.
    ///
    /// # Errors
    /// Waiting does not help, or the process is not to wait.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.patiently(&mut |host| host.start())?;
        self.patiently(&mut |host| host.read())?;
        self.patiently(&mut |host| host.check_ends())?;
        self.patiently(&mut |host| host.look_at_ends())
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.host.shards().len()
    }

    /// How far a content is, as far as the log was read.
    pub fn state(&self, content: &Sha256) -> State {
        self.host.state(content)
    }

    /// The URL of a data object.
    pub(super) fn url(&self, key: &str) -> String {
        self.warehouse.of(key)
    }

    /// The URL that a file's data object gets, if its content is new, as far as the log was read.
    pub fn next_url(&self, partition: &str, name: &[u8], content: &Sha256) -> String {
        let generation = self.host.next_generation(content).unwrap_or(0);
        self.url(&keys::data(partition, name, content, generation))
    }

    /// Why no entry can ever claim this content.
    pub fn unfit(&self, content: &Content) -> Option<&'static str> {
        self.host.unfit(content)
    }

    /// The URL of a content's data object and its manifest line, if an entry claims it.
    ///
    /// # Errors
    /// As [`Lake::begin`].
    pub fn claimed(&mut self, content: &Sha256) -> Result<Option<(String, Vec<u8>)>, Error> {
        let claimed = self.patiently(&mut |host| host.claim_of(content))?;
        Ok(claimed.map(|claimed| (self.url(&claimed.claim.key), claimed.claim.line)))
    }

    /// Repeats requests until the store answers.
    ///
    /// # Errors
    /// [`Error::Lake`] if waiting does not help; [`Error::StoreAway`] if the process is not to wait.
    pub(super) fn patiently<T>(
        &mut self,
        act: &mut dyn FnMut(&mut Host) -> Result<T, lake::Error>,
    ) -> Result<T, Error> {
        let Lake { host, away, .. } = self;
        away.patiently(&mut || act(host))
    }

    /// Finishes what is due, of this host and of others. What the store refuses is due again later.
    ///
    /// # Errors
    /// The log is damaged, or not for this program.
    pub(super) fn help(&mut self, at_hand: &dyn AtHand) -> Result<(), Error> {
        let helped = self.host.help(at_hand)?;
        match helped.errors.into_iter().next() {
            None if helped.finished > 0 => self.away.is_back(),
            // Perhaps nothing was due, and no request was made.
            None => {}
            Some(error) if error.is_damage() => return Err(error.into()),
            Some(error) => self.away.is_not_there(&error, LAKE_RETRY_MIN),
        }
        Ok(())
    }

    /// As [`Lake::help`], without any bytes at hand.
    ///
    /// # Errors
    /// As [`Lake::help`].
    pub(super) fn finish_due(&mut self) -> Result<(), Error> {
        self.help(&Nothing)
    }

    /// Waits a moment for entries that have to be finished first. `waited`: how long the caller has waited for them.
    pub(super) fn wait_a_little(&mut self, waited: &mut Duration) -> Waited {
        *waited += LAKE_RETRY_MIN;
        if self.away.is_too_long(*waited) {
            return Waited::TooLong;
        }
        if self.away.pause(LAKE_RETRY_MIN) { Waited::Enough } else { Waited::Stopping }
    }

    /// What an idle host does now and then: it reads the log if that is due, and finishes what is.
    ///
    /// # Errors
    /// As [`Lake::help`].
    pub(super) fn turn(&mut self) -> Result<(), Error> {
        let now = self.host.now();
        if now.saturating_sub(self.turned) < LAKE_TURN_MIN {
            return Ok(());
        }
        self.turned = now;
        if self.host.idle_read_at() <= now {
            match self.host.read() {
                Ok(()) => self.away.is_back(),
                Err(error) if error.is_damage() => return Err(error.into()),
                Err(error) => self.away.is_not_there(&error, LAKE_RETRY_MIN),
            }
        }
        self.help(&Nothing)
    }

    /// From now on, the lake forgets contents that were listed longer ago than this; None: nothing.
    pub fn remember(&mut self, age: Option<Duration>) {
        self.forgetting = Forgetting::of(age);
    }

    /// Lets the lake forget what is old, if that is due. `now`: the host's time of day.
    ///
    /// # Errors
    /// As [`Lake::help`].
    pub(super) fn forget_old(&mut self, now: UnixMillis) -> Result<(), Error> {
        let Lake { host, away, forgetting, .. } = self;
        forgetting.go_on(host, away, now)
    }

    /// Waits until this host may make an entry again, or until the process is to stop: it is only politeness. `is_full`: what
    /// waits fills an entry.
    pub(super) fn keep_pace(&mut self, is_full: bool) {
        let wait = self.host.next_entry_at(is_full).saturating_sub(self.host.now());
        if !wait.is_zero() {
            self.away.pause(wait);
        }
    }
}
