//! The staging directory as a whole: is it still there, and can it be looked at?
//!
//! Invariant: only what proves that the path stands for nothing, or for another directory, ends the process. Anything else (no
//! permission for a moment, a server that is away, no descriptors left) says nothing of the files: it is said once, and tried
//! again with the next scan.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::limits::FULL_DISK_RETRY;
use crate::pipeline::hash::Shared;

/// What is known of it.
pub(super) struct StagingHealth {
    /// Device and inode of what we have open and locked.
    pub(super) key: Option<(u64, u64)>,
    /// It could not be looked at the last time.
    pub(super) is_failing: bool,
    /// Scans that came to nothing, one behind the other.
    pub(super) scans_failed: u32,
    /// After so long it is tried again.
    pub(super) retry_in: Duration,
}

impl StagingHealth {
    pub(super) fn new(shared: &Arc<Shared<RealFs>>, config: Option<&Config>) -> StagingHealth {
        let key = shared.fs.stat_dir(&shared.staging).ok().map(|stat| stat.identity.key());
        let retry_in = config.map_or(FULL_DISK_RETRY, |config| config.scan_interval);
        StagingHealth { key, is_failing: false, scans_failed: 0, retry_in }
    }
}
