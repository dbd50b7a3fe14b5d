//! Is the process alive, and is it ready? For `/healthz`, `/readyz`, and whoever else watches it.
//!
//! Invariants:
//! - Ready: recovery is over, nothing is paused, nothing is ending.
//! - Alive: no thread has worked at one thing for longer than [`STALL_MAX`]. Whoever waits for work is not at work; nor is
//!   one that waits for room on a full disk, which is for an operator to end and not for a restart.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::labels::{Label, label};
use crate::heartbeat::{Heartbeats, Stall};

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

/// The process's health.
#[derive(Debug, Default)]
pub(super) struct Health {
    phase: AtomicUsize,
    /// How many threads wait for room on a disk.
    full: AtomicUsize,
    pub(super) heartbeats: Heartbeats,
}

impl Health {
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
        // Others have waited behind those who waited for room.
        self.heartbeats.begin_anew();
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) > 0
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
        if self.is_full() { None } else { self.heartbeats.stalled(longer_than) }
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
