//! Findings and progress of `audit` and `journal rebuild`: findings on standard output, the bar on a terminal.
//!
//! Invariant: a bar is drawn only if standard error is a terminal, and never over a finding.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::output;
use crate::Error;
use crate::audit::{Content, Finding, Kind, Progress, Reporter, Sink, Summary, Watch};
use crate::daemon::signals;
use crate::log::path_text;
use crate::pipeline::manifest::json_path;

/// The time between two updates of the bar.
const REDRAW: Duration = Duration::from_millis(100);

/// Runs `work` with a progress bar, and prints its findings; SIGINT and SIGTERM stop it.
pub(super) fn watched<T>(
    as_json: bool,
    work: impl FnOnce(&Watch<'_>) -> Result<T, Error>,
) -> Result<(T, FindingCounts), Error> {
    let stop = signals::flag()?;
    let progress = Progress::default();
    let bar = io::stderr().is_terminal().then(|| ProgressBar::new_spinner().with_style(reading()));
    let shown = bar.clone();
    let sink: Sink = Box::new(move |finding| {
        let line = if as_json { json_text(finding) } else { text(finding) };
        match &shown {
            Some(bar) => bar.suspend(|| print(&line)),
            None => print(&line),
        }
    });
    let reporter = Reporter::new(sink);
    let watch = Watch { stop: &stop, progress: &progress, reporter: &reporter };
    let is_done = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        if let Some(bar) = &bar {
            scope.spawn(|| draw(bar, &progress, &is_done));
        }
        let result = work(&watch);
        is_done.store(true, Ordering::Relaxed);
        result
    });
    let counts = FindingCounts(reporter.counts()?);
    result.map(|result| (result, counts))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn reading() -> ProgressStyle {
    style("reading manifests: {human_pos} lines, {per_sec}")
}

/// Draws until the work is done.
fn draw(bar: &ProgressBar, progress: &Progress, is_done: &AtomicBool) {
    let mut is_checking = false;
    while !is_done.load(Ordering::Relaxed) {
        let total = progress.files_total.load(Ordering::Relaxed);
        let bytes_total = progress.bytes_total.load(Ordering::Relaxed);
        if total > 0 && !is_checking {
            is_checking = true;
            bar.reset();
            bar.set_length(if bytes_total > 0 { bytes_total } else { total });
            bar.set_style(match bytes_total {
                0 => style("{bar:30} {human_pos} of {human_len} files, {per_sec}, {eta} left"),
                _ => style("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left; {msg}"),
            });
        }
        let (files, bytes) = (progress.files.load(Ordering::Relaxed), progress.bytes.load(Ordering::Relaxed));
        if !is_checking {
            bar.set_position(progress.lines.load(Ordering::Relaxed));
        } else if bytes_total > 0 {
            bar.set_message(format!("{files} of {total} files"));
            bar.set_position(bytes);
        } else {
            bar.set_position(files);
        }
        bar.tick();
        thread::sleep(REDRAW);
    }
    bar.finish_and_clear();
}

/// Prints a line at once. It is not an error if the reader has gone away (`| head`).
fn print(line: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// The number of findings of each kind.
pub(super) struct FindingCounts([u64; Kind::ALL.len()]);

impl FindingCounts {
    pub(super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// `3 findings: 1 missing, 2 altered`.
    pub(super) fn text(&self) -> String {
        let kinds = Kind::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0);
        let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{count} {}", words(*kind))).collect();
        match self.total() {
            0 => "no findings".to_owned(),
            1 => format!("1 finding: {}", kinds.join(", ")),
            total => format!("{total} findings: {}", kinds.join(", ")),
        }
    }

    pub(super) fn json(&self) -> Value {
        Kind::ALL
            .iter()
            .zip(self.0)
            .map(|(kind, count)| (kind.text().to_owned(), count.into()))
            .collect::<Map<_, _>>()
            .into()
    }

    /// The verdict in one word.
    pub(super) fn verdict_text(&self, summary: &Summary) -> &'static str {
        match (self.total(), summary.is_interrupted) {
            (_, true) => "interrupted",
            (0, false) => "clean",
            (_, false) => "findings",
        }
    }

    /// The result of the command.
    pub(super) fn verdict(&self, summary: &Summary) -> Result<(), Error> {
        match self.total() {
            0 if summary.is_interrupted => Err(Error::Interrupted),
            0 => Ok(()),
            total => Err(Error::Found(total)),
        }
    }
}

fn words(kind: Kind) -> String {
    kind.text().replace('_', " ")
}

fn content_text(content: &Content) -> String {
    let size = content.size.map(|size| format!("{size} bytes"));
    let sha256 = content.sha256.map(|sha256| format!("SHA-256 {sha256}"));
    size.into_iter().chain(sha256).collect::<Vec<_>>().join(", ")
}

/// `ALTERED: PATH: what is wrong; expected …; found … [MANIFEST:LINE]`.
fn text(finding: &Finding) -> String {
    let mut text = format!(
        "{}: {}: {}",
        words(finding.kind).to_uppercase(),
        path_text(&finding.path),
        output::plain(&finding.detail)
    );
    if finding.actual != Content::default() {
        let (expected, actual) = (content_text(&finding.expected), content_text(&finding.actual));
        text.push_str(&format!("; expected {expected}; found {actual}"));
    }
    if !finding.lines.is_empty() {
        let place = |place: &crate::pipeline::manifest::read::LinePlace| {
            format!("{}:{}", path_text(&place.manifest), place.number)
        };
        let lines: Vec<String> = finding.lines.iter().map(place).collect();
        text.push_str(&format!(" [{}]", lines.join(", ")));
    }
    text
}

fn json_text(finding: &Finding) -> String {
    let (path, exact) = json_path(&finding.path);
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("finding", json!(finding.kind.text()));
    put("path", json!(path));
    if let Some(exact) = exact {
        put("path_base64", json!(exact));
    }
    put("ingest_id", json!(finding.ingest_id));
    put("expected_size", json!(finding.expected.size));
    put("expected_sha256", json!(finding.expected.sha256.map(|sha256| sha256.hex())));
    put("actual_size", json!(finding.actual.size));
    put("actual_sha256", json!(finding.actual.sha256.map(|sha256| sha256.hex())));
    let line = |place: &crate::pipeline::manifest::read::LinePlace| {
        let mut line = json!({ "manifest": json_path(&place.manifest).0, "line": place.number });
        output::add_exact(&mut line, &[("manifest", &place.manifest)]);
        line
    };
    put("lines", finding.lines.iter().map(line).collect());
    put("detail", json!(finding.detail));
    output::json_line(Value::Object(object), &[])
}
