//! What a CSV file is made of: rows, columns, header, and the first thing that is wrong with it.
//!
//! Invariants:
//! - It is fed with the pieces of a file in order, as they are hashed: nothing is read for it, and no more is kept than one
//!   buffer and the header.
//! - Where the pieces begin and end makes no difference.
//!
//! RFC 4180 is the measure, and no more of it is demanded than readers need: the text is UTF-8, each record has as many
//! fields as the first, and a quoted field ends. Lines end in LF or CRLF; a byte order mark and empty lines are passed over.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::journal::format::HEADER_BYTES_MAX;
use crate::journal::record::{CsvFault, Profile};

/// Bytes of fields that are unpacked at once.
const FIELD_BYTES: usize = 16 << 10;
/// Fields that are told at once.
const FIELDS: usize = 256;
/// At the very beginning of a file it says that it is UTF-8, and belongs to no field.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// The longest character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// Names of files whose bytes are something else than the text.
const COMPRESSED: [&[u8]; 8] = [b".gz", b".bz2", b".xz", b".zst", b".lz4", b".br", b".zip", b".parquet"];
/// Names of files whose fields are separated by tabs, whatever others use.
const TABBED: [&[u8]; 2] = [b".tsv", b".tab"];

/// Looks at one file.
pub struct Profiler {
    reader: Reader,
    fields: Box<[u8]>,
    ends: Box<[usize]>,
    /// So many bytes of a byte order mark have come, and nothing else; None once something has.
    mark: Option<usize>,
    /// The front of a character that the last piece has cut.
    character: Vec<u8>,
    header: Header,
    /// Of the record under way.
    columns: u64,
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
    fn add(&mut self, bytes: &[u8], ends: &[usize]) {
        // As the journal counts: two bytes for each name besides its own.
        let needed = self.bytes.len() + bytes.len() + 2 * (self.ends.len() + ends.len());
        self.is_too_long |= needed > HEADER_BYTES_MAX;
        if self.is_too_long {
            (self.bytes, self.ends) = (Vec::new(), Vec::new());
        } else {
            self.bytes.extend_from_slice(bytes);
            self.ends.extend_from_slice(ends);
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
    /// One for a file of that name, whose fields are separated as most are; None if it is no text.
    pub fn of(name: &[u8], delimiter: u8) -> Option<Profiler> {
        let name = name.to_ascii_lowercase();
        let is_one_of = |endings: &[&[u8]]| endings.iter().any(|ending| name.ends_with(ending));
        let delimiter = if is_one_of(&TABBED) { b'\t' } else { delimiter };
        (!is_one_of(&COMPRESSED)).then(|| Profiler::new(delimiter))
    }

    fn new(delimiter: u8) -> Profiler {
        let mut fields = vec![0; FIELD_BYTES].into_boxed_slice();
        let mut ends = vec![0; FIELDS].into_boxed_slice();
        let mut reader = ReaderBuilder::new().delimiter(delimiter).build();
        // It passes over a byte order mark itself, but only one that comes in one piece; so the mark is ours.
        reader.read_record(b"\n", &mut fields, &mut ends);
        reader.set_line(1);
        Profiler {
            reader,
            fields,
            ends,
            mark: Some(0),
            character: Vec::with_capacity(CHARACTER_BYTES_MAX),
            header: Header::default(),
            columns: 0,
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
        let text = self.text_length(piece);
        let mut good = &piece[..text.unwrap_or_else(|wrong_at| wrong_at)];
        if let Some(seen) = self.mark {
            let more = good.iter().zip(&BYTE_ORDER_MARK[seen..]).take_while(|(byte, mark)| byte == mark).count();
            good = &good[more..];
            let is_mark = seen + more == BYTE_ORDER_MARK.len();
            self.mark = (!is_mark && good.is_empty()).then_some(seen + more);
            if !is_mark && self.mark.is_none() {
                self.records(&BYTE_ORDER_MARK[..seen + more]);
            }
        }
        self.records(good);
        if text.is_err() && !self.has_fault() {
            self.fail(self.reader.line(), "it is not UTF-8".to_owned());
        }
    }

    /// What the whole file showed.
    pub fn finish(mut self) -> Profile {
        if !self.has_fault() && !self.character.is_empty() {
            self.fail(self.reader.line(), "it ends in the middle of a UTF-8 character".to_owned());
        }
        if let Some(begins_at) = self.begins_at.filter(|_| !self.has_fault()) {
            // The last line may lack its end. If this is not one either, a quote is open.
            self.records(b"\n");
            if self.begins_at.is_some() {
                self.fail(begins_at, "a quote that is opened in this record is never closed".to_owned());
            }
        }
        self.profile
    }

    /// The length of a piece, all of which is UTF-8; or where it is not. A character that is cut is taken to the next.
    fn text_length(&mut self, piece: &[u8]) -> Result<usize, usize> {
        let mut begin = 0;
        while !self.character.is_empty() {
            let Some(byte) = piece.get(begin) else { return Ok(piece.len()) };
            self.character.push(*byte);
            begin += 1;
            match std::str::from_utf8(&self.character) {
                Ok(_) => self.character.clear(),
                Err(error) if error.error_len().is_some() => return Err(0),
                Err(_) => {}
            }
        }
        match std::str::from_utf8(&piece[begin..]) {
            Ok(_) => Ok(piece.len()),
            Err(error) if error.error_len().is_some() => Err(begin + error.valid_up_to()),
            Err(error) => {
                self.character.extend_from_slice(&piece[begin + error.valid_up_to()..]);
                Ok(piece.len())
            }
        }
    }

    fn records(&mut self, mut text: &[u8]) {
        while !text.is_empty() && !self.has_fault() {
            if self.begins_at.is_none() {
                // Ends of lines before a record are none of its own; of CRLF the reader leaves the second half.
                match text[0] {
                    b'\n' => self.reader.set_line(self.reader.line() + 1),
                    b'\r' => {}
                    _ => self.begins_at = Some(self.reader.line()),
                }
                if self.begins_at.is_none() {
                    text = &text[1..];
                    continue;
                }
            }
            let (result, taken, bytes, ends) = self.reader.read_record(text, &mut self.fields, &mut self.ends);
            text = &text[taken..];
            self.columns += ends as u64;
            if self.profile.columns.is_none() {
                self.header.add(&self.fields[..bytes], &self.ends[..ends]);
            }
            if result == ReadRecordResult::Record {
                self.end_record();
            }
        }
    }

    fn end_record(&mut self) {
        let line = self.begins_at.take().unwrap_or(1);
        let columns = std::mem::take(&mut self.columns);
        match self.profile.columns {
            None => {
                self.profile.columns = Some(columns);
                self.profile.header = std::mem::take(&mut self.header).names();
            }
            Some(expected) if expected == columns => {
                self.profile.rows = self.profile.rows.map(|rows| rows + 1);
            }
            Some(expected) => self.fail(line, format!("it has {columns} columns, the first record {expected}")),
        }
    }

    fn fail(&mut self, line: u64, reason: String) {
        self.profile.rows = None;
        self.profile.fault = Some(CsvFault { line, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(content: &[u8], piece: usize) -> Profile {
        let mut profiler = Profiler::of(b"a.csv", b',').unwrap();
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

    #[test]
    fn the_name_tells_how_a_file_is_to_be_read() {
        let mut tabs = Profiler::of(b"a.TSV", b',').unwrap();
        tabs.feed(b"a\tb,c\n");
        assert_eq!(tabs.finish().columns, Some(2));
        for name in [&b"a.csv.gz"[..], b"a.ZIP"] {
            assert!(Profiler::of(name, b',').is_none());
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
        let mut profiler = Profiler::of(b"a.csv", b',').unwrap();
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
            parts in prop::collection::vec(prop::sample::select(&[",", "\n", "\r\n", "\"", "ä", "𝄞", "ab", "\u{feff}"][..]), 0..40),
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
