//! The state of the staging directory as a whole; `look.rs` acts on it.

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
