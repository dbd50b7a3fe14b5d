//! Reads TOML as far as a configuration file needs it: its keys are in no table, and its lists are flat.
//!
//! Invariant: nothing here recurses, and the parser only so far as it is allowed.

use std::borrow::Cow;

use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{Expected, ParseError, Source};

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins, in bytes.
    pub at: usize,
    /// The value.
    pub value: Value,
}

/// A value, and where it begins, in bytes.
#[derive(Debug)]
pub struct Value {
    /// Where it begins.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
}

/// A value without its place.
#[derive(Debug)]
pub enum Kind {
    /// A string.
    Text(String),
    /// A number, as decimal text.
    Number(String),
    /// True or false.
    Flag(bool),
    /// A list.
    List(Vec<Value>),
    /// A date or a time.
    Time,
    /// A table, with the keys in it.
    Table(Vec<String>),
}

/// Lists and tables within each other, at most.
const DEPTH_MAX: u32 = 16;

/// The entries of a text, and what is wrong with it, by its place in bytes.
pub(super) fn read(text: &str) -> (Vec<Entry>, Vec<(usize, String)>) {
    let source = Source::new(text);
    let (mut events, mut errors) = (Vec::new(), Vec::new());
    let mut whitespace = ValidateWhitespace::new(&mut events, source);
    let mut bounded = RecursionGuard::new(&mut whitespace, DEPTH_MAX);
    parse_document(&source.lex().into_vec(), &mut bounded, &mut errors);
    let mut reader = Reader { source, events: events.iter(), errors };
    let entries = reader.entries();
    (entries, reader.errors.iter().map(problem).collect())
}

struct Reader<'a> {
    source: Source<'a>,
    events: std::slice::Iter<'a, Event>,
    errors: Vec<ParseError>,
}

/// A key, and where it begins.
type Key = (usize, String);

impl Reader<'_> {
    fn entries(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut is_top = true;
        while let Some(kind) = self.peek() {
            match kind {
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    self.events.next();
                    is_top = false;
                    let keys = self.keys();
                    add(&mut entries, keys, None);
                }
                EventKind::SimpleKey => {
                    let keys = self.keys();
                    let value = self.value();
                    match entries.last_mut() {
                        // The table that is written last.
                        Some(Entry { value: Value { kind: Kind::Table(inner), .. }, .. }) if !is_top => {
                            inner.extend(keys.into_iter().map(|(_, key)| key));
                        }
                        _ if is_top && value.is_some() => add(&mut entries, keys, value),
                        _ => {}
                    }
                }
                _ => {
                    self.events.next();
                }
            }
        }
        entries
    }

    /// The next event that is not a space.
    fn peek(&mut self) -> Option<EventKind> {
        while self.events.as_slice().first()?.kind() == EventKind::Whitespace {
            self.events.next();
        }
        self.events.as_slice().first().map(Event::kind)
    }

    /// The parts of a key, which are separated by dots.
    fn keys(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        while matches!(self.peek(), Some(EventKind::SimpleKey | EventKind::KeySep)) {
            let Some(event) = self.events.next() else { break };
            if let (EventKind::SimpleKey, Some(raw)) = (event.kind(), self.source.get(event)) {
                let mut key = Cow::Borrowed("");
                raw.decode_key(&mut key, &mut self.errors);
                keys.push((event.span().start(), key.into_owned()));
            }
        }
        keys
    }

    /// The value after a key.
    fn value(&mut self) -> Option<Value> {
        if self.peek()? != EventKind::KeyValSep {
            return None;
        }
        self.events.next();
        self.peek()?;
        let event = self.events.next()?;
        let kind = match event.kind() {
            EventKind::ArrayOpen => self.list(),
            _ => self.single(event)?,
        };
        Some(Value { at: event.span().start(), kind })
    }

    /// The values up to the end of a list.
    fn list(&mut self) -> Kind {
        let mut values = Vec::new();
        while let Some(event) = self.events.next().filter(|event| event.kind() != EventKind::ArrayClose) {
            values.extend(self.single(event).map(|kind| Value { at: event.span().start(), kind }));
        }
        Kind::List(values)
    }

    /// A value; of one that holds others, only what it is.
    fn single(&mut self, event: &Event) -> Option<Kind> {
        match event.kind() {
            EventKind::Scalar => self.scalar(event),
            EventKind::ArrayOpen => {
                self.skip();
                Some(Kind::List(Vec::new()))
            }
            EventKind::InlineTableOpen => {
                self.skip();
                Some(Kind::Table(Vec::new()))
            }
            _ => None,
        }
    }

    /// Goes behind the end of what has just begun.
    fn skip(&mut self) {
        let mut depth = 1;
        for event in self.events.by_ref() {
            match event.kind() {
                EventKind::ArrayOpen | EventKind::InlineTableOpen => depth += 1,
                EventKind::ArrayClose | EventKind::InlineTableClose if depth == 1 => return,
                EventKind::ArrayClose | EventKind::InlineTableClose => depth -= 1,
                _ => {}
            }
        }
    }

    fn scalar(&mut self, event: &Event) -> Option<Kind> {
        let mut text = Cow::Borrowed("");
        let kind = self.source.get(event)?.decode_scalar(&mut text, &mut self.errors);
        Some(match kind {
            ScalarKind::String => Kind::Text(text.into_owned()),
            ScalarKind::Boolean(flag) => Kind::Flag(flag),
            ScalarKind::DateTime => Kind::Time,
            ScalarKind::Float => Kind::Number(text.into_owned()),
            ScalarKind::Integer(radix) => {
                let number = u64::from_str_radix(&text, radix.value());
                // Another number is refused by the option's own parser.
                Kind::Number(number.map_or_else(|_| text.into_owned(), |number| number.to_string()))
            }
        })
    }
}

/// Adds a key and its value, or a table: a key with dots is in one, and a header has no value.
fn add(entries: &mut Vec<Entry>, keys: Vec<Key>, value: Option<Value>) {
    let mut keys = keys.into_iter();
    let Some((at, key)) = keys.next() else { return };
    let inner: Vec<String> = keys.map(|(_, key)| key).collect();
    if let (true, Some(value)) = (inner.is_empty(), value) {
        entries.push(Entry { key, at, value });
        return;
    }
    let same = entries.iter_mut().find(|entry| entry.key == key);
    match same.map(|entry| &mut entry.value.kind) {
        Some(Kind::Table(known)) => known.extend(inner),
        _ => entries.push(Entry { key, at, value: Value { at, kind: Kind::Table(inner) } }),
    }
}

/// What the parser found wrong.
fn problem(error: &ParseError) -> (usize, String) {
    let mut text = error.description().to_owned();
    let expected = error.expected().unwrap_or_default().iter().map(|expected| match expected {
        Expected::Literal("\n") => "a new line".to_owned(),
        Expected::Literal(text) => format!("`{text}`"),
        Expected::Description(text) => (*text).to_owned(),
        _ => "something else".to_owned(),
    });
    let expected: Vec<String> = expected.collect();
    if !expected.is_empty() {
        text.push_str(&format!(", expected {}", expected.join(" or ")));
    }
    (error.unexpected().or(error.context()).map_or(0, |span| span.start()), text)
}
