//! Who has the lines of the manifests.

use super::Metrics;
use super::consumers::ConsumerLag;

impl Metrics {
    /// The consumers were looked at.
    pub fn consumers_measured(&self, lags: Vec<ConsumerLag>) {
        self.journal.consumers.set(lags);
    }
}
