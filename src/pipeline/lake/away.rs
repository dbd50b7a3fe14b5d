//! Patience with a store that does not answer.
//!
//! Invariant: while it is away, an event has said so, and the process is not ready.

use std::sync::Arc;
use std::time::Duration;

use crate::lake;
use crate::limits::{LAKE_RETRY_MAX, LAKE_RETRY_MIN};
use crate::metrics::Metrics;
use crate::pipeline::Error;

/// Called to wait, while the store is away or for the next entry: waits about so long, and says whether to go on.
pub type OnAway = Box<dyn FnMut(Duration) -> bool + Send>;

/// Whether the store answers, and how to wait for it.
pub struct Away {
    on_away: OnAway,
    metrics: Arc<Metrics>,
    /// The store did not answer the last time.
    is_away: bool,
}

impl Away {
    /// A store that answers, as far as is known.
    pub fn new(on_away: OnAway, metrics: Arc<Metrics>) -> Away {
        Away { on_away, metrics, is_away: false }
    }

    /// Repeats a request until the store answers.
    ///
    /// # Errors
    /// [`Error::Lake`] if waiting does not help; [`Error::StoreAway`] if the process is not to wait.
    pub fn patiently<T>(&mut self, act: &mut dyn FnMut() -> Result<T, lake::Error>) -> Result<T, Error> {
        let mut pause = LAKE_RETRY_MIN;
        loop {
            match act() {
                Ok(done) => {
                    self.is_back();
                    return Ok(done);
                }
                Err(error) if !error.may_pass() => return Err(error.into()),
                Err(error) => {
                    self.is_not_there(&error, pause);
                    if !(self.on_away)(pause) {
                        return Err(Error::StoreAway(error.to_string()));
                    }
                }
            }
            pause = (pause * 2).min(LAKE_RETRY_MAX);
        }
    }

    /// The store did not answer as it should.
    pub(super) fn is_not_there(&mut self, error: &lake::Error, retry_in: Duration) {
        if !std::mem::replace(&mut self.is_away, true) {
            self.metrics.store_away(&error.to_string(), retry_in);
        }
    }

    /// The store answers.
    pub(super) fn is_back(&mut self) {
        if std::mem::take(&mut self.is_away) {
            self.metrics.store_back();
        }
    }

    /// Waits.
    ///
    /// # Errors
    /// The process is not to wait.
    pub(super) fn wait(&mut self, time: Duration) -> Result<(), Error> {
        if (self.on_away)(time) { Ok(()) } else { Err(Error::StoreAway("the process is stopping".to_owned())) }
    }
}
