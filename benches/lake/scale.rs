//! The sizes of a measurement.

use std::time::Duration;

use crate::files::Set;

/// The sizes of one run of the benchmark.
pub struct Scale {
    pub small: Set,
    pub large: Set,
    /// Contents that come again.
    pub duplicates: Set,
    /// Files that are dropped into an idle lake.
    pub drops: usize,
    /// How long several hosts write to one shard, and how many files each gets in a second.
    pub busy: Duration,
    pub files_a_second: u32,
    /// How long an idle host is watched.
    pub idle: Duration,
    /// Contents of the lake that a new host comes to.
    pub contents: u64,
    /// Rounds in which contenders take turns: an odd number.
    pub rounds: usize,
    /// True if the numbers are meaningful.
    pub is_full: bool,
}

/// The sizes for which the targets are set.
pub const FULL: Scale = Scale {
    small: Set { count: 20_000, bytes: 1 << 10 },
    large: Set { count: 8, bytes: 64 << 20 },
    duplicates: Set { count: 1_000, bytes: 1 << 10 },
    drops: 100,
    busy: Duration::from_secs(60),
    files_a_second: 10,
    idle: Duration::from_secs(600),
    contents: 10_000_000,
    rounds: 3,
    is_full: true,
};

/// Sizes that only show that everything works.
pub const QUICK: Scale = Scale {
    small: Set { count: 200, bytes: 1 << 10 },
    large: Set { count: 1, bytes: 20 << 20 },
    duplicates: Set { count: 20, bytes: 1 << 10 },
    drops: 3,
    busy: Duration::from_secs(3),
    files_a_second: 5,
    idle: Duration::from_secs(3),
    contents: 300_000,
    rounds: 1,
    is_full: false,
};
