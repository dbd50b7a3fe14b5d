//! Counters and events: one method per event, which counts and logs it; and the present state, for monitors.
//!
//! Invariants:
//! - The names of fields and of metrics are part of the contract; no other module writes these events.
//! - Methods that the pipeline calls do a few additions to atomics, and remember single files in short lists: they wait for
//!   a reader only while that copies as many pointers as a list has.

pub mod consumers;
pub mod disks;
pub mod durations;
pub mod events;
mod exposition;
mod groups;
pub mod health;
pub mod http;
mod journal;
pub mod labels;
mod listed;
mod pauses;
pub mod recent;
pub mod recorder;
mod staging;
pub mod units;
mod value;
mod view;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;

pub use exposition::{Exposition, text};
pub use health::Phase;
pub use labels::FailureReason;

use crate::fs::SyncCall;
use crate::heartbeat::{Heartbeats, Stall};
use crate::journal::ingest::{Ingest, Original};
use crate::journal::record::{AbandonReason, DuplicateAction, QuarantineCause, Quarantined};
use crate::log;
use crate::types::{Sha256, UnixMillis};
use durations::Durations;
use health::{Health, STALL_MAX};
use labels::{By, IgnoredReason, Label, SnapshotResult, Stage, label};
use recent::{Facts, Recent, beginning};
pub use units::seconds;
use value::Value;

/// Counts since the start, and the present state.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    started_at: UnixMillis,
    health: Health,
    files: Counter,
    bytes: Counter,
    duplicates: By<DuplicateAction, Counter>,
    failures: By<FailureReason, Counter>,
    quarantined: By<QuarantineCause, Counter>,
    abandoned: By<AbandonReason, Counter>,
    recovery: RecoveryMetrics,
    latency: Latency,
    stages: By<Stage, Value>,
    scan: ScanMetrics,
    recent: Recent,
    journal: JournalMetrics,
}

/// What the last recovery did.
#[derive(Debug, Default)]
struct RecoveryMetrics {
    files: By<Recovery, Counter>,
    millis: Value,
}

/// Histograms of durations.
#[derive(Debug)]
struct Latency {
    syncs: By<SyncCall, Durations>,
    /// Nanoseconds that an fdatasync took lately.
    fdatasync_nanos: AtomicU64,
    commits: Durations,
    complete_to_manifest: Durations,
}

/// The staging directory.
#[derive(Debug, Default)]
struct ScanMetrics {
    ignored: By<IgnoredReason, Value>,
    /// Milliseconds since the start.
    oldest_waiting: Value,
    last: Value,
    last_millis: Value,
    groups: GroupMetrics,
}

/// Groups.
#[derive(Debug, Default)]
struct GroupMetrics {
    ingested: Counter,
    /// Those that have waited for longer than --group-timeout.
    overdue: Value,
}

/// The journal.
#[derive(Debug, Default)]
struct JournalMetrics {
    snapshots: By<SnapshotResult, Counter>,
    last_snapshot: Value,
    bytes: Value,
    snapshot_bytes: Value,
    unfolded_bytes: Value,
    remembered: Value,
    consumers: consumers::Consumers,
}

label!(
    /// What recovery did with a file.
    Recovery, "outcome", {
        /// It is in warehouse and manifest now.
        Completed = "completed",
        /// It was abandoned.
        Abandoned = "abandoned",
        /// It has to be hashed again.
        Resumed = "resumed",
        /// A duplicate that was removed or moved away.
        Cleared = "cleared",
    }
);

/// What recovery did, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryCounts {
    /// Files that are in warehouse and manifest now.
    pub completed: u64,
    /// Files that were abandoned (if they still exist, they are discovered again).
    pub abandoned: u64,
    /// Files that have to be hashed again.
    pub resumed: u64,
    /// Duplicates that were removed or moved away.
    pub cleared: u64,
}

/// The files that the intake knows and that are not done.
#[derive(Clone, Copy, Debug)]
pub struct QueueDepths {
    /// Not complete yet.
    pub waiting: usize,
    /// Refused, and checked again later.
    pub held: usize,
    /// Complete, and waiting for their turn.
    pub ready: usize,
    /// Handed out.
    pub in_flight: usize,
    /// When the oldest of these files was first seen.
    pub oldest: Option<Instant>,
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
    /// Complete files that are known and not finished.
    pub queue_depth: u64,
    /// The time since the start.
    pub elapsed: Duration,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let started = Instant::now();
        Metrics {
            started,
            started_at: UnixMillis::from_system_time(SystemTime::now()),
            health: Health::default(),
            files: Counter::default(),
            bytes: Counter::default(),
            duplicates: By::default(),
            failures: By::default(),
            quarantined: By::default(),
            abandoned: By::default(),
            recovery: RecoveryMetrics::default(),
            latency: Latency {
                fdatasync_nanos: AtomicU64::new(0),
                syncs: By::new(|| Durations::new(durations::SYNC_SECONDS)),
                commits: Durations::new(durations::COMMIT_SECONDS),
                complete_to_manifest: Durations::new(durations::COMPLETE_TO_MANIFEST_SECONDS),
            },
            stages: By::default(),
            scan: ScanMetrics::default(),
            recent: Recent::default(),
            journal: JournalMetrics::default(),
        }
    }
}

/// The present state. These methods log no events.
impl Metrics {
    /// The counters now.
    pub fn totals(&self) -> Totals {
        let failures = self.failures.iter().filter(|(reason, _)| *reason != FailureReason::DiskFull);
        let complete = [Stage::Ready, Stage::Hashing].map(|stage| self.stages.of(stage).get().unwrap_or(0));
        Totals {
            files: self.files.get(),
            bytes: self.bytes.get(),
            duplicates: self.duplicates.iter().map(|(_, counter)| counter.get()).sum(),
            failures: failures.map(|(_, counter)| counter.get()).sum(),
            queue_depth: complete.iter().sum(),
            elapsed: self.started.elapsed(),
        }
    }

    /// True while no file is ingested because a disk is full.
    pub fn is_disk_full(&self) -> bool {
        self.health.is_full()
    }

    /// Why no files are ingested now; None if they are.
    pub fn not_ready(&self) -> Option<&'static str> {
        self.health.not_ready()
    }

    /// A thread that is stalled.
    pub fn stalled(&self) -> Option<Stall> {
        self.health.stalled(STALL_MAX)
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.health.enter(phase);
    }

    /// The heartbeats of the threads.
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.health.heartbeats
    }

    /// A sync has taken this long.
    pub fn synced(&self, call: SyncCall, took: Duration) {
        self.latency.syncs.of(call).observe(took);
        if call == SyncCall::Fdatasync {
            // The last ones count most. If another thread does the same meanwhile, one of them is lost.
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            let before = self.latency.fdatasync_nanos.load(Ordering::Relaxed);
            self.latency.fdatasync_nanos.store(before - before / 4 + nanos / 4, Ordering::Relaxed);
        }
    }

    /// How long an fdatasync takes at present.
    pub fn fdatasync_time(&self) -> Duration {
        Duration::from_nanos(self.latency.fdatasync_nanos.load(Ordering::Relaxed))
    }

    /// The committer has so many files.
    pub fn committing(&self, files: usize) {
        self.stages.of(Stage::Committing).set(files as u64);
    }

    /// A batch is done.
    pub fn batch_committed(&self, took: Duration) {
        self.latency.commits.observe(took);
    }

    /// The files that are not done yet.
    pub fn queue(&self, queue: &QueueDepths) {
        self.stages.of(Stage::Waiting).set(queue.waiting as u64);
        self.stages.of(Stage::Held).set(queue.held as u64);
        self.stages.of(Stage::Ready).set(queue.ready as u64);
        // Files in the committer's batch count here until they are reported.
        self.stages.of(Stage::Hashing).set(queue.in_flight as u64);
        match queue.oldest {
            Some(oldest) => self.scan.oldest_waiting.set(millis(oldest.saturating_duration_since(self.started))),
            None => self.scan.oldest_waiting.clear(),
        }
    }

    /// A scan of the whole directory has ended, with these numbers of ignored entries.
    pub fn scanned(&self, now: UnixMillis, took: Duration, ignored: &By<IgnoredReason, usize>) {
        ignored.iter().for_each(|(reason, count)| self.scan.ignored.of(reason).set(*count as u64));
        self.scan.last.set(now.0);
        self.scan.last_millis.set(millis(took));
    }
}

/// The events.
impl Metrics {
    /// `recovery_finished`.
    pub fn recovery_finished(&self, counts: &RecoveryCounts, torn_bytes: u64, elapsed: Duration) {
        self.recovery.files.of(Recovery::Completed).inc_by(counts.completed);
        self.recovery.files.of(Recovery::Abandoned).inc_by(counts.abandoned);
        self.recovery.files.of(Recovery::Resumed).inc_by(counts.resumed);
        self.recovery.files.of(Recovery::Cleared).inc_by(counts.cleared);
        self.recovery.millis.set(millis(elapsed));
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
        tracing::debug!(event = "file_ready", path = log::path(path), bytes);
    }

    /// `file_ingested`.
    pub fn file_ingested(&self, ingest: &Ingest, now: UnixMillis) {
        let took = Duration::from_millis(now.0.saturating_sub(ingest.discovered_at.0));
        self.files.inc();
        self.bytes.inc_by(ingest.identity.size);
        self.latency.complete_to_manifest.observe(took);
        self.recent.last_ingest.set(now.0);
        self.recent.count(ingest.identity.size, self.started.elapsed());
        let Some(target) = &ingest.target else { return };
        let (bytes, ingest_id) = (ingest.identity.size, ingest.id.0);
        let facts = Facts::Ingested { warehouse_path: target.warehouse_path.to_path_buf(), bytes, ingest_id, took };
        self.recent.add(&ingest.source_path, now, facts);
        tracing::info!(
            event = "file_ingested",
            path = log::path(&ingest.source_path),
            warehouse_path = log::path(&target.warehouse_path),
            sha256 = %target.sha256,
            bytes = ingest.identity.size,
            ingest_id = ingest.id.0,
            seconds = seconds(took),
        );
    }

    /// `duplicate_skipped`.
    pub fn duplicate_skipped(&self, path: &Path, sha256: &Sha256, of: Option<&Original>, action: DuplicateAction) {
        self.duplicates.of(action).inc();
        let original = of.map(|of| (of.warehouse_path.to_path_buf(), of.ingest_id.0));
        self.remember(path, Facts::Duplicate { original, action: action.text() });
        tracing::info!(
            event = "duplicate_skipped",
            path = log::path(path),
            sha256 = %sha256,
            duplicate_of = of.map(|original| original.ingest_id.0),
            original = of.map(|original| log::path(&original.warehouse_path)),
            action = action.text(),
        );
    }

    /// `original_damaged`: a file in staging has a content that the journal knows as ingested, and stays, because the
    /// file in the warehouse is damaged or missing, or could not be checked.
    pub fn original_damaged(&self, path: &Path, original: &Path, why: &str) {
        tracing::warn!(
            event = "original_damaged",
            path = log::path(path),
            original = log::path(original),
            reason = why,
        );
    }

    /// `file_abandoned`.
    pub fn file_abandoned(&self, path: &Path, reason: AbandonReason) {
        if reason == AbandonReason::NeedsCopy {
            // This is not a failure: it is tried again at once.
            tracing::debug!(event = "file_needs_copy", path = log::path(path));
            return;
        }
        self.abandoned.of(reason).inc();
        tracing::warn!(event = "file_abandoned", path = log::path(path), reason = reason.text());
    }

    /// `file_quarantined`: it cannot be ingested as it is, and has been moved away.
    pub fn file_quarantined(&self, path: &Path, quarantined: &Quarantined) {
        self.failures.of(quarantined.cause.into()).inc();
        self.quarantined.of(quarantined.cause).inc();
        let (target, error) = (quarantined.target.to_path_buf(), beginning(&quarantined.detail));
        let (reason, line) = (quarantined.cause.text(), quarantined.line);
        self.remember(path, Facts::Quarantined { target, reason, line, error });
        tracing::error!(
            event = "file_quarantined",
            path = log::path(path),
            target = log::path(&quarantined.target),
            reason = quarantined.cause.text(),
            line = quarantined.line,
            error = quarantined.detail,
        );
    }

    fn remember(&self, path: &Path, facts: Facts) {
        self.recent.add(path, UnixMillis::from_system_time(SystemTime::now()), facts);
    }

    /// `file_failed`. `retry_in` is null if only a change of the file can help.
    pub fn file_failed(&self, path: &Path, reason: FailureReason, error: &str, retry_in: Option<Duration>) {
        self.failures.of(reason).inc();
        self.remember(path, Facts::Failed { reason: reason.text(), error: beginning(error), retry_in });
        tracing::error!(
            event = "file_failed",
            path = log::path(path),
            error,
            retry_in = retry_in.map(|delay| tracing::field::display(humantime::format_duration(delay))),
        );
    }

    /// `metrics`: the totals, and the rates since `since`.
    pub fn report(&self, since: &Totals) {
        let now = self.totals();
        let interval = now.elapsed.saturating_sub(since.elapsed).as_secs_f64().max(1e-9);
        let rate = |now: u64, then: u64| (((now - then) as f64 / interval) * 10.0).round() / 10.0;
        tracing::info!(
            event = "metrics",
            files_processed = now.files,
            bytes_processed = now.bytes,
            queue_depth = now.queue_depth,
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
