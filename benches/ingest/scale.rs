//! The sizes of a measurement.

use std::time::Duration;

use crate::files::Set;

/// The sizes of one run of the benchmark.
pub struct Scale {
    pub small: Set,
    pub medium: Set,
    pub large: Set,
    /// For other programs, which take a hundred times as long per file.
    pub peers: Set,
    /// The numbers of staged files, in ascending order, for the measurement that depends on them.
    pub staged: [u64; 3],
    /// The numbers of directories, in ascending order, for the measurement that depends on them.
    pub dirs: [u64; 2],
    /// Files whose time to the manifest is measured.
    pub samples: u64,
    /// Duplicates that stay in staging.
    pub duplicates: u64,
    /// How long the ingestor is left alone with them before its work is measured, and how long that takes.
    pub rest: Duration,
    pub idle: Duration,
    pub starts: usize,
    /// One file that is large enough to delay others, and the number of files that come meanwhile.
    pub big_bytes: u64,
    pub beside_big: u64,
    /// Rounds in which contenders take turns.
    pub rounds: usize,
    /// True if the numbers are meaningful.
    pub is_full: bool,
}

/// The sizes for which the targets are set.
pub const FULL: Scale = Scale {
    small: Set { count: 20_000, bytes: 1 << 10 },
    medium: Set { count: 2_000, bytes: 100_000 },
    large: Set { count: 8, bytes: 512 << 20 },
    peers: Set { count: 2_000, bytes: 1 << 10 },
    staged: [10_000, 100_000, 1_000_000],
    dirs: [10_000, 100_000],
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

/// Sizes that only show that everything works.
pub const QUICK: Scale = Scale {
    small: Set { count: 100, bytes: 1 << 10 },
    medium: Set { count: 10, bytes: 100_000 },
    large: Set { count: 2, bytes: 4 << 20 },
    peers: Set { count: 20, bytes: 1 << 10 },
    staged: [50, 100, 300],
    dirs: [20, 200],
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
