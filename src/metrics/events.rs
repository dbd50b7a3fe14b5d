//! Events without a counter, for the daemon and for commands.

use std::path::Path;
use std::time::Duration;

use crate::journal::clock::Jumped;
use crate::log;

const HOUR_MS: u64 = 3_600_000;

/// `clock_jumped`: the wall clock differs from the journal's time by more than a day. Nothing is forgotten earlier
/// because of it.
pub fn clock_jumped(jumped: &Jumped) {
    let hours = jumped.by_ms.unsigned_abs() / HOUR_MS;
    tracing::warn!(
        event = "clock_jumped",
        direction = if jumped.by_ms < 0 { "back" } else { "forward" },
        by = format!("{}d {}h", hours / 24, hours % 24),
        by_seconds = jumped.by_ms / 1000,
        newest_record = jumped.newest.rfc3339(),
        now = jumped.now.rfc3339(),
    );
}

/// `empty_file_kept`: a file of 0 bytes stays in staging, as `--empty keep` says.
pub fn empty_kept(path: &Path) {
    tracing::info!(event = "empty_file_kept", path = log::path(path));
}

/// `lake_forgot`: an entry of this host lets contents of the lake come again, which were listed longer ago than `age`.
pub fn forgotten_in_lake(shard: u16, contents: u64, age: Duration) {
    tracing::info!(event = "lake_forgot", shard, contents, older_than = %humantime::format_duration(age));
}

/// `relocated`: a directory is at another path than before.
pub fn relocated(old: &Path, new: &Path) {
    tracing::warn!(event = "relocated", old = log::path(old), new = log::path(new));
}
