//! Reports what is known of one file.

use std::ffi::OsStr;
use std::time::Duration;

use super::Settle;
use super::tracked::Phase;
use crate::pipeline::WhyNot;

impl Settle {
    /// What is known of one file; None if it was not seen, or is a kept duplicate.
    pub fn tell(&self, name: &OsStr, now: Duration) -> Option<Tracking> {
        let tracked = self.tracked.get(name)?;
        let mut look = Tracking {
            phase: "ready",
            why: None,
            unchanged: None,
            retry_in: None,
            failures: Some(u32::from(tracked.failures)),
        };
        match tracked.phase {
            Phase::Waiting { since, why } => {
                look = Tracking {
                    phase: "waiting",
                    why: Some(why),
                    unchanged: Some(now.saturating_sub(since.into())),
                    ..look
                };
            }
            Phase::Held { until, why } => {
                let retry_in = until.map(|until| Duration::from(until).saturating_sub(now));
                look = Tracking { phase: "held", why: Some(why), retry_in, ..look };
            }
            Phase::InFlight { .. } if self.is_asking(name) => {
                look = Tracking { phase: "waiting", why: Some(WhyNot::GroupIncomplete), ..look };
            }
            Phase::InFlight { .. } => look.phase = "in_flight",
            Phase::Ready => {}
        }
        Some(look)
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub struct Tracking {
    /// `waiting`, `held`, `ready` or `in_flight`.
    pub phase: &'static str,
    /// Why it waits or is held.
    pub why: Option<WhyNot>,
    /// For a waiting file: for how long it was seen unchanged.
    pub unchanged: Option<Duration>,
    /// For a held file: after how long it is checked again at the latest.
    pub retry_in: Option<Duration>,
    /// Failures in a row in this state.
    pub failures: Option<u32>,
}
