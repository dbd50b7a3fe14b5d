//! The sizes of a measurement.

use std::time::Duration;

/// The sizes of one run of the benchmark.
pub struct Scale {
    /// Files remembered where memory, start and look-ups are measured.
    pub large: u64,
    /// Files remembered elsewhere.
    pub rows: u64,
    /// Files between two compactions.
    pub new: u64,
    /// Look-ups of unknown contents in one round; there are a tenth as many of known contents.
    pub lookups: u64,
    /// How long each contender works in one round.
    pub round: Duration,
    /// Rounds in which contenders take turns.
    pub rounds: usize,
    /// Runs of measurements that take seconds each.
    pub runs: usize,
    /// True if the numbers are meaningful.
    pub is_full: bool,
}

/// The sizes for which the targets are set.
pub const FULL: Scale = Scale {
    large: 10_000_000,
    rows: 1_000_000,
    new: 250_000,
    lookups: 1_000_000,
    round: Duration::from_secs(3),
    rounds: 5,
    runs: 5,
    is_full: true,
};

/// Sizes that only show that everything works.
pub const QUICK: Scale = Scale {
    large: 100_000,
    rows: 20_000,
    new: 5_000,
    lookups: 20_000,
    round: Duration::from_millis(100),
    rounds: 1,
    runs: 1,
    is_full: false,
};
