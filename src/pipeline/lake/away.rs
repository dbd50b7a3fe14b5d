//! Patience with a store that does not answer.
//!
//! Invariants:
//! - While it is away, an event has said so, and the process is not ready.
//! - A single answer that is lost says nothing yet: the store is away if the next try fails too, or if there is none.
//! - Only waits for a store that does not answer add up, and only until it answers.

use std::sync::Arc;
use std::time::Duration;

use crate::lake;
use crate::limits::{LAKE_AWAY_FAILURES, LAKE_RETRY_MAX, LAKE_RETRY_MIN};
use crate::metrics::Metrics;
use crate::pipeline::Error;

/// Called to wait, while the store is away or for the next entry: waits about so long. False if the process is stopping.
pub type OnAway = Box<dyn FnMut(Duration) -> bool + Send>;

/// Whether the store answers, and how to wait for it.
pub struct Away {
    on_away: OnAway,
    /// So long it waits for a store that does not answer; None: for ever.
    most: Option<Duration>,
    /// So long it has waited since the store has answered.
    waited: Duration,
    metrics: Arc<Metrics>,
    /// So often in a row it did not answer.
    failures: u32,
}

impl Away {
    /// A store that answers, as far as is known. `most`: so long it is waited for; None: for ever.
    pub fn new(on_away: OnAway, most: Option<Duration>, metrics: Arc<Metrics>) -> Away {
        Away { on_away, most, waited: Duration::ZERO, metrics, failures: 0 }
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
                    self.waited += pause;
                    if self.is_too_long(self.waited) || !(self.on_away)(pause) {
                        self.fail_until(LAKE_AWAY_FAILURES, &error, pause);
                        return Err(Error::StoreAway(error.to_string()));
                    }
                }
            }
            pause = (pause * 2).min(LAKE_RETRY_MAX);
        }
    }

    /// The store did not answer as it should.
    pub(super) fn is_not_there(&mut self, error: &lake::Error, retry_in: Duration) {
        self.fail_until(self.failures.saturating_add(1), error, retry_in);
    }

    /// So often at least it has failed in a row.
    fn fail_until(&mut self, failures: u32, error: &lake::Error, retry_in: Duration) {
        let before = self.failures;
        self.failures = failures.max(before);
        if before < LAKE_AWAY_FAILURES && self.failures >= LAKE_AWAY_FAILURES {
            self.metrics.store_away(&error.to_string(), retry_in);
        }
    }

    /// The store answers.
    pub(super) fn is_back(&mut self) {
        self.waited = Duration::ZERO;
        if std::mem::take(&mut self.failures) >= LAKE_AWAY_FAILURES {
            self.metrics.store_back();
        }
    }

    /// True if the process is not to wait so long.
    pub(super) fn is_too_long(&self, waited: Duration) -> bool {
        self.most.is_some_and(|most| waited > most)
    }

    /// Waits for something else than the store. False if the process is stopping.
    pub(super) fn pause(&mut self, time: Duration) -> bool {
        (self.on_away)(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Phase;
    use crate::store::{self, Kind, Verb};

    fn lost() -> lake::Error {
        store::Error { verb: Verb::Create, key: "k".to_owned(), kind: Kind::MayHaveHappened, detail: String::new() }
            .into()
    }

    #[test]
    fn one_lost_answer_is_no_store_that_is_away() {
        let metrics = Arc::new(Metrics::default());
        metrics.enter(Phase::Running);
        let mut away = Away::new(Box::new(|_| true), None, metrics.clone());
        let mut answers = vec![Ok(()), Err(lost())];
        away.patiently(&mut || answers.pop().unwrap_or(Ok(()))).unwrap();
        away.is_not_there(&lost(), LAKE_RETRY_MIN);
        assert_eq!(metrics.not_ready(), None);
        away.is_not_there(&lost(), LAKE_RETRY_MIN);
        assert!(metrics.not_ready().is_some_and(|why| why.contains("store")));
        away.is_back();
        assert_eq!(metrics.not_ready(), None);
    }

    #[test]
    fn a_process_that_is_not_to_wait_says_why_it_ends() {
        let metrics = Arc::new(Metrics::default());
        metrics.enter(Phase::Running);
        let mut away = Away::new(Box::new(|_| false), None, metrics.clone());
        let ended = away.patiently::<()>(&mut || Err(lost()));
        assert!(matches!(ended, Err(Error::StoreAway(_))) && metrics.not_ready().is_some());
    }

    /// A run that ends by itself may meet a store that is away now and then, however long it takes in all.
    #[test]
    fn only_waits_for_one_absence_of_the_store_add_up() {
        let mut away = Away::new(Box::new(|_| true), Some(LAKE_RETRY_MIN * 8), Arc::default());
        for _ in 0..20 {
            away.pause(LAKE_RETRY_MAX);
            let mut answers = vec![Ok(()), Err(lost()), Err(lost())];
            away.patiently(&mut || answers.pop().unwrap_or(Ok(()))).unwrap();
        }
        let mut tries = 0;
        let ended = away.patiently::<()>(&mut || {
            tries += 1;
            Err(lost())
        });
        assert!(matches!(ended, Err(Error::StoreAway(_))));
        assert_eq!(tries, 4, "after waits of 1, 2 and 4 times the shortest");
    }
}
