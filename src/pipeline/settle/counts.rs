//! How many files are in which phase.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::Settle;
use super::tracked::{Phase, Tracked};
use crate::pipeline::WhyNot;

impl Settle {
    /// Files that were handed out and not reported yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Files that wait to be handed out.
    pub fn ready(&self) -> usize {
        self.queues.ready.len() + self.groups.out.len()
    }

    /// Files that were refused and are checked again later, after a time or when they change.
    pub fn held(&self) -> usize {
        self.census.held()
    }

    /// Files that are not known to be complete.
    pub fn incomplete(&self) -> usize {
        let others = self.queues.ready.len() + self.queues.found.len() + self.in_flight + self.census.held();
        self.tracked.len().saturating_sub(others)
    }

    /// When the file that has been here longest, and is neither ingested nor a duplicate, was first seen: on the
    /// monotonic clock, to the second. Another file under the same name counts from its own first sight.
    pub fn oldest_seen(&self) -> Option<Duration> {
        self.census.oldest()
    }

    /// True if the name belongs to a file that is not ingested yet.
    pub fn knows(&self, name: &OsStr) -> bool {
        self.tracked.contains(name)
    }

    /// True if the current scan has checked the name, or its file is in flight.
    pub fn is_seen(&self, name: &OsStr) -> bool {
        let is_seen = |it: &Tracked| it.scan == self.scan || matches!(it.phase, Phase::InFlight { .. });
        self.tracked.get(name).is_some_and(is_seen)
    }

    /// True if the name's file is in flight.
    pub fn is_in_flight(&self, name: &OsStr) -> bool {
        self.tracked.get(name).is_some_and(|tracked| matches!(tracked.phase, Phase::InFlight { .. }))
    }

    /// The files that may share the sidecar of that name.
    pub fn beside(&self, sidecar: &OsStr) -> Vec<Arc<OsStr>> {
        self.sidecars.of(sidecar)
    }

    /// Every file that is not being ingested, and why.
    pub fn waiting(&self) -> impl Iterator<Item = (&Arc<OsStr>, WhyNot)> {
        self.tracked.iter().filter_map(|(name, tracked)| match tracked.phase {
            Phase::Waiting { why, .. } | Phase::Held { why, .. } => Some((name, why)),
            Phase::Ready | Phase::InFlight { .. } => None,
        })
    }

    /// The name's file is finished, or gone.
    pub(super) fn forget(&mut self, name: &OsStr) {
        if let Some(tracked) = self.tracked.remove(name) {
            tracked.leave(&mut self.census);
            self.sidecars.remove(name);
        }
        self.groups.forget(name);
    }
}
