//! Is the process alive, and is it ready? For `/healthz`, `/readyz` and other monitors.
//!
//! Invariants:
//! - Ready: recovery is finished, the process is not paused, and not ending.
//! - Alive: no thread has been busy with one thing for longer than [`STALL_MAX`]. A thread that waits for work is not
//!   busy; nor is one that waits for room on a full disk or for the store of a lake: a restart would not help.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::labels::{Label, label};
use crate::heartbeat::{Heartbeats, Stall};

/// How long a thread may be busy with one thing: a batch, a slice of a scan, a piece of a large file. A machine with 64
/// GiB of memory may have 13 GB of dirty pages, which a spinning disk syncs in two minutes; after more than twice that
/// time the thread is stuck.
pub const STALL_MAX: Duration = Duration::from_secs(300);

label!(
    /// The phases of the process.
    Phase, "state", {
        /// The journal is read, and files that were half done are finished.
        Recovering = "recovering",
        /// Files are ingested.
        Running = "running",
        /// Files that were begun are finished.
        Stopping = "stopping",
        /// It has ended without an error.
        Stopped = "stopped",
        /// It has ended, or is about to, with an error.
        Failed = "failed",
    }
);

/// A file system.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its number.
    pub device: u64,
    /// What lies on it: the directories, by the names of their options.
    pub places: Vec<String>,
    /// Free for this process.
    pub free_bytes: u64,
}

/// The process's health.
#[derive(Debug, Default)]
pub(super) struct Health {
    phase: AtomicUsize,
    /// The number of threads that wait for room on a disk.
    full: AtomicUsize,
    /// The lake's store does not answer.
    away: AtomicBool,
    disks: Mutex<Vec<Disk>>,
    pub(super) heartbeats: Heartbeats,
}

impl Health {
    pub(super) fn phase(&self) -> Phase {
        Phase::ALL.get(self.phase.load(Ordering::Relaxed)).copied().unwrap_or(Phase::Failed)
    }

    /// Enters a later phase; never an earlier one, so that a stop does not hide a failure.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase.index(), Ordering::Relaxed);
    }

    pub(super) fn disk_full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn disk_has_room(&self) {
        let less = |full: usize| Some(full.saturating_sub(1));
        let _ = self.full.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        // Other threads may have waited for the threads that waited for room.
        self.heartbeats.restart();
    }

    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
        self.heartbeats.restart();
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(super) fn disks(&self) -> Vec<Disk> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_disks(&self, disks: Vec<Disk>) {
        *self.disks.lock().unwrap_or_else(PoisonError::into_inner) = disks;
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) > 0
    }

    pub(super) fn not_ready(&self) -> Option<&'static str> {
        match self.phase() {
            Phase::Recovering => Some("recovering: what an earlier run left half done is being finished"),
            Phase::Running if self.is_full() => {
                Some("paused: a disk is full; it continues by itself when there is room (event disk_full in the log)")
            }
            Phase::Running if self.is_away() => Some(
                "paused: the lake's store does not answer; it continues by itself when it does (event store_away in the log)",
            ),
            Phase::Running => None,
            Phase::Stopping => Some("stopping: it finishes what it has begun"),
            Phase::Stopped => Some("stopped"),
            Phase::Failed => Some("failed: the process is ending (event failed in the log); the next start resumes"),
        }
    }

    pub(super) fn stalled(&self, longer_than: Duration) -> Option<Stall> {
        if self.is_full() || self.is_away() { None } else { self.heartbeats.stalled(longer_than) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_stall_and_not_ready() {
        let health = Health::default();
        health.enter(Phase::Running);
        let _beating = health.heartbeats.begin("commit");
        crate::heartbeat::step();
        std::thread::sleep(Duration::from_millis(50));
        assert!(health.stalled(Duration::from_millis(40)).is_some() && health.not_ready().is_none());
        // The committer and the intake may both have found the disk full.
        health.disk_full();
        health.disk_full();
        health.disk_has_room();
        assert!(health.stalled(Duration::ZERO).is_none() && health.not_ready().is_some());
        health.disk_has_room();
        // The time while the disk was full does not count.
        assert!(health.stalled(Duration::from_millis(40)).is_none() && health.not_ready().is_none());
    }

    #[test]
    fn phases_only_go_on() {
        let health = Health::default();
        for phase in Phase::ALL {
            health.enter(*phase);
            assert_eq!(health.phase(), *phase);
            assert_eq!(health.not_ready().is_none(), *phase == Phase::Running);
        }
        health.enter(Phase::Stopped);
        assert_eq!(health.phase(), Phase::Failed);
    }
}
