//! Counts how many files wait and since when, without iterating over them.
//!
//! Invariant: a file that came and has not left is counted in the second in which it came, so there are never more
//! seconds than files, and usually only a few.

use std::collections::BTreeMap;
use std::time::Duration;

/// The second of a time on the monotonic clock, which begins with the process, so 136 years fit.
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

    /// A file that came in this second is finished, or gone.
    pub(super) fn left(&mut self, second: u32) {
        if let Some(count) = self.by_second.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.by_second.remove(&second);
            }
        }
    }

    /// The first second whose files are not all finished.
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
