//! The metrics in Prometheus' text format, version 0.0.4, which every Prometheus and node_exporter's textfile collector
//! read.
//!
//! Invariant: the metrics in this file are all that is exposed, and docs/monitoring.md has a line for each; a test
//! compares the two.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::Metrics;
use super::consumers::ByConsumer;
use super::health::Phase;
use super::labels::{By, Stage};
use super::value::Value;
use crate::types::UnixMillis;

/// Prefix of all names.
const PREFIX: &str = "csv_ingestor";

/// One way to expose the metrics; made once.
pub struct Exposition {
    registry: Registry,
    process: Registry,
}

impl Exposition {
    /// For a scrape of this process.
    pub fn of_process(metrics: &Arc<Metrics>) -> Exposition {
        let mut process = Registry::default();
        process.register_collector(Box::new(Process(metrics.clone())));
        Exposition { registry: registry(metrics, None), process }
    }

    /// For a file among others: a label distinguishes each series from those of other ingestors. Metrics that every
    /// process has under the same name are left out: they would count as the collector's own.
    pub fn of_file(metrics: &Arc<Metrics>, ingestor: String) -> Exposition {
        let label = (Cow::Borrowed("ingestor"), Cow::Owned(ingestor));
        Exposition { registry: registry(metrics, Some(label)), process: Registry::default() }
    }
}

fn registry(metrics: &Arc<Metrics>, label: Option<(Cow<'static, str>, Cow<'static, str>)>) -> Registry {
    let mut registry = Registry::with_prefix_and_labels(PREFIX, label.into_iter());
    registry.register_collector(Box::new(Ours(metrics.clone())));
    registry
}

/// The content type of [`text`].
pub(super) use prometheus_text::CONTENT_TYPE;

/// The metrics now.
pub fn text(exposition: &Exposition) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(16 << 10);
    prometheus_text::encode(&mut text, &exposition.registry)?;
    prometheus_text::encode(&mut text, &exposition.process)?;
    Ok(text)
}

/// A gauge, exposed only while its value is known.
impl TypedMetric for Value {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Value {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        ConstGauge::new(self.get().unwrap_or(0)).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Writes metrics one by one.
struct Table<'a>(DescriptorEncoder<'a>);

impl Table<'_> {
    fn row(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.row(name, help, &ConstGauge::new(value))
    }

    /// A time or a timestamp in milliseconds, if it is known: a series with the value 1970 would raise every alert.
    fn seconds(&mut self, name: &str, help: &str, millis: &Value) -> fmt::Result {
        let Some(millis) = millis.get() else { return Ok(()) };
        self.row(name, help, &ConstGauge::new(millis as f64 / 1000.0))
    }

    fn known(&mut self, name: &str, help: &str, value: &Value) -> fmt::Result {
        value.get().map_or(Ok(()), |_| self.row(name, help, value))
    }
}

/// Seconds since an instant of the wall clock.
fn since(instant: UnixMillis) -> f64 {
    UnixMillis::from_system_time(SystemTime::now()).0.saturating_sub(instant.0) as f64 / 1000.0
}

/// The metrics with this program's prefix.
#[derive(Debug)]
struct Ours(Arc<Metrics>);

impl Collector for Ours {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut table = Table(encoder);
        self.files(&mut table)?;
        self.queue(&mut table)?;
        self.durations(&mut table)?;
        self.journal(&mut table)?;
        self.consumers(&mut table)?;
        self.process(&mut table)
    }
}

impl Ours {
    fn files(&self, table: &mut Table<'_>) -> fmt::Result {
        let metrics = &*self.0;
        table.row("files_processed", "Files that are in the warehouse and in the manifest", &metrics.files)?;
        table.row("bytes_processed", "Bytes of these files", &metrics.bytes)?;
        table.row(
            "duplicates",
            "Files whose content was ingested before, by what became of them",
            &metrics.duplicates,
        )?;
        table.row(
            "failures",
            "Failures by reason: each file_failed, file_quarantined or disk_full in the log",
            &metrics.failures,
        )?;
        table.row("quarantined", "Failures that moved a file to quarantine, by reason", &metrics.quarantined)?;
        table.row("abandoned", "Files that were abandoned before they were moved, by reason", &metrics.abandoned)?;
        table.row("groups", "Groups whose files are all in the warehouse", &metrics.scan.groups.ingested)?;
        let overdue = metrics.scan.groups.overdue.get().unwrap_or(0);
        table.gauge("groups_overdue", "Groups that have been incomplete for longer than --group-timeout", overdue)
    }

    fn queue(&self, table: &mut Table<'_>) -> fmt::Result {
        let metrics = &*self.0;
        let of = |stage| metrics.stages.of(stage).get().unwrap_or(0);
        let depth = By::from(|stage| match stage {
            // Until the intake gets the reports of a batch, its files still count among those that were handed out.
            Stage::Hashing => ConstGauge::new(of(Stage::Hashing).saturating_sub(of(Stage::Committing))),
            stage => ConstGauge::new(of(stage)),
        });
        table.row("queue_depth", "Files that are known and not done, by stage", &depth)?;
        let help = "Entries that the last scan of the staging directory ignored, by reason";
        let ignored = By::from(|reason| ConstGauge::new(metrics.scan.ignored.of(reason).get().unwrap_or(0)));
        table.row("ignored_files", help, &ignored)?;
        let waiting = metrics
            .scan
            .oldest_waiting
            .get()
            .map_or(Duration::ZERO, |since| metrics.started.elapsed().saturating_sub(Duration::from_millis(since)));
        let help = "How long ago the file was first seen that has waited longest to be ingested; 0 if none waits";
        table.row("oldest_waiting_seconds", help, &ConstGauge::new(waiting.as_secs_f64()))?;
        let help = "When a file was ingested last; absent until one was";
        table.seconds("last_ingest_timestamp_seconds", help, &metrics.recent.last_ingest)?;
        let help = "When a scan of the staging directory ended last";
        table.seconds("last_scan_timestamp_seconds", help, &metrics.scan.last)?;
        table.seconds("last_scan_duration_seconds", "How long that scan took", &metrics.scan.last_millis)
    }

    fn durations(&self, table: &mut Table<'_>) -> fmt::Result {
        let metrics = &*self.0;
        table.row("commit_seconds", "How long a batch of files took to commit", &metrics.latency.commits)?;
        table.row("fsync_seconds", "How long each sync took, by system call", &metrics.latency.syncs)?;
        let help = "From the instant at which a file was found complete to its line in the manifest";
        table.row("complete_to_manifest_seconds", help, &metrics.latency.complete_to_manifest)
    }

    fn journal(&self, table: &mut Table<'_>) -> fmt::Result {
        let metrics = &*self.0;
        let help = "Bytes of the journal on the disk: segments and snapshots, both generations";
        table.known("journal_bytes", help, &metrics.journal.bytes)?;
        table.known(
            "snapshot_bytes",
            "The newest snapshot's part of that; 0 without one",
            &metrics.journal.snapshot_bytes,
        )?;
        let help = "Bytes of full segments that are in no snapshot yet";
        table.known("journal_unfolded_bytes", help, &metrics.journal.unfolded_bytes)?;
        table.known("remembered_files", "Contents that are known as ingested", &metrics.journal.remembered)?;
        table.row("snapshots", "Compactions of the journal by result", &metrics.journal.snapshots)?;
        let help = "When a snapshot was written last; absent until one was";
        table.seconds("last_snapshot_timestamp_seconds", help, &metrics.journal.last_snapshot)
    }

    fn consumers(&self, table: &mut Table<'_>) -> fmt::Result {
        let lags = self.0.journal.consumers.get();
        let lines = ByConsumer::new(&lags, |lag| lag.lines.map(|lines| lines as f64));
        table.row("consumer_lag_lines", "Lines that a consumer has not acknowledged", &lines)?;
        let seconds = ByConsumer::new(&lags, |lag| match (lag.lines, lag.oldest) {
            (Some(0), _) => Some(0.0),
            (_, oldest) => oldest.map(since),
        });
        let help = "How long ago the oldest line was listed that a consumer has not acknowledged; 0 if there is none";
        table.row("consumer_lag_seconds", help, &seconds)?;
        let acknowledged = ByConsumer::new(&lags, |lag| lag.acknowledged_at.map(|at| at.0 as f64 / 1000.0));
        table.row("consumer_last_ack_timestamp_seconds", "When a consumer acknowledged lines last", &acknowledged)?;
        // The others are absent then, and an alert on them would end as soon as a position is damaged.
        let readable = ByConsumer::new(&lags, |lag| Some(f64::from(u8::from(lag.acknowledged_at.is_some()))));
        table.row("consumer_position_readable", "1 if the position of a consumer can be read, otherwise 0", &readable)
    }

    fn process(&self, table: &mut Table<'_>) -> fmt::Result {
        let metrics = &*self.0;
        let help = "1 while files are not taken because a disk is full";
        table.gauge("disk_full", help, u64::from(metrics.health.is_full()))?;
        let phase = metrics.health.phase();
        let states = By::from(|state: Phase| ConstGauge::new(u64::from(state == phase)));
        table.row("state", "1 for the state that the process is in", &states)?;
        let help = "Log lines that were dropped because the log was not read or could not be written";
        table.row("log_lines_dropped", help, &ConstCounter::new(crate::log::dropped()))?;
        let help = "Files that the last start found half done, by outcome";
        let recovered = By::from(|outcome| ConstGauge::new(metrics.recovery.files.of(outcome).get()));
        table.row("recovered_files", help, &recovered)?;
        table.seconds("recovery_seconds", "How long the last recovery took", &metrics.recovery.millis)?;
        let help = "When the process began";
        table.row("start_time_seconds", help, &ConstGauge::new(metrics.started_at.0 as f64 / 1000.0))?;
        let metric = ConstGauge::new(1_u64);
        let mut encoder =
            table.0.encode_descriptor("build_info", "The program's version", None, metric.metric_type())?;
        metric.encode(encoder.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}

/// Metrics that every process has under the same name.
#[derive(Debug)]
struct Process(Arc<Metrics>);

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let started = ConstGauge::new(self.0.started_at.0 as f64 / 1000.0);
        Table(encoder).row("process_start_time_seconds", "When the process began", &started)
    }
}
