//! How much is measured.

use std::time::Duration;

use crate::files::Set;

/// The sizes of one run of the benchmark.
pub struct Scale {
    pub small: Set,
    pub medium: Set,
    pub large: Set,
    /// For the SQLite design, which takes some hundred times as long for a file.
    pub sqlite: Set,
    /// How many files are staged at once where that is what matters, each time more.
    pub staged: [u64; 3],
    /// Files whose way to the manifest is timed.
    pub samples: u64,
    /// Duplicates that stay in staging.
    pub duplicates: u64,
    /// How long the ingestor is left alone with them before its work is counted, and how long that is counted.
    pub rest: Duration,
    pub idle: Duration,
    pub starts: usize,
    /// One file that is large enough to be in everybody's way, and how many others come meanwhile.
    pub big_bytes: u64,
    pub beside_big: u64,
    /// Rounds of contenders in turn.
    pub rounds: usize,
    /// True if the numbers mean something.
    pub is_full: bool,
}

/// What the targets are about.
pub const FULL: Scale = Scale {
    small: Set { count: 20_000, bytes: 1 << 10 },
    medium: Set { count: 2_000, bytes: 100_000 },
    large: Set { count: 8, bytes: 512 << 20 },
    sqlite: Set { count: 2_000, bytes: 1 << 10 },
    staged: [10_000, 100_000, 1_000_000],
    samples: 1_000,
    duplicates: 100_000,
    rest: Duration::from_secs(15),
    idle: Duration::from_secs(60),
    starts: 21,
    big_bytes: 10_000_000_000,
    beside_big: 10_000,
    rounds: 5,
    is_full: true,
};

/// Shows that everything works.
pub const QUICK: Scale = Scale {
    small: Set { count: 100, bytes: 1 << 10 },
    medium: Set { count: 10, bytes: 100_000 },
    large: Set { count: 2, bytes: 4 << 20 },
    sqlite: Set { count: 20, bytes: 1 << 10 },
    staged: [50, 100, 300],
    samples: 30,
    duplicates: 200,
    rest: Duration::from_millis(500),
    idle: Duration::from_millis(500),
    starts: 3,
    big_bytes: 64_000_000,
    beside_big: 100,
    rounds: 1,
    is_full: false,
};
