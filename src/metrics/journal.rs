//! The journal's events and sizes.

use std::time::{Duration, SystemTime};

use super::Metrics;
use super::labels::SnapshotResult;
use super::units::seconds;
use crate::journal::files::Usage;
use crate::journal::snapshot::SnapshotHeader;
use crate::types::UnixMillis;

impl Metrics {
    /// The journal's size: contents that are remembered, and bytes of full segments that are in no snapshot.
    pub fn journal_grown(&self, remembered: u64, unfolded_bytes: u64) {
        self.journal.remembered.set(remembered);
        self.journal.unfolded_bytes.set(unfolded_bytes);
    }

    /// The journal's size on the disk.
    pub fn journal_measured(&self, usage: &Usage) {
        self.journal.bytes.set(usage.segment_bytes + usage.snapshot_bytes);
        self.journal.snapshot_bytes.set(usage.newest_snapshot_bytes);
    }

    /// `snapshot_written`. `forgotten` contents were left out of it.
    pub fn snapshot_written(&self, snapshot: &SnapshotHeader, forgotten: u64, elapsed: Duration) {
        self.journal.snapshots.of(SnapshotResult::Written).inc();
        self.journal.last_snapshot.set(UnixMillis::from_system_time(SystemTime::now()).0);
        tracing::info!(
            event = "snapshot_written",
            lsn = snapshot.lsn.0,
            entries = snapshot.rows,
            bytes = snapshot.file_bytes,
            forgotten,
            seconds = seconds(elapsed),
        );
    }

    /// `snapshot_failed`: the journal is unchanged, and the compaction is tried again later.
    pub fn snapshot_failed(&self, error: &str) {
        self.journal.snapshots.of(SnapshotResult::Failed).inc();
        tracing::warn!(event = "snapshot_failed", error);
    }
}
