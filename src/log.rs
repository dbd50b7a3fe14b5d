//! The log: one event a line on stderr, as JSON or as text.
//!
//! Invariants:
//! - A line is written with one `write` of whole lines, so lines of several threads never mix.
//! - Whoever logs never waits for the log's reader (the module `sink`).
//! - No text from outside (names above all) can end a line or forge one, nor make a terminal obey: both formats escape such
//!   characters.
//! - A path that is not UTF-8 has its exact bytes beside it, in a field of the same name and `_base64`.

pub mod json;
mod sink;

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

pub use sink::{dropped, finish};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
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

/// The field that names an event.
const EVENT: &str = "event";

/// Bytes that a batch of lines may hold before it is written early.
const BATCH_BYTES_MAX: usize = 64 << 10;

static AS_JSON: AtomicBool = AtomicBool::new(false);

thread_local! {
    static BATCHING: Cell<bool> = const { Cell::new(false) };
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Starts logging. Later calls change nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    AS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let layer = Lines { format }.with_filter(level.filter());
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

/// Says why the command ends badly: as an event where the log is JSON, as plain text otherwise, so that a command in it
/// can be copied.
pub fn failure(error: &str) {
    if AS_JSON.load(Ordering::Relaxed) {
        tracing::error!(event = "failed", error);
    } else {
        sink::hand_over(format!("csv-ingestor: {}\n", escaped_line(error)).as_bytes(), true);
    }
}

/// Says that lines were dropped. By the writer itself, whatever the level: it is about the log.
fn dropped_line(lines: u64) -> Vec<u8> {
    const NAME: &str = "log_lines_dropped";
    let (timestamp, level) = (humantime::format_rfc3339_millis(SystemTime::now()), level_text(Level::WARN));
    let line = if AS_JSON.load(Ordering::Relaxed) {
        format!("{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\",\"event\":\"{NAME}\",\"lines\":{lines}}}\n")
    } else {
        format!("{timestamp} {level:5} {NAME} lines={lines}\n")
    };
    line.into_bytes()
}

/// A path as the value of a field.
pub fn path(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The exact bytes of what is not UTF-8.
fn exact(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| BASE64.encode(bytes))
}

/// What is called beside a field of that name.
const EXACT_SUFFIX: &str = "_base64";

/// The text with control characters escaped, unquoted.
pub(crate) fn escaped_line(text: &str) -> String {
    if text.chars().any(is_dangerous) { escaped(text) } else { text.to_owned() }
}

/// While this lives, this thread's lines are gathered and written together: a system call per batch, not per file.
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

/// Lets this thread's lines be written.
fn write_out(is_urgent: bool) {
    LINES.with_borrow_mut(|lines| {
        if !lines.is_empty() {
            sink::hand_over(lines, is_urgent);
            lines.clear();
        }
    });
}

struct Lines {
    format: LogFormat,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let timestamp = humantime::format_rfc3339_millis(SystemTime::now());
        let level = level_text(*event.metadata().level());
        let full = LINES.with_borrow_mut(|lines| {
            match self.format {
                LogFormat::Json => json_line(lines, &timestamp, level, event),
                LogFormat::Text => {
                    // Every field that the event declares, in that order: one without a value is null.
                    let declared = event.metadata().fields().iter();
                    let mut fields = Fields(declared.map(|field| (field.name().to_owned(), Value::Null)).collect());
                    event.record(&mut fields);
                    lines.extend_from_slice(text_line(&timestamp.to_string(), level, fields.0).as_bytes());
                }
            }
            lines.push(b'\n');
            lines.len() >= BATCH_BYTES_MAX
        });
        // What is wrong is said at once: the batch may be waiting for room on a full disk.
        let urgent = *event.metadata().level() <= Level::WARN;
        if full || urgent || !BATCHING.get() {
            write_out(urgent);
        }
    }
}

fn level_text(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The fields of an event, in order.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.0.insert(field.name().to_owned(), String::from_utf8_lossy(value).into());
        if let Some(exact) = exact(value) {
            self.0.insert(format!("{}{EXACT_SUFFIX}", field.name()), exact.into());
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

thread_local! {
    static JSON: RefCell<JsonFields> = RefCell::new(JsonFields::default());
}

/// The fields of an event as JSON, each where its field says. One of these serves all events of a thread: there is a line
/// for each file, so lines must cost little.
#[derive(Default)]
struct JsonFields {
    json: Vec<u8>,
    /// Where each field's value is in `json`, by the field's index; an empty one has no value.
    places: Vec<Range<usize>>,
    text: String,
    /// Exact bytes of fields that are not UTF-8, by the field's index.
    exact: Vec<(usize, String)>,
}

impl JsonFields {
    fn begin(&mut self, count: usize) {
        self.json.clear();
        self.exact.clear();
        self.places.clear();
        self.places.resize(count, 0..0);
    }

    fn add(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        let begin = self.json.len();
        json::append(&mut self.json, value);
        if let Some(place) = self.places.get_mut(field.index()) {
            *place = begin..self.json.len();
        }
    }

    fn put(&self, field: &Field, line: &mut Vec<u8>) {
        let value = self.places.get(field.index()).map_or(&[][..], |place| &self.json[place.clone()]);
        line.extend_from_slice(if value.is_empty() { b"null" } else { value });
        for (_, exact) in self.exact.iter().filter(|(index, _)| *index == field.index()) {
            let _ = write!(line, ",\"{}{EXACT_SUFFIX}\":\"{exact}\"", field.name());
        }
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.add(field, &*String::from_utf8_lossy(value));
        self.exact.extend(exact(value).map(|exact| (field.index(), exact)));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let _ = write!(text, "{value:?}");
        self.add(field, text.as_str());
        self.text = text;
    }
}

/// Appends an event: its name first, then every field that it declares, in that order; one without a value is null.
fn json_line(line: &mut Vec<u8>, timestamp: &dyn fmt::Display, level: &str, event: &Event<'_>) {
    let declared = event.metadata().fields();
    JSON.with_borrow_mut(|fields| {
        fields.begin(declared.len());
        event.record(fields);
        let _ = write!(line, "{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\",\"event\":");
        match declared.field(EVENT) {
            Some(name) => fields.put(&name, line),
            None => line.extend_from_slice(b"\"log\""),
        }
        for field in declared.iter().filter(|field| field.name() != EVENT) {
            let _ = write!(line, ",\"{}\":", field.name());
            fields.put(&field, line);
        }
        line.push(b'}');
    });
}

fn text_line(timestamp: &str, level: &str, mut fields: Map<String, Value>) -> String {
    let event = fields.shift_remove(EVENT).unwrap_or_else(|| "log".into());
    let mut line = format!("{timestamp} {level:5} {}", event.as_str().unwrap_or("log"));
    for (key, value) in fields {
        // A bare word stays bare; anything else is quoted and escaped as JSON does it.
        let _ = match value.as_str() {
            Some(text) if is_plain(text) => write!(line, " {key}={text}"),
            Some(text) => write!(line, " {key}={}", escaped(text)),
            None if value.is_null() => Ok(()),
            None => write!(line, " {key}={value}"),
        };
    }
    line
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='))
}

/// True for what a line or a terminal would obey: control characters, line separators, and what reorders text.
pub fn is_dangerous(character: char) -> bool {
    let reorders =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || reorders
}

/// Quoted, with every control character (those above ASCII too, which terminals obey) and every character that
/// reorders text escaped.
pub fn escaped(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if is_dangerous(character) => {
                let _ = write!(quoted, "\\u{:04x}", character as u32);
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread logs, in that format.
    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let subscriber = tracing_subscriber::registry().with(Lines { format });
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
