//! Which unfinished entries this host finishes, and when.
//!
//! Invariants:
//! - *Roll forward*: every unfinished entry that this host has read gets its turn, whoever wrote it, again and again until
//!   it is finished: a host that died for ever blocks nobody.
//! - The times are politeness: another host's entry gets [`LAKE_PATIENCE`], so that two hosts seldom do the same work.
//!   Nothing goes wrong if they do.
//! - *Floor*: what an entry says is finished is not looked at any more, so that a manifest that retention has removed
//!   stays removed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::Entry;
use crate::limits::{LAKE_PATIENCE, LAKE_RETRY_MAX, LAKE_RETRY_MIN, LAKE_UNFINISHED_MAX};

/// The unfinished entries of a shard.
#[derive(Debug, Default)]
pub struct Unfinished {
    entries: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    entry: Entry,
    /// When this host may finish it.
    due: Duration,
    /// When this host may ask whether it is finished; [`Duration::MAX`] if it has no reason to.
    look: Duration,
    tries: u32,
}

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Finish it.
    Finish(u64),
    /// Find out whether it is finished.
    Look(u64),
}

impl Unfinished {
    /// An entry that was read. `is_ours`: this host wrote it or has bytes of it at hand, so it finishes it at once.
    pub fn add(&mut self, entry: Entry, now: Duration, is_ours: bool) {
        if entry.claims().is_empty() {
            return;
        }
        let due = if is_ours { now } else { now + LAKE_PATIENCE };
        self.entries.insert(entry.header.number, Open { entry, due, look: Duration::MAX, tries: 0 });
    }

    /// The rule "floor": everything below it is finished.
    pub fn drop_below(&mut self, floor: u64) {
        self.entries = self.entries.split_off(&floor);
    }

    /// The entry is finished.
    pub fn finished(&mut self, number: u64) {
        self.entries.remove(&number);
    }

    /// The entry, if it is unfinished.
    pub fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number).map(|open| &open.entry)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|open| &open.entry)
    }

    /// The floor of the next entry, whose number is `next`: everything below it is finished, as far as this host knows.
    pub fn floor(&self, next: u64) -> u64 {
        self.entries.first_key_value().map_or(next, |(number, _)| *number)
    }

    /// True if there are so many that nobody appends.
    pub fn are_too_many(&self) -> bool {
        self.entries.len() >= LAKE_UNFINISHED_MAX
    }

    /// Somebody waits for the end of this entry: it is looked at soon.
    pub fn wants(&mut self, number: u64, now: Duration) {
        if let Some(open) = self.entries.get_mut(&number) {
            open.look = open.look.min(now + retry(open.tries));
        }
    }

    /// What is due, oldest first.
    pub fn tasks(&self, now: Duration) -> Vec<Task> {
        let oldest = self.entries.first_key_value().filter(|_| self.are_too_many()).map(|(number, _)| *number);
        let task = |(number, open): (&u64, &Open)| {
            if open.due <= now || oldest == Some(*number) {
                return Some(Task::Finish(*number));
            }
            (open.look <= now).then_some(Task::Look(*number))
        };
        self.entries.iter().filter_map(task).collect()
    }

    /// What was tried has not finished it: it is tried again after a pause, which doubles each time.
    pub fn postpone(&mut self, number: u64, now: Duration) {
        if let Some(open) = self.entries.get_mut(&number) {
            open.due = open.due.max(now + retry(open.tries));
            open.look = Duration::MAX;
            open.tries = open.tries.saturating_add(1);
        }
    }
}

/// The pause after so many tries.
fn retry(tries: u32) -> Duration {
    LAKE_RETRY_MIN.saturating_mul(1 << tries.min(16)).min(LAKE_RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::entry::{Body, Claim, Claims, Header, Place};
    use crate::lake::format::LakeId;
    use crate::types::{Sha256, UnixMillis};

    const NOW: Duration = Duration::from_secs(1_000);

    fn entry(number: u64) -> Entry {
        let (lake, predecessor) = (LakeId([0; 16]), Sha256([0; 32]));
        let header = Header { lake, shard: 0, number, predecessor, floor: 0, host: [0; 16], serial: 0 };
        let claim = Claim {
            sha256: Sha256([0; 32]),
            generation: 0,
            size: 0,
            ingested_at: UnixMillis(0),
            key: String::new(),
            bytes: Place::Pack { pack: 0, offset: 0 },
            line: Vec::new(),
        };
        Entry { header, body: Body::Claims(Claims { packs: Vec::new(), claims: vec![claim] }) }
    }

    #[test]
    fn ours_are_due_at_once_and_others_after_a_while() {
        let mut unfinished = Unfinished::default();
        unfinished.add(entry(3), NOW, false);
        unfinished.add(entry(4), NOW, true);
        assert_eq!(unfinished.tasks(NOW), [Task::Finish(4)]);
        assert_eq!(unfinished.tasks(NOW + LAKE_PATIENCE), [Task::Finish(3), Task::Finish(4)]);
        unfinished.wants(3, NOW);
        assert_eq!(unfinished.tasks(NOW + LAKE_RETRY_MIN), [Task::Look(3), Task::Finish(4)]);
        unfinished.postpone(4, NOW);
        assert_eq!(unfinished.tasks(NOW), []);
        assert_eq!(unfinished.tasks(NOW + LAKE_RETRY_MIN), [Task::Look(3), Task::Finish(4)]);
    }

    #[test]
    fn the_floor_is_the_oldest_that_is_unfinished() {
        let mut unfinished = Unfinished::default();
        assert_eq!(unfinished.floor(7), 7);
        (3..6).for_each(|number| unfinished.add(entry(number), NOW, true));
        unfinished.finished(4);
        assert_eq!(unfinished.floor(6), 3);
        unfinished.drop_below(4);
        assert_eq!(unfinished.floor(6), 5);
    }

    #[test]
    fn the_oldest_of_too_many_is_helped_at_once() {
        let mut unfinished = Unfinished::default();
        (0..LAKE_UNFINISHED_MAX as u64).for_each(|number| unfinished.add(entry(number), NOW, false));
        assert!(unfinished.are_too_many());
        assert_eq!(unfinished.tasks(NOW), [Task::Finish(0)]);
    }
}
