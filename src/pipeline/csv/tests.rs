//! Files as people send them, and faulty ones.

mod blocks;
mod packed;

use super::text::{BARE_QUOTE, BEHIND_A_QUOTE, LONE_CR, NOT_UTF_8, NUL};
use super::*;
use crate::journal::format::{HEADER_BYTES_MAX, HEADER_FAULTS_MAX};
use crate::journal::record::HeaderFault;
use proptest::prelude::*;

const COMMAS: Validation =
    Validation { delimiter: b',', quote: Some(b'"'), refuse: false, comment: None, skip_rows: 0 };

fn profile(content: &[u8], piece: usize) -> Profile {
    profile_as(b"a.csv", &COMMAS, content, piece)
}

fn profile_as(name: &[u8], look: &Validation, content: &[u8], piece: usize) -> Profile {
    let mut profiler = Profiler::of(name, look, content.len() as u64).unwrap();
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
        let mut profiler = Profiler::of(b"a.tsv", &look(quote), 0).unwrap();
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
    assert_eq!(profile_as(b"a.TSV", &COMMAS, b"a\tb,c\n", 9).columns, Some(2));
    for name in [&b"a.csv.zst"[..], b"a.ZIP", b"a.parquet.gz", b"a.tar.gz", b"a.tar", b"a.csv.gz.gz"] {
        assert!(Profiler::of(name, &COMMAS, 0).is_none());
    }
    for name in [&b"a.csv"[..], b"a.csv.gz", b"A.CSV.GZ", b"a.gz", b"a.txt.gz"] {
        assert!(Profiler::of(name, &COMMAS, 0).is_some());
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
    let mut profiler = Profiler::of(b"a.csv", &COMMAS, 0).unwrap();
    let piece = vec![b','; 1 << 20];
    for _ in 0..8 {
        profiler.feed(&piece);
        assert!(profiler.text.header_capacity() <= HEADER_BYTES_MAX);
    }
    let found = profiler.finish();
    assert_eq!((found.columns, found.header), (Some((8 << 20) + 1), None));
    assert_eq!(found.header_faults, []);
}

fn aside(comment: Option<u8>, skip_rows: u16) -> Validation {
    Validation { comment, skip_rows, ..COMMAS }
}

fn rows_of(content: &str, look: &Validation) -> Option<u64> {
    profile_as(b"a.csv", look, content.as_bytes(), 3).rows
}

/// Why: programs write titles and comments before and between the records, and Excel a line `sep=;`.
#[test]
fn comments_are_no_records() {
    let look = aside(Some(b'#'), 0);
    let names = names(&["id", "name"]);
    for content in [
        "# title\nid,name\n1,Ada\n",
        "\u{feff}#\n#,,\"\n\nid,name\r\n# \"open\r\n1,Ada\r\n#last",
        "id,name\n1,\"A\n#da\"\n",
        "id,name\n1,#Ada\n#",
    ] {
        let found = profile_as(b"a.csv", &look, content.as_bytes(), 1);
        assert_eq!((found.fault, found.rows, found.header), (None, Some(1), Some(names.clone())), "{content:?}");
    }
    // It begins a line, not a field, and not a line after a blank.
    assert_eq!(rows_of("id\n #1\n#2\n3\n", &look), Some(2));
    assert_eq!(rows_of("email\na@x\n#\n\nb@x\n", &look), Some(3), "an empty line is a record, a comment is not");
    assert_eq!(rows_of("#a,b\n", &look), Some(0));
    assert_eq!(rows_of("#a,b\n1,2\n", &COMMAS), Some(1), "without the option it is text");
    let fault = profile_as(b"a.csv", &look, b"#\n#\r\na,b\n# x\n1\n", 4).fault.unwrap();
    assert_eq!(fault.line, 5);
}

#[test]
fn skipped_lines_are_lines_not_records() {
    assert_eq!(rows_of("sep=;\nid,name\n1,2\n", &aside(None, 1)), Some(1));
    assert_eq!(rows_of("a \"title,\r\n\n\"of three\nid,name\n1,2\n", &aside(None, 3)), Some(1));
    assert_eq!(rows_of("\n\nid\n1\n", &aside(None, 2)), Some(1));
    assert_eq!(rows_of("# a\n# b\nid\n1\n", &aside(Some(b'#'), 1)), Some(1));
    for short in ["", "a", "a\nb", "a\nb\nc"] {
        let found = profile_as(b"a.csv", &aside(None, 3), short.as_bytes(), 9);
        assert_eq!((found.rows, found.columns, found.fault), (Some(0), None, None), "{short:?}");
    }
    let fault = |content: &[u8]| profile_as(b"a.csv", &aside(None, 1), content, 2).fault.unwrap();
    assert_eq!(fault(b"sep=;\na,b\n1\n").line, 3);
}

/// Why: a file that is no text is none because of its title either; a file of an old Mac is one line, and would be passed
/// over as a whole.
#[test]
fn lines_that_are_skipped_are_text_all_the_same() {
    let reason = |content: &[u8], piece| {
        let fault = profile_as(b"a.csv", &aside(Some(b'#'), 1), content, piece).fault.unwrap();
        (fault.line, fault.reason)
    };
    for piece in [1, 2, 100] {
        assert_eq!(reason(b"t\xffitle\na\n", piece), (1, NOT_UTF_8.to_owned()));
        assert_eq!(reason(b"t\0itle\na\n", piece), (1, NUL.to_owned()));
        assert_eq!(reason(b"a,b\r1,2\r", piece), (1, LONE_CR.to_owned()));
        assert_eq!(reason(b"title\na,b\n#x\ry\n", piece), (3, LONE_CR.to_owned()));
        assert_eq!(reason(b"title\r", piece), (1, LONE_CR.to_owned()));
    }
}

/// Why: such a file is valid, but readers rename these columns, each in its own way, or refuse the file.
#[test]
fn names_that_are_blank_or_repeated_are_told() {
    let faults = |content: &str| {
        let found = profile(content.as_bytes(), 2).header_faults;
        found.iter().map(|fault| (fault.column, fault.first)).collect::<Vec<_>>()
    };
    assert_eq!(faults("id,name\n1,2\n"), []);
    assert_eq!(faults("id,,\" \",\u{a0}\n"), [(2, None), (3, None), (4, None)]);
    assert_eq!(faults("a,b,a,A,\"b\",a, a\n"), [(3, Some(1)), (5, Some(2)), (6, Some(1))]);
    assert_eq!(faults("\"\"\n1\n"), [(1, None)]);
    assert_eq!(faults("a,a\n1\n"), [(2, Some(1))], "the file is malformed, and its header is told all the same");
    assert_eq!(faults("a,a\"\n"), [], "the header is not whole");
    // A name that is too long for a record does not hide the others.
    assert_eq!(faults(&format!("a,{},a\n", "x".repeat(2_000))), [(3, Some(1))]);
    // The header is not kept.
    assert_eq!(faults(&format!("a,a,{}\n", "x".repeat(20_000))), []);
    let many = profile(",".repeat(500).as_bytes(), 7).header_faults;
    assert_eq!((many.len(), many[31]), (HEADER_FAULTS_MAX, HeaderFault { column: 32, first: None }));
    assert!(Profile::are_faults(&many));
}

proptest! {
    /// Why: a file is read in pieces, and a piece ends anywhere.
    #[test]
    fn pieces_make_no_difference(
        parts in prop::collection::vec(
            prop::sample::select(&[",", "\n", "\r\n", "\r", "\"", "#", "ä", "𝄞", "ab", "\0", "\u{feff}"][..]),
            0..40,
        ),
        look in (prop::option::of(Just(b'#')), 0..3_u16),
        torn in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        piece in 1_usize..9,
    ) {
        let mut content = parts.concat().into_bytes();
        if let Some((at, byte)) = torn.filter(|_| !content.is_empty()) {
            let at = at.index(content.len());
            content[at] = byte;
        }
        let read = |piece| profile_as(b"a.csv", &aside(look.0, look.1), &content, piece);
        prop_assert_eq!(read(piece), read(content.len()));
    }
}
