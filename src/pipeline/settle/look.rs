//! Reports what is known of one file.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::Settle;
use super::tracked::{Phase, Tracked};
use crate::pipeline::WhyNot;

impl Settle {
    /// What is known of one file; None if it was not seen, or is a kept duplicate.
    pub fn tell(&self, name: &OsStr, now: Duration) -> Option<Tracking> {
        Some(self.tracking(name, self.tracked.get(name)?, now))
    }

    /// The files behind this place, in the order in which they were first seen, as far as they are not ingested; kept
    /// duplicates are not among them. After gaps were closed, all files are at later places, and come again.
    pub fn by_age(&self, after: Option<Age>) -> impl Iterator<Item = (Age, &Arc<OsStr>)> {
        let age = |(place, name, tracked): (u64, _, &Tracked)| {
            let age = Age { second: tracked.first_seen_seconds, place };
            (age, name)
        };
        self.tracked.from(after.map_or(0, |after| after.place + 1)).map(age)
    }

    /// The number of files that are known and not ingested.
    pub fn known(&self) -> usize {
        self.tracked.len()
    }

    fn tracking(&self, name: &OsStr, tracked: &Tracked, now: Duration) -> Tracking {
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
        look
    }
}

/// The place of a file in the order in which files were first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// When it was first seen, on the monotonic clock.
    pub second: u32,
    /// Files of the same second differ in this.
    pub place: u64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::settle::Mode;
    use crate::pipeline::settle::queue::tests::sighting;

    /// Why: what waits longest is what an operator looks for first; and a file that was replaced has not waited at all.
    #[test]
    fn files_are_in_the_order_in_which_they_were_first_seen() {
        let name = |name: &str| -> Arc<OsStr> { Arc::from(OsStr::new(name)) };
        let window = Mode::Stability(Duration::from_secs(3600));
        let mut settle = Settle::new(window, Duration::from_secs(1), std::iter::empty());
        for (at, file) in ["c", "a", "b", "d"].into_iter().enumerate() {
            settle.see(&name(file), Some(&sighting(at as u64, 0)), false, Duration::from_secs(at as u64));
        }
        let order = |settle: &Settle, after| -> String {
            settle.by_age(after).map(|(_, name)| name.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(order(&settle, None), "cabd");
        let (first, _) = settle.by_age(None).next().unwrap();
        assert_eq!((first.second, order(&settle, Some(first))), (0, "abd".to_owned()));
        // Written to, it is the same file; replaced, it is a new one.
        settle.see(&name("a"), Some(&sighting(1, 7)), true, Duration::from_secs(10));
        assert_eq!(order(&settle, None), "cabd");
        settle.see(&name("c"), Some(&sighting(9, 0)), true, Duration::from_secs(11));
        assert_eq!((order(&settle, None), settle.known()), ("abdc".to_owned(), 4));
        assert_eq!(settle.by_age(None).last().unwrap().0.second, 11);
        settle.see(&name("b"), None, true, Duration::from_secs(12));
        assert_eq!(order(&settle, Some(first)), "adc");
    }
}
