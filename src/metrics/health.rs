//! Is the process alive, and is it ready? For `/healthz`, `/readyz`, and whoever else watches it.
//!
//! Invariants:
//! - Ready: recovery is over, nothing is paused, nothing is ending.
//! - Alive: no thread has worked at one thing for longer than [`STALL_MAX`]. Whoever waits for work is not at work; nor is
//!   one that waits for room on a full disk, which is for an operator to end and not for a restart.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::labels::{Label, label};

/// How long a thread may be at one thing: a batch, a slice of a scan, a piece of a large file. Some 13 GB of dirty pages, which
/// a machine with 64 GiB may have, take a spinning disk two minutes to sync; beyond twice that it is stuck.
pub const STALL_MAX: Duration = Duration::from_secs(300);

label!(
    /// Where the process is in its life.
    Phase, "state", {
        /// The journal is read, and what was half done is finished.
        Recovering = "recovering",
        /// Files are taken.
        Running = "running",
        /// What has been begun is finished.
        Stopping = "stopping",
        /// It has ended well.
        Stopped = "stopped",
        /// It has ended, or is about to, with an error.
        Failed = "failed",
    }
);

/// What one thread shows of itself.
#[derive(Clone)]
pub struct Pulse {
    name: Arc<str>,
    origin: Instant,
    /// Milliseconds since `origin`, plus one, at which what it is at was begun; 0 while it waits.
    busy_since: Arc<AtomicU64>,
}

impl Pulse {
    /// It begins something, or has come a step further with it.
    pub fn busy(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.busy_since.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// It waits for something to do.
    pub fn idle(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.busy_since.load(Ordering::Relaxed) != 0
    }

    fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.origin.elapsed().saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

/// A thread that is stuck.
#[derive(Debug, PartialEq, Eq)]
pub struct Stall {
    /// Its name.
    pub thread: Arc<str>,
    /// For how long it has been at the same thing.
    pub lasts: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} has not moved for {} s", self.thread, self.lasts.as_secs())
    }
}

/// The process's health.
pub(super) struct Health {
    origin: Instant,
    phase: AtomicUsize,
    /// How many threads wait for room on a disk.
    full: AtomicUsize,
    pulses: Mutex<Vec<Pulse>>,
}

impl Health {
    pub(super) fn new(origin: Instant) -> Health {
        Health { origin, phase: AtomicUsize::new(0), full: AtomicUsize::new(0), pulses: Mutex::default() }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::ALL.get(self.phase.load(Ordering::Relaxed)).copied().unwrap_or(Phase::Failed)
    }

    /// Goes on to a later phase; never back, so that whoever stops does not hide that something failed.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase.index(), Ordering::Relaxed);
    }

    pub(super) fn disk_full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn disk_has_room(&self) {
        let less = |full: usize| Some(full.saturating_sub(1));
        let _ = self.full.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        // Who has waited for room begins anew.
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.iter().filter(|pulse| pulse.is_busy()).for_each(Pulse::busy);
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) > 0
    }

    pub(super) fn pulse(&self, name: &str) -> Pulse {
        let pulse = Pulse { name: name.into(), origin: self.origin, busy_since: Arc::default() };
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).push(pulse.clone());
        pulse
    }

    pub(super) fn not_ready(&self) -> Option<&'static str> {
        match self.phase() {
            Phase::Recovering => Some("recovering: what an earlier run left half done is being finished"),
            Phase::Running if self.is_full() => {
                Some("paused: a disk is full; it goes on by itself when there is room (event disk_full in the log)")
            }
            Phase::Running => None,
            Phase::Stopping => Some("stopping: what was begun is being finished"),
            Phase::Stopped => Some("stopped"),
            Phase::Failed => Some("failed: the process is ending (event failed in the log); the next start resumes"),
        }
    }

    pub(super) fn stalled(&self, longer_than: Duration) -> Option<Stall> {
        if self.is_full() {
            return None;
        }
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = pulses.iter().map(|pulse| (pulse.busy_for(), pulse)).max_by_key(|(lasts, _)| *lasts);
        let (lasts, pulse) = longest.filter(|(lasts, _)| *lasts > longer_than)?;
        Some(Stall { thread: pulse.name.clone(), lasts })
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("phase", &self.phase()).field("full", &self.full).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_busy_for_long_is_stalled_and_one_that_waits_is_not() {
        let health = Health::new(Instant::now());
        let (one, other) = (health.pulse("one"), health.pulse("other"));
        one.busy();
        std::thread::sleep(Duration::from_millis(30));
        other.busy();
        assert_eq!(health.stalled(STALL_MAX), None);
        let stall = health.stalled(Duration::from_millis(20)).unwrap();
        assert_eq!(&*stall.thread, "one");
        assert!(stall.lasts >= Duration::from_millis(20));
        one.busy();
        assert_eq!(health.stalled(Duration::from_millis(20)), None);
        one.idle();
        std::thread::sleep(Duration::from_millis(30));
        other.idle();
        assert_eq!(health.stalled(Duration::ZERO), None);
    }

    #[test]
    fn a_full_disk_is_no_stall_and_not_ready() {
        let health = Health::new(Instant::now());
        health.enter(Phase::Running);
        health.pulse("commit").busy();
        std::thread::sleep(Duration::from_millis(50));
        assert!(health.stalled(Duration::from_millis(40)).is_some() && health.not_ready().is_none());
        // The committer and the intake may both have met it.
        health.disk_full();
        health.disk_full();
        health.disk_has_room();
        assert!(health.stalled(Duration::ZERO).is_none() && health.not_ready().is_some());
        health.disk_has_room();
        // What it was at while the disk was full does not count.
        assert!(health.stalled(Duration::from_millis(40)).is_none() && health.not_ready().is_none());
    }

    #[test]
    fn phases_only_go_on() {
        let health = Health::new(Instant::now());
        for phase in Phase::ALL {
            health.enter(*phase);
            assert_eq!(health.phase(), *phase);
            assert_eq!(health.not_ready().is_none(), *phase == Phase::Running);
        }
        health.enter(Phase::Stopped);
        assert_eq!(health.phase(), Phase::Failed);
    }
}
