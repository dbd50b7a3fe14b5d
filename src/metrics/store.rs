//! The store of a lake: whether it answers.
//!
//! Invariant: between `store_away` and `store_back` the process is not ready.

use std::time::Duration;

use super::Metrics;

impl Metrics {
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
