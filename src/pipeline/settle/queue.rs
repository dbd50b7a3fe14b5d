//! The names that are to be checked again, and when.
//!
//! Invariant: beyond twice the number of files, each queue holds at most a bounded number of stale entries, however often
//! a file changes. An entry is stale when its file has started again; stale entries are removed when there are many.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::order::{self, Order};
use super::tracked::{Mode, Moment, Phase, Tracked};
use super::{FOUND_FILES_MAX, Queues, Settle};
use crate::limits::STALE_ENTRIES_MAX;
use crate::pipeline::WhyNot;
use crate::types::FileTime;

impl Tracked {
    /// When the file is to be checked again.
    fn due(&self, mode: Mode) -> Option<Duration> {
        match (&self.phase, mode.window()) {
            (Phase::Waiting { since, why: WhyNot::Settling }, Some(window)) => Some(Duration::from(*since) + window),
            (Phase::Held { until, .. }, _) => until.map(Duration::from),
            _ => None,
        }
    }
}

impl Queues {
    /// Adds a complete file.
    pub(super) fn add(&mut self, mtime: FileTime, name: &Arc<OsStr>) {
        let entry = Reverse((order::key(self.order, mtime), name.clone()));
        if !self.holds {
            return self.ready.push(entry);
        }
        self.found.push(entry);
        if self.order.is_none() && self.found.len() > FOUND_FILES_MAX {
            self.holds = false;
            self.ready.extend(self.found.drain(..));
        }
    }
}

impl Settle {
    /// Hands over the files that have become complete since the last call.
    pub fn release(&mut self) {
        self.queues.ready.extend(self.queues.found.drain(..));
    }

    /// The order that is promised.
    pub fn order(&self) -> Option<Order> {
        self.queues.order
    }

    /// True if complete files wait for [`Settle::release`], to be sorted.
    pub fn holds_back(&self) -> bool {
        self.queues.order.is_some() && !self.queues.found.is_empty()
    }

    /// The earliest time at which a name is to be checked again.
    pub fn next_due(&self) -> Option<Duration> {
        self.queues.due.peek().map(|Reverse((due, _))| Duration::from(*due))
    }

    /// Up to `max` names that are to be checked again now.
    pub fn take_due(&mut self, now: Duration, max: usize) -> Vec<Arc<OsStr>> {
        let mut names = Vec::new();
        while names.len() < max && self.next_due().is_some_and(|due| due <= now) {
            if let Some(Reverse((due, name))) = self.queues.due.pop()
                && self.is_due(&name, due)
            {
                names.push(name);
            }
        }
        names
    }

    /// The name was due and could not be checked: it stays due.
    pub fn remind(&mut self, name: &Arc<OsStr>) {
        let due = self.tracked.get(name).and_then(|tracked| tracked.due(self.mode));
        self.queues.due.extend(due.map(|due| Reverse((due.into(), name.clone()))));
    }

    fn is_due(&self, name: &OsStr, due: Moment) -> bool {
        self.tracked.get(name).is_some_and(|tracked| tracked.due(self.mode) == Some(due.into()))
    }

    /// Removes stale entries, if there may be many.
    pub(super) fn trim(&mut self) {
        let entries_max = 2 * self.tracked.len() + STALE_ENTRIES_MAX;
        if self.queues.due.len() > entries_max {
            let mut due = std::mem::take(&mut self.queues.due).into_vec();
            due.retain(|Reverse((due, name))| self.is_due(name, *due));
            due.sort_unstable();
            due.dedup();
            self.queues.due = due.into();
        }
        let Queues { order, ready, found, .. } = &mut self.queues;
        let is_current = |Reverse((key, name)): &Reverse<(FileTime, Arc<OsStr>)>| {
            let is_it =
                |it: &Tracked| matches!(it.phase, Phase::Ready) && order::key(*order, it.identity.mtime) == *key;
            self.tracked.get(name).is_some_and(is_it)
        };
        if ready.len() > entries_max {
            let mut entries = std::mem::take(ready).into_vec();
            entries.retain(is_current);
            entries.sort_unstable();
            entries.dedup();
            *ready = entries.into();
        }
        if found.len() > entries_max {
            found.retain(is_current);
            found.sort_unstable();
            found.dedup();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Sighting;
    use super::*;
    use crate::fs::{FileKind, Stat};
    use crate::types::{FileIdentity, FileTime, UnixMillis};

    const TOUCHES: u32 = 1_000_000;

    pub(in crate::pipeline::settle) fn sighting(inode: u64, touch: u32) -> Sighting {
        let time = FileTime { sec: 1_000 + i64::from(touch), nsec: 0 };
        let identity = FileIdentity { device: 1, inode, size: 1, mtime: time, ctime: time };
        let stat = Stat { identity, kind: FileKind::Regular, links: 1, mode: 0o644, born: None };
        Sighting { stat, sidecar: None, orphaned: false, age: Duration::ZERO }
    }

    /// Why: a log file that is kept in staging is written to for months, and each write was an entry that stayed for one
    /// window or, if it was complete at first sight while the disk was full, forever.
    #[test]
    fn a_file_that_is_touched_for_ever_takes_no_memory() {
        let name: Arc<OsStr> = Arc::from(OsStr::new("a.csv"));
        for window in [Duration::ZERO, Duration::from_secs(3600)] {
            let mut settle = Settle::new(Mode::Stability(window), Duration::from_secs(1), std::iter::empty());
            for touch in 0..TOUCHES {
                settle.see(&name, Some(&sighting(1, touch)), true, Duration::from_micros(u64::from(touch)));
                let entries = settle.queues.due.len() + settle.queues.ready.len() + settle.queues.found.len();
                assert!(entries <= STALE_ENTRIES_MAX + 4, "{entries} after {touch}");
            }
            // It continues as if the file had been touched once.
            let later = Duration::from_secs(2 * 3600);
            let due = settle.take_due(later, usize::MAX);
            assert_eq!(due.len(), usize::from(!window.is_zero()));
            due.iter().for_each(|name| settle.see(name, Some(&sighting(1, TOUCHES - 1)), false, later));
            assert!(settle.take_ready(UnixMillis(0)).is_some());
            assert!(settle.take_ready(UnixMillis(0)).is_none());
        }
    }

    /// Why: the same happens with names that come and go, a new one each time.
    #[test]
    fn names_that_come_and_go_take_no_memory() {
        let window = Mode::Stability(Duration::from_secs(3600));
        let mut settle = Settle::new(window, Duration::from_secs(1), std::iter::empty());
        for touch in 0..TOUCHES / 4 {
            let now = Duration::from_micros(u64::from(touch));
            let name: Arc<OsStr> = Arc::from(OsStr::new(&format!("{touch}.csv")));
            settle.see(&name, Some(&sighting(u64::from(touch), touch)), true, now);
            settle.see(&name, None, true, now);
            assert!(settle.queues.due.len() <= STALE_ENTRIES_MAX + 4 && settle.tracked.len() == 0);
        }
    }

    /// Why: staging may be unreachable when a file is due, and nothing else may ever cause another check.
    #[test]
    fn what_could_not_be_looked_at_is_due_still() {
        let name: Arc<OsStr> = Arc::from(OsStr::new("a.csv"));
        let (window, later) = (Duration::from_secs(10), Duration::from_secs(11));
        let mut settle = Settle::new(Mode::Stability(window), Duration::from_secs(1), std::iter::empty());
        settle.see(&name, Some(&sighting(1, 0)), false, Duration::ZERO);
        assert_eq!(settle.take_due(later, 8), std::slice::from_ref(&name));
        assert_eq!(settle.take_due(later, 8), []);
        settle.remind(&name);
        assert_eq!(settle.take_due(later, 8), [name]);
    }
}
