//! How many files are how far.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::Settle;
use super::tracked::{Phase, Tracked};
use crate::pipeline::WhyNot;

impl Settle {
    /// Files handed out and not reported yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Files that wait to be handed out.
    pub fn ready(&self) -> usize {
        self.queues.ready.len()
    }

    /// Files that were refused and are looked at again later, for a while or until they change.
    pub fn held(&self) -> usize {
        self.census.held()
    }

    /// Files that are not complete, as far as we know.
    pub fn incomplete(&self) -> usize {
        let others = self.queues.ready.len() + self.queues.found.len() + self.in_flight + self.census.held();
        self.tracked.len().saturating_sub(others)
    }

    /// When the file was first seen, on the monotonic clock and to the second, that has been here for longest and is neither
    /// ingested nor a duplicate. A file that is another by now under the same name begins anew.
    pub fn oldest_seen(&self) -> Option<Duration> {
        self.census.oldest()
    }

    /// True if the name is of a file that is not ingested yet.
    pub fn knows(&self, name: &OsStr) -> bool {
        self.tracked.contains_key(name)
    }

    /// True if the name was looked at in the scan under way, or is of a file that is on its way.
    pub fn is_seen(&self, name: &OsStr) -> bool {
        let is_seen = |it: &Tracked| it.scan == self.scan || matches!(it.phase, Phase::InFlight { .. });
        self.tracked.get(name).is_some_and(|tracked| is_seen(tracked))
    }

    /// True if the name is of a file that is on its way.
    pub fn is_in_flight(&self, name: &OsStr) -> bool {
        self.tracked.get(name).is_some_and(|tracked| matches!(tracked.phase, Phase::InFlight { .. }))
    }

    /// Every file that is not being ingested, and why.
    pub fn waiting(&self) -> impl Iterator<Item = (&Arc<OsStr>, WhyNot)> {
        self.tracked.iter().filter_map(|(name, tracked)| match tracked.phase {
            Phase::Waiting { why, .. } | Phase::Held { why, .. } => Some((name, why)),
            Phase::Ready | Phase::InFlight { .. } => None,
        })
    }

    /// The name is done with, or gone.
    pub(super) fn forget(&mut self, name: &OsStr) {
        if let Some(tracked) = self.tracked.remove(name) {
            tracked.leave(&mut self.census);
        }
    }
}
