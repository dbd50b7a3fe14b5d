//! When the next entry of a shard may be made, and when an idle host reads the log again.
//!
//! Invariants:
//! - This is politeness: hosts that append at the same time lose slots to each other, and nothing else.
//! - N hosts wait so long that a slot is seldom wanted by two.
//! - A host alone has no slot to leave to others. It waits a second at most, and only while an entry may get larger by it: a
//!   full one is made after a few round trips.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::{
    LAKE_ACTIVE_FOR, LAKE_ENTRY_INTERVAL_MAX, LAKE_ENTRY_INTERVAL_MIN, LAKE_IDLE_READ_MAX, LAKE_IDLE_READ_MIN,
    LAKE_PACED_WRITERS_MAX,
};

/// Round trips for each writer between two entries of a host: then a quarter of the time is appending.
const ROUND_TRIPS: u32 = 4;

/// The pace of a host in one shard.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Duration>,
    slowest: Duration,
    /// When each other host's last entry was read.
    writers: BTreeMap<[u8; 16], Duration>,
    idle_reads: u32,
    read_at: Option<Duration>,
    random: u8,
}

impl Pace {
    /// This host has appended an entry; the append took so long.
    pub fn appended(&mut self, now: Duration, took: Duration) {
        // A slow append is remembered for a while, not for ever.
        self.slowest = took.max(self.slowest - self.slowest / 8);
        self.last = Some(now);
        self.idle_reads = 0;
    }

    /// An entry of another host was read.
    pub fn read(&mut self, now: Duration, host: [u8; 16]) {
        self.idle_reads = 0;
        self.writers.retain(|_, seen| now.saturating_sub(*seen) < LAKE_ACTIVE_FOR);
        if self.writers.len() < LAKE_PACED_WRITERS_MAX || self.writers.contains_key(&host) {
            self.writers.insert(host, now);
        }
    }

    /// The log was read, and there was nothing new.
    pub fn read_nothing(&mut self) {
        self.idle_reads = self.idle_reads.saturating_add(1);
    }

    /// The log was read to its end at this time.
    pub fn has_read(&mut self, now: Duration, is_new: bool) {
        self.read_at = Some(now);
        if !is_new {
            self.read_nothing();
        }
    }

    /// Spreads this host's times from now on, so that hosts do not do everything at the same time.
    pub fn spread(&mut self, random: u8) {
        self.random = random;
    }

    /// When the next entry may be made; `is_full`: what waits for it fills it.
    pub fn next_entry_at(&self, now: Duration, is_full: bool) -> Duration {
        self.next_entry(now, is_full, self.random)
    }

    /// When an idle host reads the log again.
    pub fn idle_read_at(&self) -> Duration {
        self.read_at.map_or(Duration::ZERO, |read_at| read_at + self.idle_wait(self.random))
    }

    /// Hosts that write, this one included.
    pub fn active(&self, now: Duration) -> u32 {
        let active = self.writers.values().filter(|seen| now.saturating_sub(**seen) < LAKE_ACTIVE_FOR).count();
        u32::try_from(active).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// When the next entry may be made; `random` spreads hosts that would do it at the same time.
    pub fn next_entry(&self, now: Duration, is_full: bool, random: u8) -> Duration {
        let Some(last) = self.last else { return now };
        let active = self.active(now);
        let shared = self.slowest.saturating_mul(ROUND_TRIPS.saturating_mul(active));
        let least = if is_full && active == 1 { Duration::ZERO } else { LAKE_ENTRY_INTERVAL_MIN };
        let interval = shared.clamp(least, LAKE_ENTRY_INTERVAL_MAX);
        last + jittered(interval, random)
    }

    /// How long an idle host waits until it reads the log again.
    pub fn idle_wait(&self, random: u8) -> Duration {
        let wait = LAKE_IDLE_READ_MIN.saturating_mul(1 << self.idle_reads.min(16));
        jittered(wait.min(LAKE_IDLE_READ_MAX), random)
    }
}

/// The time, up to a quarter shorter.
fn jittered(time: Duration, random: u8) -> Duration {
    time - time / 4 * u32::from(random) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_entry_is_made_at_once_and_the_next_after_a_second() {
        let mut pace = Pace::default();
        assert_eq!(pace.next_entry(seconds(7), false, 0), seconds(7));
        pace.appended(seconds(7), Duration::from_millis(20));
        assert_eq!(pace.next_entry(seconds(7), false, 0), seconds(8));
        assert_eq!(pace.next_entry(seconds(7), false, 255), seconds(8) - Duration::from_millis(250));
    }

    #[test]
    fn a_host_alone_does_not_wait_with_a_full_entry() {
        let mut pace = Pace::default();
        pace.appended(seconds(100), Duration::from_millis(20));
        assert_eq!(pace.next_entry(seconds(100), true, 0), seconds(100) + Duration::from_millis(80));
        pace.read(seconds(100), [1; 16]);
        assert_eq!(pace.next_entry(seconds(100), true, 0), seconds(101));
        let later = seconds(100) + LAKE_ACTIVE_FOR;
        assert_eq!(pace.next_entry(later, true, 0), seconds(100) + Duration::from_millis(80));
    }

    #[test]
    fn writers_leave_each_other_room() {
        let mut pace = Pace::default();
        (1..4).for_each(|host| pace.read(seconds(100), [host; 16]));
        pace.appended(seconds(100), Duration::from_millis(200));
        assert_eq!(pace.active(seconds(100)), 4);
        assert_eq!(pace.next_entry(seconds(100), false, 0), seconds(100) + Duration::from_millis(3_200));
        assert_eq!(pace.active(seconds(100) + LAKE_ACTIVE_FOR), 1);
        pace.appended(seconds(100), seconds(1000));
        assert_eq!(pace.next_entry(seconds(100), false, 0), seconds(100) + LAKE_ENTRY_INTERVAL_MAX);
    }

    #[test]
    fn an_idle_host_reads_ever_more_seldom() {
        let mut pace = Pace::default();
        let mut before = Duration::ZERO;
        let mut sum = Duration::ZERO;
        let mut reads = 0;
        while sum < seconds(24 * 3600) {
            let wait = pace.idle_wait(0);
            assert!(wait >= before && wait <= LAKE_IDLE_READ_MAX);
            (before, sum, reads) = (wait, sum + wait, reads + 1);
            pace.read_nothing();
        }
        assert!(reads <= 24 * 13, "{reads} reads a day");
        pace.read(seconds(1), [1; 16]);
        assert_eq!(pace.idle_wait(0), LAKE_IDLE_READ_MIN);
    }
}
