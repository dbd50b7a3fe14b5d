//! The log: one event a line on stderr, as JSON or as text.
//!
//! Invariants:
//! - Each `write` contains only whole lines, so lines of several threads never mix.
//! - A thread that logs never waits for the log's reader (see the module `sink`).
//! - No text from outside (file names above all) can end a line, forge one, or control a terminal: both formats escape
//!   such characters.
//! - A path that is not UTF-8 also has its exact bytes, in a field of the same name with the suffix `_base64`.

mod escape;
pub mod json;
mod line;
mod sink;

use std::cell::{Cell, RefCell};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

pub use escape::{escaped, is_dangerous, path_text};
pub(crate) use escape::{escaped_line, shortened};
use line::{AS_JSON, json_line, level_text, text_line};
pub use sink::{dropped, finish};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Least important level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// Bytes that a batch of lines may have before it is written early.
const BATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static BATCHING: Cell<bool> = const { Cell::new(false) };
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Starts logging. Later calls change nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    AS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let layer = LineLayer { format }.with_filter(level.filter());
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

/// Logs why the command failed: as an event where the log is JSON, as plain text otherwise, so that a command in the
/// text can be copied.
pub fn failure(error: &str) {
    if AS_JSON.load(Ordering::Relaxed) {
        tracing::error!(event = "failed", error);
    } else {
        sink::hand_over(format!("csv-ingestor: {}\n", escaped_line(error)).as_bytes(), true);
    }
}

/// A path, as the value of a field.
pub fn path(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// While this exists, this thread's lines are gathered and written together: one system call per batch, not per file.
#[must_use]
pub struct Batch(());

/// Begins a batch of lines.
pub fn batch() -> Batch {
    BATCHING.set(true);
    Batch(())
}

impl Drop for Batch {
    fn drop(&mut self) {
        BATCHING.set(false);
        write_out(false);
    }
}

/// Hands this thread's lines to the writer.
fn write_out(is_urgent: bool) {
    LINES.with_borrow_mut(|lines| {
        if !lines.is_empty() {
            sink::hand_over(lines, is_urgent);
            lines.clear();
        }
    });
}

struct LineLayer {
    format: LogFormat,
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let timestamp = humantime::format_rfc3339_millis(SystemTime::now());
        let level = level_text(*event.metadata().level());
        let full = LINES.with_borrow_mut(|lines| {
            match self.format {
                LogFormat::Json => json_line(lines, &timestamp, level, event),
                LogFormat::Text => text_line(lines, &timestamp, level, event),
            }
            lines.push(b'\n');
            lines.len() >= BATCH_BYTES_MAX
        });
        // Problems are logged at once: the batch may be waiting for room on a full disk.
        let urgent = *event.metadata().level() <= Level::WARN;
        if full || urgent || !BATCHING.get() {
            write_out(urgent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that a thread logs in this format.
    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let subscriber = tracing_subscriber::registry().with(LineLayer { format });
        BATCHING.set(true);
        tracing::subscriber::with_default(subscriber, log);
        BATCHING.set(false);
        String::from_utf8(LINES.take()).unwrap()
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let path = "a\n2026-01-01 info forged\u{1b}[2J\u{9b}\u{202e}.csv";
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = logged(format, || tracing::info!(event = "file_ingested", path = %path));
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.ends_with('\n') && !line.trim_end().contains(is_dangerous), "{line}");
        }
        assert_eq!(escaped("\u{9b}\u{202e}"), "\"\\u009b\\u202e\"");
    }

    #[test]
    fn what_is_not_utf_8_has_its_bytes_beside_it() {
        use std::ffi::OsStr;
        let odd = Path::new(OsStr::from_bytes(b"/in/\xff.csv"));
        let log = |other: Option<&'static str>| {
            let other = other.map(|text| path(Path::new(text)));
            move || tracing::info!(event = "e", path = path(odd), other, last = 1)
        };
        let line = logged(LogFormat::Json, log(None));
        let (_, json) = line.split_once(",\"event\"").unwrap();
        let lossy = "\"/in/\u{fffd}.csv\"";
        assert_eq!(
            json,
            format!(":\"e\",\"path\":{lossy},\"path_base64\":\"L2luL/8uY3N2\",\"other\":null,\"last\":1}}\n")
        );
        let text = logged(LogFormat::Text, log(Some("/b")));
        assert!(text.contains(&format!(" path={lossy} ")) && text.contains(" path_base64=L2luL/8uY3N2"), "{text}");
        assert!(text.contains(" other=/b ") && !text.contains("other_base64"), "{text}");
    }

    #[test]
    fn fields_come_as_they_are_declared_and_one_without_a_value_is_null() {
        let line = logged(LogFormat::Json, || {
            tracing::info!(
                a = 1.5,
                event = "e",
                b = None::<u64>,
                c = %"x\"y",
                d = true,
                e = -1_i64,
                f = u64::MAX,
                g = f64::NAN,
                h = ?[1],
            );
        });
        let (_, fields) = line.split_once("\"level\":\"info\",").unwrap();
        let expected =
            r#""event":"e","a":1.5,"b":null,"c":"x\"y","d":true,"e":-1,"f":18446744073709551615,"g":null,"h":"[1]"}"#;
        assert_eq!(fields.trim_end(), expected);
    }
}
