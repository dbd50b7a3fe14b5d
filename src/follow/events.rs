//! The events of deliveries, for the log.
//!
//! Invariant: names and fields are part of the contract, and docs/monitoring.md lists them. No field holds a secret, or a URL
//! beyond its host.

use std::path::Path;
use std::time::Duration;

use super::batch::Batch;
use super::consumer::Consumer;
use super::cursor::Cursor;
use crate::log;
use crate::metrics::seconds;

/// `follow_started`. `to` is `exec` or `webhook`.
pub fn started(consumer: &Consumer, to: &str, manifests: &Path, cursor: &Cursor) {
    tracing::info!(
        event = "follow_started",
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        consumer = %consumer,
        to,
        manifests = log::path(manifests),
        cursor = %cursor,
    );
}

/// `lines_delivered`: the consumer has taken a batch. It is acknowledged next.
pub(super) fn delivered(consumer: &Consumer, to: &str, batch: &Batch, attempt: u32, took: Duration) {
    tracing::info!(
        event = "lines_delivered",
        consumer = %consumer,
        to,
        lines = batch.len(),
        cursor = %batch.cursor(),
        attempt,
        seconds = seconds(took),
    );
}

/// `delivery_failed`: the consumer has not taken a batch. `retry_in` is null after the last attempt.
pub(super) fn failed(
    consumer: &Consumer,
    to: &str,
    batch: &Batch,
    (attempt, retry_in): (u32, Option<Duration>),
    error: &str,
) {
    tracing::warn!(
        event = "delivery_failed",
        consumer = %consumer,
        to,
        lines = batch.len(),
        cursor = %batch.cursor(),
        attempt,
        error,
        retry_in = retry_in.map(|delay| tracing::field::display(humantime::format_duration(whole(delay)))),
    );
}

/// `lines_dead`: a batch is in the file of dead letters, and acknowledged next.
pub(super) fn dead_letters(consumer: &Consumer, batch: &Batch, attempts: u32, path: &Path) {
    tracing::error!(
        event = "lines_dead",
        consumer = %consumer,
        lines = batch.len(),
        cursor = %batch.cursor(),
        attempts,
        path = log::path(path),
    );
}

/// `follow_stopped`: in order, by a signal or at the end of what there is.
pub fn stopped(consumer: &Consumer) {
    tracing::info!(event = "follow_stopped", consumer = %consumer);
}

/// For people: without microseconds.
fn whole(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
