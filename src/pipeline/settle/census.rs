//! How many files wait, and since when, without looking at each of them.
//!
//! Invariant: what came and has not left is counted in the second in which it came, so there are never more seconds than
//! files, and mostly a handful.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::{Phase, Settle, Tracked, Waiting};

/// The second that an instant of the monotonic clock lies in; it begins with the process, so 136 years fit.
pub(super) fn second(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Census {
    by_second: BTreeMap<u32, usize>,
    held: usize,
}

impl Census {
    /// A file came in this second.
    pub(super) fn came(&mut self, second: u32) {
        *self.by_second.entry(second).or_default() += 1;
    }

    /// A file that came in this second is done, or gone.
    pub(super) fn left(&mut self, second: u32) {
        if let Some(count) = self.by_second.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.by_second.remove(&second);
            }
        }
    }

    /// The first second whose files are not all done.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.by_second.first_key_value().map(|(second, _)| Duration::from_secs(u64::from(*second)))
    }

    /// A file is held.
    pub(super) fn hold(&mut self) {
        self.held += 1;
    }

    /// A file is no longer held.
    pub(super) fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// Files that are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

impl Tracked {
    /// It is no longer among those that wait.
    pub(super) fn leave(&self, census: &mut Census) {
        census.left(self.first_seen_seconds);
        if matches!(self.phase, Phase::Held { .. }) {
            census.release();
        }
    }
}

/// Who is there.
impl Settle {
    /// Files handed out and not reported yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Files that wait to be handed out.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Files that were refused and are looked at again later, for a while or until they change.
    pub fn held(&self) -> usize {
        self.census.held()
    }

    /// Files that are not complete, as far as we know.
    pub fn incomplete(&self) -> usize {
        let others = self.ready.len() + self.found.len() + self.in_flight + self.census.held();
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
    pub fn waiting(&self) -> impl Iterator<Item = (&Arc<OsStr>, Waiting)> {
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
