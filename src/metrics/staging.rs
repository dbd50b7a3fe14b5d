//! Events about the staging directory as a whole.

use std::path::Path;
use std::time::Duration;

use super::{FailureReason, Metrics};
use crate::log;

impl Metrics {
    /// Failures of files that do not wait in staging: they were moved to quarantine, or a part of them could not be
    /// removed or put back.
    pub fn settled_failures(&self) -> u64 {
        let left_behind = [FailureReason::NotRemoved, FailureReason::NotPutBack];
        let left_behind: u64 = left_behind.iter().map(|reason| self.failures.of(*reason).get()).sum();
        left_behind + self.quarantined.iter().map(|(_, counter)| counter.get()).sum::<u64>()
    }

    /// `staging_unavailable`: the directory cannot be read, and is tried again. Files in flight are finished.
    pub fn staging_unavailable(&self, path: &Path, error: &str, retry_in: Duration) {
        let retry_in = humantime::format_duration(retry_in);
        tracing::warn!(event = "staging_unavailable", path = log::path(path), error, retry_in = %retry_in);
    }

    /// `staging_available`: a scan has finished again.
    pub fn staging_available(&self, path: &Path) {
        tracing::info!(event = "staging_available", path = log::path(path));
    }
}
