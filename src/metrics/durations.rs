//! Histograms of durations.
//!
//! Invariant: an observation is two additions to atomics; no observation waits for a scrape, and no scrape for an
//! observation. So a scrape may see one of the two before the other, which the next scrape corrects.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Bounds for one sync: a flash disk with a capacitor takes 0.05 ms, one without 1 ms, a spinning disk 10 ms; from 0.25
/// s on something is wrong, and from 30 s on the kernel itself will soon complain.
pub const SYNC_SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Bounds for one batch: a few syncs and up to 2,048 renames.
pub const COMMIT_SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Bounds for the time from complete to the manifest line: milliseconds for a small file, minutes for one of 100 GB,
/// and hours if the process was down or a disk was full in between.
pub const COMPLETE_TO_MANIFEST_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// A histogram. The upper bounds of its buckets are in seconds, in ascending order.
pub struct Durations {
    bounds: &'static [f64],
    /// One per bound, and one for longer durations.
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Durations {
    /// A histogram without observations.
    pub fn new(bounds: &'static [f64]) -> Durations {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Durations { bounds, counts, nanos: AtomicU64::new(0) }
    }

    /// Adds one observation.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        // A u64 holds 584 years.
        self.nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_a_bound_belongs_to_its_bucket() {
        for bounds in [SYNC_SECONDS, COMMIT_SECONDS, COMPLETE_TO_MANIFEST_SECONDS] {
            assert!(bounds.is_sorted_by(|one, other| one < other));
        }
        let durations = Durations::new(&[0.5, 1.0]);
        for millis in [0, 500, 501, 1000, 1001, 3_600_000] {
            durations.observe(Duration::from_millis(millis));
        }
        let counts: Vec<u64> = durations.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [2, 2, 2]);
        assert_eq!(durations.nanos.load(Ordering::Relaxed), 3_603_002_000_000);
    }
}
