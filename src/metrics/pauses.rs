//! What pauses the process: a full disk, and a lake's store that does not answer.
//!
//! Invariant: between `disk_full` and `disk_has_room`, and between `store_away` and `store_back`, the process is not ready.

use std::time::Duration;

use super::Metrics;
use super::labels::FailureReason;

impl Metrics {
    /// `disk_full`: no file is ingested until there is room. Each of these is followed by a `disk_has_room`, or the
    /// process ends.
    pub fn disk_full(&self, error: &str, retry_in: Duration) {
        self.failures.of(FailureReason::DiskFull).inc();
        self.health.disk_full();
        tracing::error!(event = "disk_full", error, retry_in = %humantime::format_duration(retry_in));
    }

    /// `disk_has_room`: ingestion continues.
    pub fn disk_has_room(&self) {
        self.health.disk_has_room();
        tracing::info!(event = "disk_has_room");
    }

    /// `store_away`: the lake's store does not answer as it should. Each of these is followed by a `store_back`, or the
    /// process ends.
    pub fn store_away(&self, error: &str, retry_in: Duration) {
        self.health.set_away(true);
        tracing::error!(event = "store_away", error, retry_in = %humantime::format_duration(retry_in));
    }

    /// `store_back`: it answers again.
    pub fn store_back(&self) {
        self.health.set_away(false);
        tracing::info!(event = "store_back");
    }
}
