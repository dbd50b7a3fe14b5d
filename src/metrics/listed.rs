//! The lines of the manifests, and who has them.

use super::Metrics;
use super::consumers::ConsumerLag;

impl Metrics {
    /// The newest line that is durable has this number.
    pub fn listed(&self, number: u64) {
        self.journal.consumers.set_newest(number);
    }

    /// That number, if it is known.
    pub fn newest_line(&self) -> Option<u64> {
        self.journal.consumers.newest()
    }

    /// The consumers were looked at.
    pub fn consumers_measured(&self, lags: Vec<ConsumerLag>) {
        self.journal.consumers.set_lags(lags);
    }
}
