//! `--validate csv` on files that violate RFC 4180, and on files with one column or without quotes.

use super::line_of;
use crate::harness::{Place, out};

/// Why: each of these counted as a valid file, with rows that no reader finds.
#[test]
fn what_rfc_4180_forbids_is_malformed() {
    let place = Place::new();
    let mut half = b"id,name\n1,Ada\n2,B".to_vec();
    half.resize(100_000, 0);
    let cases: [(&str, &[u8], u64, &str); 7] = [
        ("half.csv", &half, 3, "NUL"),
        ("utf16.csv", b"i\0d\0\n\x001\0\n\0", 1, "NUL"),
        ("utf16mark.csv", b"\xff\xfei\0d\0\n\0", 1, "not UTF-8"),
        ("mac.csv", b"a,b\r1,2\r", 1, "CR alone"),
        ("mixed.csv", b"a,b\n1,2\n3,4\r5,6\n", 3, "CR alone"),
        ("behind.csv", b"a,b\n1,\"x\"y\n", 2, "closing quote"),
        ("inside.csv", b"a,b\n1,2\n1,5\" pipe\n", 3, "unquoted"),
    ];
    for (name, content, ..) in &cases {
        place.stage(name, content);
    }
    place.once_ok(&["--validate", "csv"]);
    for (name, _, at, reason) in cases {
        let line = line_of(&place, name).unwrap();
        assert_eq!(line["malformed_line"], at, "{line}");
        assert!(line["malformed_reason"].as_str().unwrap().contains(reason) && line["rows"].is_null(), "{line}");
    }
}

/// Why: in a file with one column an empty line is an empty field, and thus a record.
#[test]
fn empty_lines_count_where_there_is_one_column() {
    let place = Place::new();
    place.stage("one.csv", "email\na@x\n\nb@x\n\n");
    place.stage("two.csv", "a,b\n1,2\n\n3,4\n\n");
    place.once_ok(&["--validate", "csv"]);
    assert_eq!(line_of(&place, "one.csv").unwrap()["rows"], 4);
    assert_eq!(line_of(&place, "two.csv").unwrap()["rows"], 2);
}

/// Why: databases write tab-separated files without quotes. The journal records that, so that a replay reads like the
/// ingestor.
#[test]
fn quotes_are_what_the_option_says() {
    let place = Place::new();
    place.stage("a.tsv", "id\ttitle\n1\t\"Quoted\n2\tplain\n3\tend\"\n");
    place.once_ok(&["--validate", "csv", "--csv-quote", "none"]);
    assert_eq!(line_of(&place, "a.tsv").unwrap()["rows"], 3);
    place.stage("b.csv", "a,b\n1,'x\ny'\n2,\"\n");
    place.once_ok(&["--validate", "csv", "--csv-quote", "'"]);
    assert_eq!(line_of(&place, "b.csv").unwrap()["rows"], 2);
    for bad in ["", "ab", "ä", "x", ",", " "] {
        let refused = place.once(&["--validate", "csv", "--csv-quote", bad]);
        assert_eq!(refused.status.code(), Some(2), "{bad:?}");
    }
    assert!(place.subcommand(&["journal", "verify"]).status.success());
    let frames = out(&place.subcommand(&["journal", "inspect", "--frames"]));
    assert!(frames.contains("kind=data"), "{frames}");
}
