//! Counters and events: one method per event, which counts it and logs it.
//!
//! Invariant: field names are the contract's; nobody else writes these events.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::journal::record::{AbandonReason, DuplicateAction, Quarantined};
use crate::journal::snapshot::SnapshotHeader;
use crate::journal::state::{Ingest, Original};
use crate::types::{Sha256, UnixMillis};

/// What has happened since the start.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    files: AtomicU64,
    bytes: AtomicU64,
    duplicates: AtomicU64,
    failures: AtomicU64,
    queue_depth: AtomicUsize,
    is_disk_full: AtomicBool,
}

/// What recovery did, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryCounts {
    /// Files that are in warehouse and manifest now.
    pub completed: u64,
    /// Files that were given up (they are discovered anew if they are there).
    pub abandoned: u64,
    /// Files that have to be hashed again.
    pub resumed: u64,
    /// Duplicates that were removed or moved away.
    pub cleared: u64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Files ingested.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Duplicates skipped.
    pub duplicates: u64,
    /// Failures of single files.
    pub failures: u64,
    /// Since the start.
    pub elapsed: Duration,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let zero = || AtomicU64::new(0);
        Metrics {
            started: Instant::now(),
            files: zero(),
            bytes: zero(),
            duplicates: zero(),
            failures: zero(),
            queue_depth: AtomicUsize::new(0),
            is_disk_full: AtomicBool::new(false),
        }
    }
}

impl Metrics {
    /// The counters now.
    pub fn totals(&self) -> Totals {
        Totals {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            elapsed: self.started.elapsed(),
        }
    }

    /// Complete files that are known and not finished, as [`Metrics::set_queue_depth`] said last.
    pub fn queue_depth(&self) -> usize {
        self.queue_depth.load(Ordering::Relaxed)
    }

    /// Notes how many complete files are known and not finished.
    pub fn set_queue_depth(&self, files: usize) {
        self.queue_depth.store(files, Ordering::Relaxed);
    }

    /// True while nothing is taken because the disk is full.
    pub fn is_disk_full(&self) -> bool {
        self.is_disk_full.load(Ordering::Relaxed)
    }

    /// `recovery_finished`.
    pub fn recovery_finished(&self, counts: &RecoveryCounts, torn_bytes: u64, elapsed: Duration) {
        tracing::info!(
            event = "recovery_finished",
            completed = counts.completed,
            abandoned = counts.abandoned,
            resumed = counts.resumed,
            cleared = counts.cleared,
            torn_bytes,
            seconds = seconds(elapsed),
        );
    }

    /// `file_ready`.
    pub fn file_ready(&self, path: &Path, bytes: u64) {
        tracing::debug!(event = "file_ready", path = %path.display(), bytes);
    }

    /// `file_ingested`.
    pub fn file_ingested(&self, ingest: &Ingest, now: UnixMillis) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(ingest.identity.size, Ordering::Relaxed);
        let Some(target) = &ingest.target else { return };
        tracing::info!(
            event = "file_ingested",
            path = %ingest.source_path.display(),
            warehouse_path = %target.warehouse_path.display(),
            sha256 = %target.sha256,
            bytes = ingest.identity.size,
            ingest_id = ingest.id.0,
            seconds = seconds(Duration::from_millis(now.0.saturating_sub(ingest.discovered_at.0))),
        );
    }

    /// `duplicate_skipped`.
    pub fn duplicate_skipped(&self, path: &Path, sha256: &Sha256, of: Option<&Original>, action: DuplicateAction) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            event = "duplicate_skipped",
            path = %path.display(),
            sha256 = %sha256,
            duplicate_of = of.map(|original| original.ingest_id.0),
            original = of.map(|original| tracing::field::display(original.warehouse_path.display())),
            action = action.text(),
        );
    }

    /// `file_abandoned`.
    pub fn file_abandoned(&self, path: &Path, reason: AbandonReason) {
        if reason == AbandonReason::NeedsCopy {
            // Nothing is wrong with it: it goes again at once.
            tracing::debug!(event = "file_needs_copy", path = %path.display());
            return;
        }
        tracing::warn!(event = "file_abandoned", path = %path.display(), reason = reason.text());
    }

    /// `file_quarantined`: it cannot be ingested as it is, and has been moved away.
    pub fn file_quarantined(&self, path: &Path, quarantined: &Quarantined) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            event = "file_quarantined",
            path = %path.display(),
            target = %quarantined.target.display(),
            reason = quarantined.cause.text(),
            line = quarantined.line,
            error = quarantined.detail,
        );
    }

    /// `file_failed`. `retry_in` is null if nothing but a change of the file will help.
    pub fn file_failed(&self, path: &Path, error: &str, retry_in: Option<Duration>) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            event = "file_failed",
            path = %path.display(),
            error,
            retry_in = retry_in.map(|delay| tracing::field::display(humantime::format_duration(delay))),
        );
    }

    /// `disk_full`: nothing more is taken until there is room.
    pub fn disk_full(&self, error: &str, retry_in: Duration) {
        self.is_disk_full.store(true, Ordering::Relaxed);
        tracing::error!(event = "disk_full", error, retry_in = %humantime::format_duration(retry_in));
    }

    /// `disk_has_room`: going on.
    pub fn disk_has_room(&self) {
        self.is_disk_full.store(false, Ordering::Relaxed);
        tracing::info!(event = "disk_has_room");
    }

    /// `snapshot_written`. `forgotten` contents were left out of it.
    pub fn snapshot_written(&self, snapshot: &SnapshotHeader, forgotten: u64, elapsed: Duration) {
        tracing::info!(
            event = "snapshot_written",
            lsn = snapshot.lsn.0,
            entries = snapshot.rows,
            bytes = snapshot.file_bytes,
            forgotten,
            seconds = seconds(elapsed),
        );
    }

    /// `snapshot_failed`: the journal is as it was, and this is tried again later.
    pub fn snapshot_failed(&self, error: &str) {
        tracing::warn!(event = "snapshot_failed", error);
    }

    /// `metrics`: the totals, and the rates since `since`.
    pub fn report(&self, queue_depth: usize, since: &Totals) {
        let now = self.totals();
        let interval = now.elapsed.saturating_sub(since.elapsed).as_secs_f64().max(1e-9);
        let rate = |now: u64, then: u64| (((now - then) as f64 / interval) * 10.0).round() / 10.0;
        tracing::info!(
            event = "metrics",
            files_processed = now.files,
            bytes_processed = now.bytes,
            queue_depth,
            files_per_sec = rate(now.files, since.files),
            bytes_per_sec = rate(now.bytes, since.bytes),
            duplicates_skipped = now.duplicates,
            failures = now.failures,
        );
    }

    /// `stopped`.
    pub fn stopped(&self) {
        let totals = self.totals();
        tracing::info!(
            event = "stopped",
            files_processed = totals.files,
            bytes_processed = totals.bytes,
            duplicates_skipped = totals.duplicates,
            failures = totals.failures,
            seconds = seconds(totals.elapsed),
        );
    }
}

/// Seconds with milliseconds, for logs.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
