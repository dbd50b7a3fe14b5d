//! Profiles a CSV file: rows, columns, header, and the first fault.
//!
//! Invariants:
//! - It takes the pieces of a file in order, as they are hashed: no extra reads, and nothing is kept beyond the header.
//! - The boundaries between pieces make no difference.
//!
//! The standard is RFC 4180: the text is UTF-8 without NUL bytes, each record has as many fields as the first, lines end
//! in LF or CRLF, an opening quote is the first character of its field, and a closing quote is the last. A byte order
//! mark is skipped, and so are empty lines before the header and, if records have several columns, everywhere; if they
//! have one column, an empty line is a record.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use crate::journal::format::HEADER_BYTES_MAX;
use crate::journal::record::{CsvFault, Profile, Validation};

/// At the beginning of a file it marks the text as UTF-8, and belongs to no field.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// The longest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// Suffixes of files whose bytes are not the text itself.
const COMPRESSED: [&[u8]; 8] = [b".gz", b".bz2", b".xz", b".zst", b".lz4", b".br", b".zip", b".parquet"];
/// Suffixes of files whose fields are separated by tabs, whatever the options say.
const TABBED: [&[u8]; 2] = [b".tsv", b".tab"];

/// A byte is searched for one by one over this distance: for near bytes that is faster than starting a vectorized search.
const NEAR_BYTES: usize = 32;

const NUL: &str = "it has a NUL byte: it is UTF-16, or a transfer broke off";
const NOT_UTF_8: &str = "it is not UTF-8";
const CUT_CHARACTER: &str = "it ends in the middle of a UTF-8 character";
const LONE_CR: &str = "a line ends in CR alone";
const BEHIND_A_QUOTE: &str = "text follows a closing quote";
const BARE_QUOTE: &str = "a quote is inside an unquoted field";
const OPEN_QUOTE: &str = "a quote that is opened in this record is never closed";

/// The position of the next byte in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before its first field, or between two records.
    Begin,
    /// Before the first byte of a further field.
    Field,
    /// In a field without quotes.
    Bare,
    /// Between quotes.
    Quoted,
    /// After a quote inside quotes: the field's end, or half of a doubled quote.
    Quote,
    /// After a CR, which ends the record or is alone.
    Cr,
}

/// Profiles one file.
pub struct Profiler {
    delimiter: u8,
    quote: Option<u8>,
    /// Bytes that end a run of unquoted text: quotes and line ends.
    ends: [bool; 256],
    at: At,
    /// No byte was fed yet.
    is_new: bool,
    /// The first bytes of a character that the last piece cut off.
    character: Vec<u8>,
    header: Header,
    /// Delimiters in the current record so far.
    delimiters: u64,
    /// The line of the next byte.
    line: u64,
    /// The line on which the current record begins; None between two records.
    begins_at: Option<u64>,
    profile: Profile,
}

/// The distance to the next quote, and the number of line ends before it.
fn quoted_run(quote: u8, text: &[u8]) -> (usize, u64) {
    let (near, far) = text.split_at(text.len().min(NEAR_BYTES));
    let mut lines = 0;
    for (at, byte) in near.iter().enumerate() {
        if *byte == quote {
            return (at, lines);
        }
        lines += u64::from(*byte == b'\n');
    }
    let far = &far[..memchr(quote, far).unwrap_or(far.len())];
    (near.len() + far.len(), lines + memchr_iter(b'\n', far).count() as u64)
}

/// The fields of the first record, as far as they are kept.
#[derive(Default)]
struct Header {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    is_too_long: bool,
}

impl Header {
    fn has_room(&mut self, bytes: usize, ends: usize) -> bool {
        // As the journal counts: two bytes for each name in addition to its text.
        let needed = self.bytes.len() + bytes + 2 * (self.ends.len() + ends);
        self.is_too_long |= needed > HEADER_BYTES_MAX;
        if self.is_too_long {
            (self.bytes, self.ends) = (Vec::new(), Vec::new());
        }
        !self.is_too_long
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len(), 0) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn end_field(&mut self) {
        if self.has_room(0, 1) {
            self.ends.push(self.bytes.len());
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        let mut begin = 0;
        let names = self.ends.iter().map(|end| {
            let name = self.bytes.get(begin..*end)?;
            begin = *end;
            String::from_utf8(name.to_vec()).ok()
        });
        let names: Option<Vec<String>> = if self.is_too_long { None } else { names.collect() };
        names.filter(|names| Profile::fits(names))
    }
}

impl Profiler {
    /// A profiler for a file of this name; None if its bytes are not text. `look` gives delimiter and quote, except for
    /// tab-separated files.
    pub fn of(name: &[u8], look: &Validation) -> Option<Profiler> {
        let name = name.to_ascii_lowercase();
        let is_one_of = |endings: &[&[u8]]| endings.iter().any(|ending| name.ends_with(ending));
        let delimiter = if is_one_of(&TABBED) { b'\t' } else { look.delimiter };
        (!is_one_of(&COMPRESSED)).then(|| Profiler::new(delimiter, look.quote))
    }

    fn new(delimiter: u8, quote: Option<u8>) -> Profiler {
        let mut ends = [false; 256];
        [b'\n', b'\r'].into_iter().chain(quote).for_each(|byte| ends[usize::from(byte)] = true);
        Profiler {
            delimiter,
            quote,
            ends,
            at: At::Begin,
            is_new: true,
            character: Vec::with_capacity(CHARACTER_BYTES_MAX),
            header: Header::default(),
            delimiters: 0,
            line: 1,
            begins_at: None,
            profile: Profile { rows: Some(0), ..Profile::default() },
        }
    }

    /// True once a fault was found: no more needs to be fed.
    pub fn has_fault(&self) -> bool {
        self.profile.fault.is_some()
    }

    /// Adds the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.has_fault() {
            return;
        }
        let Some(piece) = self.end_character(piece) else { return };
        let (text, error) = match std::str::from_utf8(piece) {
            Ok(_) => (piece, false),
            Err(error) => {
                let (text, rest) = piece.split_at(error.valid_up_to());
                if error.error_len().is_none() {
                    self.character.extend_from_slice(rest);
                }
                (text, error.error_len().is_some())
            }
        };
        self.characters(text);
        if error {
            self.fail(self.line, NOT_UTF_8);
        }
    }

    /// The profile of the whole file.
    pub fn finish(mut self) -> Profile {
        match self.at {
            _ if self.has_fault() => {}
            _ if !self.character.is_empty() => self.fail(self.line, CUT_CHARACTER),
            At::Cr => self.fail(self.line, LONE_CR),
            At::Quoted => self.fail(self.begins_at.unwrap_or(self.line), OPEN_QUOTE),
            // The last line may lack its line end.
            _ if self.begins_at.is_some() => self.end_record(),
            _ => {}
        }
        self.profile
    }

    /// Completes a character that was cut off, so that nothing is decided by its first bytes. None if nothing else
    /// remains to be checked.
    fn end_character<'a>(&mut self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let mut taken = 0;
        while !self.character.is_empty() {
            self.character.push(*piece.get(taken)?);
            taken += 1;
            match std::str::from_utf8(&self.character) {
                Ok(_) => {
                    let character = std::mem::take(&mut self.character);
                    self.characters(&character);
                }
                Err(error) if error.error_len().is_some() => {
                    self.fail(self.line, NOT_UTF_8);
                    return None;
                }
                Err(_) => {}
            }
        }
        Some(&piece[taken..])
    }

    /// Adds text of whole characters.
    fn characters(&mut self, mut text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if std::mem::take(&mut self.is_new) {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        match memchr(0, text) {
            None => self.records(text),
            Some(at) => {
                self.records(&text[..at]);
                self.fail(self.line, NUL);
            }
        }
    }

    fn records(&mut self, mut text: &[u8]) {
        while let Some(first) = text.first().copied()
            && !self.has_fault()
        {
            text = match self.at {
                At::Begin | At::Field | At::Bare => self.plain(text),
                At::Quoted => self.quoted(text),
                At::Quote if Some(first) == self.quote => {
                    self.keep(&text[..1]);
                    self.at = At::Quoted;
                    &text[1..]
                }
                // The field has ended: from here on it is like an unquoted one.
                At::Quote if [self.delimiter, b'\r', b'\n'].contains(&first) => self.plain(text),
                At::Quote => {
                    self.fail(self.line, BEHIND_A_QUOTE);
                    text
                }
                At::Cr if first == b'\n' => {
                    self.end_line();
                    &text[1..]
                }
                At::Cr => {
                    self.fail(self.line, LONE_CR);
                    text
                }
            };
        }
    }

    /// Consumes the text up to and including the next line end or quote. Returns the rest.
    fn plain<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let (length, delimiters) = self.run(text);
        let (run, rest) = text.split_at(length);
        if let Some(last) = run.last() {
            self.begins_at.get_or_insert(self.line);
            self.delimiters += delimiters;
            self.keep_fields(run);
            self.at = if *last == self.delimiter { At::Field } else { At::Bare };
        }
        match rest.first() {
            None => return rest,
            Some(b'\n') => self.end_line(),
            Some(b'\r') => self.at = At::Cr,
            Some(_) if matches!(self.at, At::Begin | At::Field) => {
                self.begins_at.get_or_insert(self.line);
                self.at = At::Quoted;
            }
            Some(_) => self.fail(self.line, BARE_QUOTE),
        }
        &rest[1..]
    }

    /// Consumes a quoted field up to and including its closing quote, and any further quoted fields after it. Returns the
    /// rest.
    fn quoted<'a>(&mut self, mut text: &'a [u8]) -> &'a [u8] {
        let Some(quote) = self.quote else { return self.plain(text) };
        loop {
            let (length, lines) = quoted_run(quote, text);
            let (run, rest) = text.split_at(length);
            self.keep(run);
            self.line += lines;
            match rest {
                [] => return rest,
                [_, next, opens, more @ ..]
                    if *next == self.delimiter && *opens == quote && self.profile.columns.is_some() =>
                {
                    self.delimiters += 1;
                    text = more;
                }
                _ => {
                    self.at = At::Quote;
                    return &rest[1..];
                }
            }
        }
    }

    /// The distance to the next line end or quote, and the number of delimiters before it.
    fn run(&self, text: &[u8]) -> (usize, u64) {
        let (near, far) = text.split_at(text.len().min(NEAR_BYTES));
        let mut delimiters = 0;
        for (at, byte) in near.iter().enumerate() {
            if self.ends[usize::from(*byte)] {
                return (at, delimiters);
            }
            delimiters += u64::from(*byte == self.delimiter);
        }
        let end = match self.quote {
            Some(quote) => memchr3(b'\n', b'\r', quote, far),
            None => memchr2(b'\n', b'\r', far),
        };
        let far = &far[..end.unwrap_or(far.len())];
        (near.len() + far.len(), delimiters + memchr_iter(self.delimiter, far).count() as u64)
    }

    /// Keeps the fields of a run of unquoted text, if it belongs to the header.
    fn keep_fields(&mut self, run: &[u8]) {
        if self.profile.columns.is_none() && !self.header.is_too_long {
            let mut parts = run.split(|byte| *byte == self.delimiter);
            self.header.add(parts.next().unwrap_or_default());
            for part in parts {
                self.header.end_field();
                self.header.add(part);
            }
        }
    }

    /// Keeps a part of a quoted field, if it belongs to the header.
    fn keep(&mut self, part: &[u8]) {
        if self.profile.columns.is_none() {
            self.header.add(part);
        }
    }

    fn end_line(&mut self) {
        match self.begins_at {
            Some(_) => self.end_record(),
            None if self.profile.columns == Some(1) => {
                self.begins_at = Some(self.line);
                self.end_record();
            }
            None => {}
        }
        self.at = At::Begin;
        self.line += 1;
    }

    fn end_record(&mut self) {
        let line = self.begins_at.take().unwrap_or(self.line);
        let columns = std::mem::take(&mut self.delimiters) + 1;
        match self.profile.columns {
            None => {
                self.header.end_field();
                self.profile.columns = Some(columns);
                self.profile.header = std::mem::take(&mut self.header).names();
            }
            Some(expected) if expected == columns => {
                self.profile.rows = self.profile.rows.map(|rows| rows + 1);
            }
            Some(expected) => self.fail(line, format!("it has {columns} columns, the first record {expected}")),
        }
    }

    /// Records a fault; only the first counts.
    fn fail(&mut self, line: u64, reason: impl Into<String>) {
        if !self.has_fault() {
            self.profile.rows = None;
            self.profile.fault = Some(CsvFault { line, reason: reason.into() });
        }
    }
}

#[cfg(test)]
mod tests;
