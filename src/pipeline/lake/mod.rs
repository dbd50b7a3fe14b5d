//! A lake as the committer sees it: one host of it, and patience with its store.
//!
//! Invariants:
//! - While the store does not answer, nothing is decided, and staging is left as it is.
//! - What shows that the log is damaged, or that this program may not write to it, ends the process.

pub mod batch;
pub mod line;

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::lake::host::{Host, State};
use crate::lake::publish::AtHand;
use crate::lake::{self, keys};
use crate::limits::{LAKE_RETRY_MAX, LAKE_RETRY_MIN, LAKE_TURN_MIN};
use crate::metrics::Metrics;
use crate::store::location::Location;
use crate::types::Sha256;

/// Called to wait, while the store is away or for the next entry: waits about so long, and says whether to go on.
pub type OnAway = Box<dyn FnMut(Duration) -> bool + Send>;

/// One host of a lake, with the places of the lake.
pub struct Lake {
    pub(super) host: Host,
    /// Where data objects are.
    pub(super) warehouse: Location,
    on_away: OnAway,
    metrics: Arc<Metrics>,
    /// The store did not answer the last time.
    is_away: bool,
    /// When the log was read the last time, and what was due was done.
    turned: Duration,
}

/// Nothing of any content: whoever finishes an entry takes the bytes from its pack.
struct Nothing;

impl AtHand for Nothing {
    fn bytes(&self, _: &Sha256) -> Option<Vec<u8>> {
        None
    }
}

impl Lake {
    /// A host whose log was not read yet.
    pub fn new(host: Host, warehouse: Location, on_away: OnAway, metrics: Arc<Metrics>) -> Lake {
        Lake { host, warehouse, on_away, metrics, is_away: false, turned: Duration::ZERO }
    }

    /// Reads checkpoints and logs to their ends, and makes sure that these are the ends.
    ///
    /// # Errors
    /// See [`Lake::patiently`].
    pub fn begin(&mut self) -> Result<(), Error> {
        self.patiently(&mut |host| {
            host.start()?;
            host.read()?;
            host.check_ends()
        })
    }

    /// How far a content is, as far as the log was read.
    pub fn state(&self, content: &Sha256) -> State {
        self.host.state(content)
    }

    /// The URL of a data object.
    pub(super) fn url(&self, key: &str) -> String {
        self.warehouse.of(key)
    }

    /// The key that a file's data object gets, if its content was never forgotten.
    pub(super) fn first_key(&self, partition: &str, name: &[u8], content: &Sha256) -> String {
        keys::data(partition, name, content, 0)
    }

    /// Repeats requests until the store answers.
    ///
    /// # Errors
    /// [`Error::Lake`] if waiting does not help; [`Error::StoreAway`] if the process is not to wait.
    pub(super) fn patiently<T>(
        &mut self,
        act: &mut dyn FnMut(&mut Host) -> Result<T, lake::Error>,
    ) -> Result<T, Error> {
        let mut pause = LAKE_RETRY_MIN;
        loop {
            match act(&mut self.host) {
                Ok(done) => {
                    self.is_back();
                    return Ok(done);
                }
                Err(error) if error.is_damage() || matches!(error, lake::Error::Full(_)) => return Err(error.into()),
                Err(error) => self.wait(&error, pause)?,
            }
            pause = (pause * 2).min(LAKE_RETRY_MAX);
        }
    }

    /// Waits some time for a store that does not answer.
    fn wait(&mut self, error: &lake::Error, pause: Duration) -> Result<(), Error> {
        self.is_not_there(error, pause);
        let gives_up = || Error::StoreAway(error.to_string());
        if (self.on_away)(pause) { Ok(()) } else { Err(gives_up()) }
    }

    fn is_not_there(&mut self, error: &lake::Error, retry_in: Duration) {
        if !std::mem::replace(&mut self.is_away, true) {
            self.metrics.store_away(&error.to_string(), retry_in);
        }
    }

    fn is_back(&mut self) {
        if std::mem::take(&mut self.is_away) {
            self.metrics.store_back();
        }
    }

    /// Finishes what is due, of this host and of others. What the store refuses is due again later.
    ///
    /// # Errors
    /// As [`Lake::patiently`], but it does not wait.
    pub(super) fn help(&mut self, at_hand: &dyn AtHand) -> Result<(), Error> {
        let helped = self.host.help(at_hand)?;
        match helped.errors.into_iter().next() {
            None => self.is_back(),
            Some(error) if error.is_damage() => return Err(error.into()),
            Some(error) => self.is_not_there(&error, LAKE_RETRY_MIN),
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

    /// Waits a moment for entries that have to be finished first.
    ///
    /// # Errors
    /// The process is not to wait.
    pub(super) fn wait_a_little(&mut self) -> Result<(), Error> {
        if (self.on_away)(LAKE_RETRY_MIN) { Ok(()) } else { Err(stopping()) }
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
                Ok(()) => self.is_back(),
                Err(error) if error.is_damage() => return Err(error.into()),
                Err(error) => self.is_not_there(&error, LAKE_RETRY_MIN),
            }
        }
        self.help(&Nothing)
    }

    /// Waits until this host may make an entry again.
    ///
    /// # Errors
    /// The process is not to wait.
    pub(super) fn keep_pace(&mut self) -> Result<(), Error> {
        let wait = self.host.next_entry_at().saturating_sub(self.host.now());
        let goes_on = wait.is_zero() || (self.on_away)(wait);
        if goes_on { Ok(()) } else { Err(stopping()) }
    }
}

fn stopping() -> Error {
    Error::StoreAway("the process is stopping".to_owned())
}
