//! Reads text as CSV: rows, columns, header, and the first fault.
//!
//! Invariants:
//! - It takes the pieces of a text in order, and keeps nothing beyond the header.
//! - The boundaries between pieces make no difference.
//!
//! The standard is RFC 4180: the text is UTF-8 without NUL bytes, each record has as many fields as the first, lines end
//! in LF or CRLF, an opening quote is the first character of its field, and a closing quote is the last. A byte order
//! mark is skipped, and so are empty lines before the header and, if records have several columns, everywhere; if they
//! have one column, an empty line is a record. Lines that are skipped, and comments, are checked for their characters
//! and line ends only.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::blocks::{At, BLOCK_BYTES, Position, Syntax};
use super::header::Header;
use crate::journal::record::{CsvFault, Profile, Validation};

/// At the beginning of a file it marks the text as UTF-8, and belongs to no field.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// The longest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// A byte is searched for one by one over this distance: for near bytes that is faster than starting a vectorized search.
const NEAR_BYTES: usize = 32;

/// Text that is read in blocks before it is decided whether that pays.
const WINDOW_BYTES: usize = 4 << 10;
/// Long records are read faster with a search for their ends than in blocks.
const RECORD_BYTES_LONG: u64 = 256;
/// So much text is read in that way before blocks are tried again.
const PAUSE_BYTES: usize = 64 << 10;

pub(super) const NUL: &str = "it has a NUL byte: it is UTF-16, or a transfer broke off";
pub(super) const NOT_UTF_8: &str = "it is not UTF-8";
const CUT_CHARACTER: &str = "it ends in the middle of a UTF-8 character";
pub(super) const LONE_CR: &str = "a line ends in CR alone";
pub(super) const BEHIND_A_QUOTE: &str = "text follows a closing quote";
pub(super) const BARE_QUOTE: &str = "a quote is inside an unquoted field";
const OPEN_QUOTE: &str = "a quote that is opened in this record is never closed";

/// The text of one file.
pub(super) struct Text {
    syntax: Syntax,
    /// The last line that is skipped.
    skip_rows: u64,
    /// Bytes that end a run of unquoted text: quotes and line ends.
    ends: [bool; 256],
    position: Position,
    /// No byte was fed yet.
    is_new: bool,
    /// The first bytes of a character that the last piece cut off.
    character: Vec<u8>,
    header: Header,
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

impl Text {
    /// Text whose fields are separated by this byte; all else is as `look` says.
    pub(super) fn new(delimiter: u8, look: &Validation) -> Text {
        let quote = look.quote;
        let mut ends = [false; 256];
        [b'\n', b'\r'].into_iter().chain(quote).for_each(|byte| ends[usize::from(byte)] = true);
        Text {
            syntax: Syntax { delimiter, quote, comment: look.comment },
            skip_rows: u64::from(look.skip_rows),
            ends,
            position: Position { at: At::Begin, delimiters: 0, line: 1, begins_at: None },
            is_new: true,
            character: Vec::with_capacity(CHARACTER_BYTES_MAX),
            header: Header::default(),
            profile: Profile { rows: Some(0), ..Profile::default() },
        }
    }

    /// True once a fault was found: no more needs to be fed.
    pub(super) fn has_fault(&self) -> bool {
        self.profile.fault.is_some()
    }

    /// Adds the next piece.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        if self.has_fault() {
            return;
        }
        let Some(piece) = self.end_character(piece) else { return };
        // Faster than decoding.
        if piece.is_ascii() {
            return self.characters(piece);
        }
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
            self.fail(self.position.line, NOT_UTF_8);
        }
    }

    /// The profile of the whole text.
    pub(super) fn finish(mut self) -> Profile {
        match self.position.at {
            _ if self.has_fault() => {}
            _ if !self.character.is_empty() => self.fail(self.position.line, CUT_CHARACTER),
            At::Cr | At::AsideCr => self.fail(self.position.line, LONE_CR),
            At::Quoted => self.fail(self.position.begins_at.unwrap_or(self.position.line), OPEN_QUOTE),
            // The last line may lack its line end.
            _ if self.position.begins_at.is_some() => self.end_record(),
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
                    self.fail(self.position.line, NOT_UTF_8);
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
                self.fail(self.position.line, NUL);
            }
        }
    }

    fn records(&mut self, mut text: &[u8]) {
        // Blocks are tried when no more than this is left.
        let mut left = text.len();
        while let Some(first) = text.first().copied()
            && !self.has_fault()
        {
            if text.len() <= left && text.len() >= BLOCK_BYTES {
                let (taken, pause) = self.blocks(&text[..text.len().min(WINDOW_BYTES)]);
                text = &text[taken..];
                left = text.len().saturating_sub(pause);
                continue;
            }
            text = match self.position.at {
                At::Begin if self.is_aside(first) => self.aside(text),
                At::Begin | At::Field | At::Bare => self.plain(text),
                At::Quoted => self.quoted(text),
                At::Quote if Some(first) == self.syntax.quote => {
                    self.keep(&text[..1]);
                    self.position.at = At::Quoted;
                    &text[1..]
                }
                // The field has ended: from here on it is like an unquoted one.
                At::Quote if [self.syntax.delimiter, b'\r', b'\n'].contains(&first) => self.plain(text),
                At::Quote => {
                    self.fail(self.position.line, BEHIND_A_QUOTE);
                    text
                }
                At::Aside => self.aside(text),
                At::AsideCr if first == b'\n' => self.aside(text),
                At::Cr if first == b'\n' => {
                    self.end_line();
                    &text[1..]
                }
                At::Cr | At::AsideCr => {
                    self.fail(self.position.line, LONE_CR);
                    text
                }
            };
        }
    }

    /// Takes whole blocks in which nothing is unusual. Returns the number of bytes that it took, and how many bytes further
    /// blocks are worth a try.
    fn blocks(&mut self, window: &[u8]) -> (usize, usize) {
        // The header's names are kept, and that is done byte by byte.
        let Some(columns) = self.profile.columns else { return (0, BLOCK_BYTES) };
        let (taken, records) = self.syntax.take(columns, &mut self.position, window);
        self.profile.rows = self.profile.rows.map(|rows| rows + records);
        let is_long = records * RECORD_BYTES_LONG < taken as u64;
        let pause = match window.len() - taken < BLOCK_BYTES {
            true if is_long => PAUSE_BYTES,
            true => 0,
            false => BLOCK_BYTES,
        };
        (taken, pause)
    }

    /// True if the line that begins with this byte belongs to no record.
    fn is_aside(&self, first: u8) -> bool {
        self.position.line <= self.skip_rows || self.syntax.comment == Some(first)
    }

    /// Consumes such a line up to and including the next CR or LF. Returns the rest.
    fn aside<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr2(b'\n', b'\r', text) else {
            self.position.at = At::Aside;
            return &text[text.len()..];
        };
        if text[end] == b'\r' {
            self.position.at = At::AsideCr;
        } else {
            self.position.at = At::Begin;
            self.position.line += 1;
        }
        &text[end + 1..]
    }

    /// Consumes the text up to and including the next line end or quote. Returns the rest.
    fn plain<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let (length, delimiters) = self.run(text);
        let (run, rest) = text.split_at(length);
        if let Some(last) = run.last() {
            self.position.begins_at.get_or_insert(self.position.line);
            self.position.delimiters += delimiters;
            self.keep_fields(run);
            self.position.at = if *last == self.syntax.delimiter { At::Field } else { At::Bare };
        }
        match rest.first() {
            None => return rest,
            Some(b'\n') => self.end_line(),
            Some(b'\r') => self.position.at = At::Cr,
            Some(_) if matches!(self.position.at, At::Begin | At::Field) => {
                self.position.begins_at.get_or_insert(self.position.line);
                self.position.at = At::Quoted;
            }
            Some(_) => self.fail(self.position.line, BARE_QUOTE),
        }
        &rest[1..]
    }

    /// Consumes a quoted field up to and including its closing quote, and any further quoted fields after it. Returns the
    /// rest.
    fn quoted<'a>(&mut self, mut text: &'a [u8]) -> &'a [u8] {
        let Some(quote) = self.syntax.quote else { return self.plain(text) };
        loop {
            let (length, lines) = quoted_run(quote, text);
            let (run, rest) = text.split_at(length);
            self.keep(run);
            self.position.line += lines;
            match rest {
                [] => return rest,
                [_, next, opens, more @ ..]
                    if *next == self.syntax.delimiter && *opens == quote && self.profile.columns.is_some() =>
                {
                    self.position.delimiters += 1;
                    text = more;
                }
                _ => {
                    self.position.at = At::Quote;
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
            delimiters += u64::from(*byte == self.syntax.delimiter);
        }
        let end = match self.syntax.quote {
            Some(quote) => memchr3(b'\n', b'\r', quote, far),
            None => memchr2(b'\n', b'\r', far),
        };
        let far = &far[..end.unwrap_or(far.len())];
        (near.len() + far.len(), delimiters + memchr_iter(self.syntax.delimiter, far).count() as u64)
    }

    /// Keeps the fields of a run of unquoted text, if it belongs to the header.
    fn keep_fields(&mut self, run: &[u8]) {
        if self.profile.columns.is_none() && !self.header.is_too_long() {
            let mut parts = run.split(|byte| *byte == self.syntax.delimiter);
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
        match self.position.begins_at {
            Some(_) => self.end_record(),
            None if self.profile.columns == Some(1) => {
                self.position.begins_at = Some(self.position.line);
                self.end_record();
            }
            None => {}
        }
        self.position.at = At::Begin;
        self.position.line += 1;
    }

    fn end_record(&mut self) {
        let line = self.position.begins_at.take().unwrap_or(self.position.line);
        let columns = std::mem::take(&mut self.position.delimiters) + 1;
        match self.profile.columns {
            None => {
                self.header.end_field();
                self.profile.columns = Some(columns);
                (self.profile.header, self.profile.header_faults) = std::mem::take(&mut self.header).finish();
            }
            Some(expected) if expected == columns => {
                self.profile.rows = self.profile.rows.map(|rows| rows + 1);
            }
            Some(expected) => self.fail(line, format!("it has {columns} columns, the first record {expected}")),
        }
    }

    #[cfg(test)]
    pub(super) fn header_capacity(&self) -> usize {
        self.header.capacity()
    }

    /// Records that the text cannot be read from here on.
    pub(super) fn break_off(&mut self, reason: impl Into<String>) {
        self.fail(self.position.line, reason);
    }

    /// Records a fault; only the first counts.
    fn fail(&mut self, line: u64, reason: impl Into<String>) {
        if !self.has_fault() {
            self.profile.rows = None;
            self.profile.fault = Some(CsvFault { line, reason: reason.into() });
        }
    }
}
