//! Files as people send them, and faulty ones.

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

/// Why: an interrupted transfer with preallocation leaves zeros up to the full size, and UTF-16 has a zero in every other
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
    // The first fault counts.
    assert_eq!(fault(b"a,b\n1\n\0"), (2, "it has 1 columns, the first record 2".to_owned()));
    assert_eq!(fault(b"a,b\n\xff\0"), (2, NOT_UTF_8.to_owned()));
    assert_eq!(fault(b"a,b\n\0\xff"), (2, NUL.to_owned()));
}

/// Why: RFC 4180 allows LF and CRLF; a reader that takes CR for a line end sees other rows than one that does not.
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

/// Why: tab-separated values, as databases write them, have no quoting: a quote is an ordinary character.
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

/// A header of any length must not end up in the journal, nor keep the rest from being checked.
#[test]
fn a_header_that_is_too_long_is_left_out() {
    for header in [vec!["x".repeat(2_000)], vec!["name".to_owned(); 10_000]] {
        let found = profile(format!("{0}\n{0}\n", header.join(",")).as_bytes(), 1_000);
        assert_eq!((found.rows, found.columns), (Some(1), Some(header.len() as u64)));
        assert_eq!((found.header, found.fault), (None, None));
    }
}

/// Found in a review: a file of commas took thirty bytes of memory for each of its own before its header was found to be
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
