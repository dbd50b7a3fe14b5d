//! What a CSV file is made of: rows, columns, header, and the first thing that is wrong with it.
//!
//! Invariants:
//! - It is fed with the pieces of a file in order, as they are hashed: nothing is read for it, and no more is kept than the
//!   header.
//! - Where the pieces begin and end makes no difference.
//!
//! RFC 4180 is the measure: the text is UTF-8 without NUL bytes, each record has as many fields as the first, lines end in LF
//! or CRLF, a quote begins its field, and behind the one that ends it the field ends. A byte order mark is passed over, and
//! so are empty lines before the header and where records have several columns; where they have one, an empty line is a
//! record.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use crate::journal::format::HEADER_BYTES_MAX;
use crate::journal::record::{CsvFault, Profile, Validation};

/// At the very beginning of a file it says that it is UTF-8, and belongs to no field.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// The longest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// Names of files whose bytes are something else than the text.
const COMPRESSED: [&[u8]; 8] = [b".gz", b".bz2", b".xz", b".zst", b".lz4", b".br", b".zip", b".parquet"];
/// Names of files whose fields are separated by tabs, whatever others use.
const TABBED: [&[u8]; 2] = [b".tsv", b".tab"];

const NUL: &str = "it has a NUL byte: it is UTF-16, or a transfer broke off";
const NOT_UTF_8: &str = "it is not UTF-8";
const CUT_CHARACTER: &str = "it ends in the middle of a UTF-8 character";
const LONE_CR: &str = "a line ends in CR alone";
const BEHIND_A_QUOTE: &str = "text follows a closing quote";
const BARE_QUOTE: &str = "a quote stands inside an unquoted field";
const OPEN_QUOTE: &str = "a quote that is opened in this record is never closed";

/// Where in a record the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before its first field, or between two records.
    Begin,
    /// Before the first byte of another field.
    Field,
    /// In a field without quotes.
    Bare,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the field's end, or half of a doubled one.
    Quote,
    /// Behind a CR that ends the record, or stands alone.
    Cr,
}

/// Looks at one file.
pub struct Profiler {
    delimiter: u8,
    quote: Option<u8>,
    at: At,
    /// Nothing has come yet.
    is_new: bool,
    /// The front of a character that the last piece has cut.
    character: Vec<u8>,
    header: Header,
    /// Delimiters in the record under way.
    delimiters: u64,
    /// The line of the next byte.
    line: u64,
    /// Where the record under way begins; None between two records.
    begins_at: Option<u64>,
    profile: Profile,
}

/// The first record's fields, as far as they are kept.
#[derive(Default)]
struct Header {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    is_too_long: bool,
}

impl Header {
    fn has_room(&mut self, bytes: usize, ends: usize) -> bool {
        // As the journal counts: two bytes for each name besides its own.
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
    /// One for a file of that name, whose fields are separated and quoted as most are; None if it is no text.
    pub fn of(name: &[u8], look: &Validation) -> Option<Profiler> {
        let name = name.to_ascii_lowercase();
        let is_one_of = |endings: &[&[u8]]| endings.iter().any(|ending| name.ends_with(ending));
        let delimiter = if is_one_of(&TABBED) { b'\t' } else { look.delimiter };
        (!is_one_of(&COMPRESSED)).then(|| Profiler::new(delimiter, look.quote))
    }

    fn new(delimiter: u8, quote: Option<u8>) -> Profiler {
        Profiler {
            delimiter,
            quote,
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

    /// True once something is wrong: no more has to be fed.
    pub fn has_fault(&self) -> bool {
        self.profile.fault.is_some()
    }

    /// Takes the next piece.
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

    /// What the whole file showed.
    pub fn finish(mut self) -> Profile {
        match self.at {
            _ if self.has_fault() => {}
            _ if !self.character.is_empty() => self.fail(self.line, CUT_CHARACTER),
            At::Cr => self.fail(self.line, LONE_CR),
            At::Quoted => self.fail(self.begins_at.unwrap_or(self.line), OPEN_QUOTE),
            // The last line may lack its end.
            _ if self.begins_at.is_some() => self.end_record(),
            _ => {}
        }
        self.profile
    }

    /// Takes the rest of a character that was cut, whole, so that nothing is decided by its first bytes. None if there is
    /// nothing else to be looked at.
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

    /// Takes whole characters.
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
                // The field has ended: what may follow is what may follow a bare one.
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

    /// Takes what stands before the next end of a line or quote, and that one. Returns the rest.
    fn plain<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let end = match self.quote {
            Some(quote) => memchr3(b'\n', b'\r', quote, text),
            None => memchr2(b'\n', b'\r', text),
        };
        let (run, rest) = text.split_at(end.unwrap_or(text.len()));
        if let Some(last) = run.last() {
            self.begins_at.get_or_insert(self.line);
            self.fields(run);
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

    /// Takes what stands before the next quote, and that one. Returns the rest.
    fn quoted<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let Some(quote) = self.quote else { return self.plain(text) };
        let end = memchr(quote, text);
        let (run, rest) = text.split_at(end.unwrap_or(text.len()));
        self.keep(run);
        self.line += memchr_iter(b'\n', run).count() as u64;
        if rest.is_empty() {
            return rest;
        }
        self.at = At::Quote;
        &rest[1..]
    }

    /// Counts the fields that end in a run without quotes and ends of lines.
    fn fields(&mut self, run: &[u8]) {
        self.delimiters += memchr_iter(self.delimiter, run).count() as u64;
        if self.profile.columns.is_none() && !self.header.is_too_long {
            let mut parts = run.split(|byte| *byte == self.delimiter);
            self.header.add(parts.next().unwrap_or_default());
            for part in parts {
                self.header.end_field();
                self.header.add(part);
            }
        }
    }

    /// Keeps a part of a quoted field, if it is one of the header.
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

    /// The first fault counts.
    fn fail(&mut self, line: u64, reason: impl Into<String>) {
        if !self.has_fault() {
            self.profile.rows = None;
            self.profile.fault = Some(CsvFault { line, reason: reason.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMAS: Validation = Validation { delimiter: b',', quote: Some(b'"'), refuse: false };

    fn profile(content: &[u8], piece: usize) -> Profile {
        let mut profiler = Profiler::of(b"a.csv", &COMMAS).unwrap();
        content.chunks(piece.max(1)).for_each(|piece| profiler.feed(piece));
        profiler.finish()
    }

    fn good(content: &str) -> (u64, u64, Vec<String>) {
        let found = profile(content.as_bytes(), content.len());
        assert_eq!(found.fault, None, "{content:?}");
        (found.rows.unwrap(), found.columns.unwrap_or(0), found.header.unwrap_or_default())
    }

    fn fault(content: &[u8]) -> (u64, String) {
        let found = profile(content, content.len());
        let fault = found.fault.unwrap_or_else(|| panic!("nothing is wrong with {content:?}"));
        assert_eq!(found.rows, None);
        (fault.line, fault.reason)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn files_as_people_send_them() {
        let both = names(&["id", "name"]);
        assert_eq!(good("id,name\n1,Ada\n2,Bob\n"), (2, 2, both.clone()));
        assert_eq!(good("id,name\n1,Ada\n2,Bob"), (2, 2, both.clone()));
        assert_eq!(good("id,name\r\n1,Ada\r\n2,Bob\r\n"), (2, 2, both.clone()));
        assert_eq!(good("\u{feff}id,name\n1,Ada\n"), (1, 2, both.clone()));
        assert_eq!(good("\n\nid,name\n\n1,Ada\n\n"), (1, 2, both.clone()));
        assert_eq!(good("id,\"name\"\n1,\"A, \"\"da\"\"\nb\"\n"), (1, 2, both.clone()));
        assert_eq!(good("id,name\n,\n"), (1, 2, both));
        assert_eq!(good("größe\n1\n"), (1, 1, names(&["größe"])));
        assert_eq!(good("id\n"), (0, 1, names(&["id"])));
        assert_eq!(good(""), (0, 0, names(&[])));
    }

    #[test]
    fn faults_are_told_with_their_line() {
        assert_eq!(fault(b"a,b\n1,2\n1,2,3\n1\n"), (3, "it has 3 columns, the first record 2".to_owned()));
        assert_eq!(fault(b"a,b\r\n1,2\r\n1\r\n"), (3, "it has 1 columns, the first record 2".to_owned()));
        assert_eq!(fault(b"a,b\n\"1\n\n\",2\n1\n").0, 5);
        assert_eq!(fault(b"a,b\n\n\n1\n").0, 4);
        let open = "a quote that is opened in this record is never closed";
        assert_eq!(fault(b"a,b\n1,\"2\n3,4\n"), (2, open.to_owned()));
        assert_eq!(fault(b"\"a"), (1, open.to_owned()));
        assert_eq!(fault(b"a,b\n1,\xff\n"), (2, "it is not UTF-8".to_owned()));
        assert_eq!(fault(b"a,b\n1,\xc3"), (2, "it ends in the middle of a UTF-8 character".to_owned()));
        // The first of two counts.
        assert_eq!(fault(b"a,b\n1\n1,\xff\n").0, 2);
    }

    /// Why: a transfer with preallocation that broke off leaves zeros up to the full size, and UTF-16 has a zero in every other
    /// byte. Both counted as rows.
    #[test]
    fn nul_bytes_are_no_text() {
        assert_eq!(fault(b"id,name\n1,Ada\n2,B\0\0\0\0"), (3, NUL.to_owned()));
        assert_eq!(fault(&[0; 1000]), (1, NUL.to_owned()));
        assert_eq!(fault(b"a,b\n1,\"x\n\0\"\n"), (3, NUL.to_owned()));
        for text in ["id,name\n1,Ada\n", "\u{feff}id,name\n1,Ada\n", "größe\n"] {
            let units: Vec<u16> = text.encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            assert_eq!((fault(&little).0, fault(&big).0), (1, 1), "{text:?}");
        }
        // What comes first counts.
        assert_eq!(fault(b"a,b\n1\n\0"), (2, "it has 1 columns, the first record 2".to_owned()));
        assert_eq!(fault(b"a,b\n\xff\0"), (2, NOT_UTF_8.to_owned()));
        assert_eq!(fault(b"a,b\n\0\xff"), (2, NUL.to_owned()));
    }

    /// Why: RFC 4180 knows LF and CRLF; a reader that takes CR for an end sees other rows than one that does not.
    #[test]
    fn a_carriage_return_alone_ends_no_line() {
        assert_eq!(fault(b"a,b\r1,2\r"), (1, LONE_CR.to_owned()));
        assert_eq!(fault(b"a,b\n1,2\r3,4\n"), (2, LONE_CR.to_owned()));
        assert_eq!(fault(b"a,b\r\n1,2\r\r\n"), (2, LONE_CR.to_owned()));
        assert_eq!(fault(b"a,b\r\n1,2\r"), (2, LONE_CR.to_owned()));
        assert_eq!(fault(b"\r"), (1, LONE_CR.to_owned()));
        assert_eq!(good("a,b\n1,\"x\ry\r\nz\"\n").0, 1);
    }

    /// Why: RFC 4180 forbids both, and readers disagree on what they mean.
    #[test]
    fn quotes_stand_around_a_whole_field_or_nowhere() {
        assert_eq!(fault(b"id,name\n1,\"x\"y\n2,Bob\n"), (2, BEHIND_A_QUOTE.to_owned()));
        assert_eq!(fault(b"id,name\n1,\"x\ny\" \n"), (3, BEHIND_A_QUOTE.to_owned()));
        assert_eq!(fault("a\n\"x\"ä\n".as_bytes()), (2, BEHIND_A_QUOTE.to_owned()));
        assert_eq!(fault(b"id,name\n1,5\" pipe\n"), (2, BARE_QUOTE.to_owned()));
        assert_eq!(fault(b"id,name\n1, \"x\"\n"), (2, BARE_QUOTE.to_owned()));
        assert_eq!(fault(b"i\"d\n"), (1, BARE_QUOTE.to_owned()));
        assert_eq!(good("\"a\",\"b\"\n\"\",\"\"\"\"\n\"1\",\"2\"").0, 2);
    }

    /// Why: RFC 4180 has no empty records, only records of one empty field; DuckDB and Polars count them.
    #[test]
    fn where_there_is_one_column_an_empty_line_is_a_record() {
        let name = names(&["email"]);
        assert_eq!(good("email\n\n"), (1, 1, name.clone()));
        assert_eq!(good("email\na@x\n\nb@x\n"), (3, 1, name.clone()));
        assert_eq!(good("email\r\n\r\nb@x\r\n\r\n"), (3, 1, name.clone()));
        assert_eq!(good("email\n\"\"\n"), (1, 1, name.clone()));
        assert_eq!(good("\n\nemail\na@x"), (1, 1, name.clone()));
        assert_eq!(good("email\n"), (0, 1, name));
    }

    /// Why: tab-separated values, as databases write them, know no quotes: a quote is a character like others.
    #[test]
    fn without_quotes_a_quote_is_a_character() {
        let look = |quote| Validation { quote, ..COMMAS };
        let read = |content: &[u8], quote| {
            let mut profiler = Profiler::of(b"a.tsv", &look(quote)).unwrap();
            content.chunks(3).for_each(|piece| profiler.feed(piece));
            profiler.finish()
        };
        assert_eq!(read(b"id\ttitle\n1\t\"Quoted\n2\tplain\n3\tend\"\n", None).rows, Some(3));
        assert_eq!(read(b"\"a\"\tb\n", None).header, Some(names(&["\"a\"", "b"])));
        assert_eq!(read(b"a\tb\n'1\n2'\t\"\n", Some(b'\'')).rows, Some(1));
        assert!(read(b"a\tb\n1\tit's\n", Some(b'\'')).fault.is_some());
    }

    #[test]
    fn the_name_tells_how_a_file_is_to_be_read() {
        let mut tabs = Profiler::of(b"a.TSV", &COMMAS).unwrap();
        tabs.feed(b"a\tb,c\n");
        assert_eq!(tabs.finish().columns, Some(2));
        for name in [&b"a.csv.gz"[..], b"a.ZIP"] {
            assert!(Profiler::of(name, &COMMAS).is_none());
        }
    }

    /// A header of any length must not end up in the journal, and must not keep the rest from being looked at.
    #[test]
    fn a_header_that_is_too_long_is_left_out() {
        for header in [vec!["x".repeat(2_000)], vec!["name".to_owned(); 10_000]] {
            let found = profile(format!("{0}\n{0}\n", header.join(",")).as_bytes(), 1_000);
            assert_eq!((found.rows, found.columns), (Some(1), Some(header.len() as u64)));
            assert_eq!((found.header, found.fault), (None, None));
        }
    }

    /// Found by a reader: a file of commas took thirty bytes of memory for each of its own, before its header was found to be
    /// too long; and again at the next start.
    #[test]
    fn a_header_of_nothing_but_commas_takes_no_memory() {
        let mut profiler = Profiler::of(b"a.csv", &COMMAS).unwrap();
        let piece = vec![b','; 1 << 20];
        for _ in 0..8 {
            profiler.feed(&piece);
            assert!(profiler.header.bytes.capacity() + profiler.header.ends.capacity() <= HEADER_BYTES_MAX);
        }
        let found = profiler.finish();
        assert_eq!((found.columns, found.header), (Some((8 << 20) + 1), None));
    }

    proptest! {
        /// Why: a file is read in pieces, and a piece ends anywhere.
        #[test]
        fn pieces_make_no_difference(
            parts in prop::collection::vec(prop::sample::select(&[",", "\n", "\r\n", "\r", "\"", "ä", "𝄞", "ab", "\0", "\u{feff}"][..]), 0..40),
            torn in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            piece in 1_usize..9,
        ) {
            let mut content = parts.concat().into_bytes();
            if let Some((at, byte)) = torn.filter(|_| !content.is_empty()) {
                let at = at.index(content.len());
                content[at] = byte;
            }
            prop_assert_eq!(profile(&content, piece), profile(&content, content.len()));
        }
    }
}
