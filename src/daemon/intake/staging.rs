//! The staging directory as a whole: does it still exist, and can it be read?
//!
//! Invariant: only a proof that the path leads to nothing, or to another directory, ends the process. Any other error
//! (missing permission for a moment, an unreachable server, no descriptors left) proves nothing about the files: it is
//! logged once, and the next scan tries again.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::limits::FULL_DISK_RETRY;
use crate::pipeline::hash::Shared;

/// The state of the staging directory.
pub(super) struct StagingHealth {
    /// Device and inode of the directory that is open and locked.
    pub(super) key: Option<(u64, u64)>,
    /// The last read of it failed.
    pub(super) is_failing: bool,
    /// Scans that failed in a row.
    pub(super) scans_failed: u32,
    /// The time after which it is tried again.
    pub(super) retry_in: Duration,
}

impl StagingHealth {
    pub(super) fn new(shared: &Arc<Shared<RealFs>>, config: Option<&Config>) -> StagingHealth {
        let key = shared.fs.stat_dir(&shared.staging).ok().map(|stat| stat.identity.key());
        let retry_in = config.map_or(FULL_DISK_RETRY, |config| config.scan_interval);
        StagingHealth { key, is_failing: false, scans_failed: 0, retry_in }
    }
}
