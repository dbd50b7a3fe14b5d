//! The present state as JSON: what the metrics know, for the page and for `status --watch`.
//!
//! Invariant: it reads atomics, and copies lists of a limited length: it waits for no disk, and delays no thread of the
//! pipeline.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::Metrics;
use super::consumers::ConsumerLag;
use super::health::Disk;
use super::labels::{By, Label, Stage};
use super::recent::{Happened, Minute, RecentKind};
use crate::types::UnixMillis;
use prometheus_client::metrics::counter::Counter;

impl Metrics {
    /// The last events of a kind, the newest first.
    pub fn recent(&self, kind: RecentKind) -> Vec<Arc<Happened>> {
        self.recent.of(kind)
    }

    /// The free room, as it was measured last.
    pub fn disks_measured(&self, disks: Vec<Disk>) {
        self.health.set_disks(disks);
    }

    /// True before recovery is finished, and after the end has begun: no thread answers questions about files then.
    pub fn is_running(&self) -> bool {
        self.health.phase() == super::Phase::Running
    }

    /// The counters and the present state.
    pub fn view(&self) -> Map<String, Value> {
        let now = UnixMillis::from_system_time(SystemTime::now());
        let mut view = self.state(now);
        let lists = json!({ "minutes": self.hour(), "consumers": self.consumers(now) });
        for part in [self.files(), self.measured(), self.staging(), lists] {
            if let Value::Object(part) = part {
                view.extend(part);
            }
        }
        view
    }

    /// Who follows the manifests, and how far behind each is.
    fn consumers(&self, now: UnixMillis) -> Value {
        let consumer = |lag: ConsumerLag| {
            let state = match lag.lines {
                Some(0) => "up to date",
                Some(_) => "behind",
                None => "unknown",
            };
            json!({
                "name": lag.name,
                "state": state,
                "lag_lines": lag.lines,
                "lag_seconds": lag.oldest.map(|oldest| now.0.saturating_sub(oldest.0) / 1000),
                "acknowledged_at": lag.acknowledged_at.map(|at| at.rfc3339()),
            })
        };
        self.journal.consumers.get().into_iter().map(consumer).collect()
    }

    fn state(&self, now: UnixMillis) -> Map<String, Value> {
        let told = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "now": now.rfc3339(),
            "started_at": self.started_at.rfc3339(),
            "uptime_seconds": super::seconds(self.started.elapsed()),
            "state": self.health.phase().text(),
            "not_ready": self.not_ready(),
            "stalled": self.stalled().map(|stall| stall.to_string()),
        });
        match told {
            Value::Object(told) => told,
            _ => Map::new(),
        }
    }

    fn files(&self) -> Value {
        let totals = self.totals();
        json!({
            "files": totals.files,
            "bytes": totals.bytes,
            "duplicates": by(&self.duplicates),
            "failures": by(&self.failures),
            "quarantined": by(&self.quarantined),
            "abandoned": by(&self.abandoned),
            "last_ingest_at": at(self.recent.last_ingest.get()),
        })
    }

    fn staging(&self) -> Value {
        let of = |stage| self.stages.of(stage).get().unwrap_or(0);
        // As in the metrics: files of the committer's batch count among those that were handed out until it reports them.
        let hashing = of(Stage::Hashing).saturating_sub(of(Stage::Committing));
        let waited = |since| super::seconds(self.started.elapsed().saturating_sub(Duration::from_millis(since)));
        let ignored = self.scan.ignored.iter().map(|(reason, count)| (reason.text().to_owned(), count.get().into()));
        json!({
            "stages": {
                "waiting": of(Stage::Waiting),
                "held": of(Stage::Held),
                "ready": of(Stage::Ready),
                "hashing": hashing,
                "committing": of(Stage::Committing),
            },
            "oldest_waiting_seconds": self.scan.oldest_waiting.get().map(waited),
            "last_scan_at": at(self.scan.last.get()),
            "last_scan_seconds": self.scan.last_millis.get().map(|millis| millis as f64 / 1000.0),
            "ignored": ignored.collect::<Map<_, _>>(),
        })
    }

    fn measured(&self) -> Value {
        let disks = self.health.disks();
        let told = |disk: &Disk| json!({ "places": disk.places, "free_bytes": disk.free_bytes });
        json!({
            "disk_full": self.health.is_full(),
            "store_away": self.health.is_away(),
            "disks": disks.iter().map(told).collect::<Vec<_>>(),
            "journal": {
                "bytes": self.journal.bytes.get(),
                "snapshot_bytes": self.journal.snapshot_bytes.get(),
                "unfolded_bytes": self.journal.unfolded_bytes.get(),
                "remembered_files": self.journal.remembered.get(),
                "last_snapshot_at": at(self.journal.last_snapshot.get()),
                "snapshots": by(&self.journal.snapshots),
            },
            "recovery_seconds": self.recovery.millis.get().map(|millis| millis as f64 / 1000.0),
            "log_lines_dropped": crate::log::dropped(),
        })
    }

    /// What was ingested in each minute of the last hour; the last one is not over. The times are those of the clock at the
    /// start: a clock that is set meanwhile does not move them against each other.
    fn hour(&self) -> Vec<Value> {
        let told = |minute: &Minute| {
            let at = UnixMillis(self.started_at.0 + 60_000 * minute.number);
            json!({ "at": at.rfc3339(), "files": minute.files, "bytes": minute.bytes })
        };
        self.recent.hour(self.started.elapsed()).iter().map(told).collect()
    }
}

fn by<L: Label>(counters: &By<L, Counter>) -> Map<String, Value> {
    counters.iter().map(|(label, counter)| (label.text().to_owned(), counter.get().into())).collect()
}

fn at(millis: Option<u64>) -> Option<String> {
    millis.map(|millis| UnixMillis(millis).rfc3339())
}
