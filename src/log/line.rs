//! Writes one event as a line of JSON or text.
//!
//! Invariant: a line has every field that the event declares, in that order; a field without a value is null (or left
//! out, as text).

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::escape::escaped;
use super::json;

/// The field that names an event.
const EVENT: &str = "event";

/// The exact bytes, in base64, if they are not UTF-8.
fn exact(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| BASE64.encode(bytes))
}

/// Suffix of the field with the exact bytes.
const EXACT_SUFFIX: &str = "_base64";

/// Lines are JSON.
pub(super) static AS_JSON: AtomicBool = AtomicBool::new(false);

pub(super) fn level_text(level: Level) -> &'static str {
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

/// The fields of an event as JSON, found by their index. One object serves all events of a thread: there is a line for
/// each file, so lines must cost little.
#[derive(Default)]
struct JsonFields {
    json: Vec<u8>,
    /// The range of each field's value in `json`, by the field's index; an empty range means no value.
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
        match std::str::from_utf8(value) {
            Ok(text) => self.add(field, text),
            Err(_) => {
                self.add(field, &*String::from_utf8_lossy(value));
                self.exact.push((field.index(), BASE64.encode(value)));
            }
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let _ = write!(text, "{value:?}");
        self.add(field, text.as_str());
        self.text = text;
    }
}

/// Appends an event: its name first, then every field that it declares, in that order; a field without a value is null.
pub(super) fn json_line(line: &mut Vec<u8>, timestamp: &dyn fmt::Display, level: &str, event: &Event<'_>) {
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

/// The same as text for people.
pub(super) fn text_line(line: &mut Vec<u8>, timestamp: &dyn fmt::Display, level: &str, event: &Event<'_>) {
    let declared = event.metadata().fields().iter();
    let mut fields = Fields(declared.map(|field| (field.name().to_owned(), Value::Null)).collect());
    event.record(&mut fields);
    let mut fields = fields.0;
    let event = fields.shift_remove(EVENT).unwrap_or_else(|| "log".into());
    let mut out = format!("{timestamp} {level:5} {}", event.as_str().unwrap_or("log"));
    for (key, value) in fields {
        // A plain word is written as it is; anything else is quoted and escaped.
        let _ = match value.as_str() {
            Some(text) if is_plain(text) => write!(out, " {key}={text}"),
            Some(text) => write!(out, " {key}={}", escaped(text)),
            None if value.is_null() => Ok(()),
            None => write!(out, " {key}={value}"),
        };
    }
    line.extend_from_slice(out.as_bytes());
}

/// The line that reports dropped lines. The writer makes it itself, at every log level: it is about the log.
pub(super) fn dropped_line(lines: u64) -> Vec<u8> {
    const NAME: &str = "log_lines_dropped";
    let (timestamp, level) = (humantime::format_rfc3339_millis(SystemTime::now()), level_text(Level::WARN));
    let line = if AS_JSON.load(Ordering::Relaxed) {
        format!("{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\",\"event\":\"{NAME}\",\"lines\":{lines}}}\n")
    } else {
        format!("{timestamp} {level:5} {NAME} lines={lines}\n")
    };
    line.into_bytes()
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='))
}
