//! What a host lets its lake forget: contents that were listed long ago.
//!
//! Invariants:
//! - It does so once an hour at most, and makes an entry only where there is something to forget.
//! - Nothing depends on it: what the store refuses is asked again an hour later.

use std::time::Duration;

use super::away::Away;
use crate::lake::host::{Age, Host};
use crate::limits::{LAKE_FORGET_INTERVAL, LAKE_RETRY_MIN};
use crate::metrics::events;
use crate::pipeline::Error;
use crate::types::UnixMillis;

/// What is forgotten, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forgetting {
    /// Contents that were listed longer ago; None: nothing.
    age: Option<Duration>,
    /// Not before this time of the host's steady clock.
    next: Duration,
}

impl Forgetting {
    pub(super) fn of(age: Option<Duration>) -> Forgetting {
        Forgetting { age, next: Duration::ZERO }
    }

    /// Lets the lake forget what is old, if that is due. `now`: the host's time of day.
    ///
    /// # Errors
    /// The log is damaged, or not for this program.
    pub(super) fn go_on(&mut self, host: &mut Host, away: &mut Away, now: UnixMillis) -> Result<(), Error> {
        let steady = host.now();
        let Some(age) = self.age.filter(|_| self.next <= steady) else { return Ok(()) };
        self.next = steady + LAKE_FORGET_INTERVAL;
        let shards = u16::try_from(host.shards().len()).unwrap_or(u16::MAX);
        for shard in 0..shards {
            match host.forget_older(shard, &Age { now, age }, age.min(LAKE_FORGET_INTERVAL)) {
                Ok(0) => {}
                Ok(contents) => events::forgotten_in_lake(shard, contents, age),
                Err(error) if error.is_damage() => return Err(error.into()),
                Err(error) => {
                    away.is_not_there(&error, LAKE_RETRY_MIN);
                    break;
                }
            }
        }
        Ok(())
    }
}
