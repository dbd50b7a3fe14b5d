//! Which files wait, or stay, whatever the mode says: those that are too young, and those that are too large.

use std::time::Duration;

use crate::types::{FileIdentity, UnixMillis};

/// The bounds of what is ingested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A file waits until it is this old.
    pub min_age: Duration,
    /// A file of more bytes stays.
    pub size_max: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { min_age: Duration::ZERO, size_max: u64::MAX }
    }
}

/// How old a file is: since its mtime or ctime, whichever is later. A program that keeps the mtime of what it copies
/// (`cp -p`, `rsync -t`) does not make it older. Zero if the clock is behind both.
pub fn age(file: &FileIdentity, now: UnixMillis) -> Duration {
    let changed = file.mtime.max(file.ctime);
    let seconds = u64::try_from(changed.sec).unwrap_or(0);
    let since_epoch = seconds.saturating_mul(1_000).saturating_add(u64::from(changed.nsec / 1_000_000));
    Duration::from_millis(now.0.saturating_sub(since_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FileTime;

    #[test]
    fn the_later_time_counts() {
        let time = |sec| FileTime { sec, nsec: 500_000_000 };
        let of = |mtime, ctime| {
            let identity = FileIdentity { device: 1, inode: 1, size: 1, mtime: time(mtime), ctime: time(ctime) };
            age(&identity, UnixMillis(20_000))
        };
        assert_eq!(of(1, 9), Duration::from_millis(10_500));
        assert_eq!(of(9, 1), Duration::from_millis(10_500));
        // A clock that is behind, and times before the epoch.
        assert_eq!(of(30, 1), Duration::ZERO);
        assert_eq!(of(i64::MAX, i64::MIN), Duration::ZERO);
        assert_eq!(of(-5, -5), Duration::from_millis(19_500));
    }
}
