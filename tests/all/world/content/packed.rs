//! `--validate csv` on `.gz` files: as programs write them, and as transfers, tapes and attackers leave them.

use std::process::{Command, Stdio};

use super::{events, line_of};
use crate::harness::{Place, csv, has, packed};

const VALIDATE: [&str; 2] = ["--validate", "csv"];

/// What a program writes that gets this text; None if it is not installed.
fn packed_by(words: &[&str], text: &[u8]) -> Option<Vec<u8>> {
    has(words[0]).then(|| {
        let mut program = Command::new(words[0]);
        let mut child = program.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || std::io::Write::write_all(&mut input, text).unwrap());
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{words:?}");
        output.stdout
    })
}

/// Why: each of these writes other headers, other blocks, and other numbers of members.
#[test]
fn what_programs_pack_is_read() {
    let place = Place::new();
    let text = csv(1, 3 << 20);
    let rows = text.iter().filter(|byte| **byte == b'\n').count() - 1;
    let python = "import gzip, sys; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read(), 5))";
    let programs: [(&str, &[&str]); 6] = [
        ("fast.csv.gz", &["gzip", "-1"]),
        ("best.CSV.GZ", &["gzip", "-9", "--no-name"]),
        ("rsyncable.csv.gz", &["gzip", "--rsyncable"]),
        ("pigz.csv.gz", &["pigz", "-p", "3"]),
        ("members.csv.gz", &["pigz", "-i", "-p", "2"]),
        ("python.csv.gz", &["python3", "-c", python]),
    ];
    let mut names = Vec::new();
    for (name, words) in programs {
        if let Some(packed) = packed_by(words, &text) {
            place.stage(name, packed);
            names.push(name);
        }
    }
    let (head, tail) = text.split_at(1 << 20);
    place.stage("cat.csv.gz", [packed(head), packed(tail), packed("")].concat());
    place.stage("tape.csv.gz", [packed(&text), vec![0; 10_240]].concat());
    names.extend(["cat.csv.gz", "tape.csv.gz"]);
    place.once_ok(&VALIDATE);
    for name in &names {
        let line = line_of(&place, name).unwrap();
        assert!(line["rows"] == rows && line["columns"] == 2 && line["header"][1] == "value", "{name}: {line}");
    }
    assert_eq!(place.check_consistent(), names.len());
}

/// Why: the commonest damage of all: such a file was ingested like a whole one.
#[test]
fn a_transfer_that_broke_off_is_quarantined() {
    let place = Place::new();
    let whole = packed(csv(2, 2 << 20));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    let (mut sum, mut length) = (whole.clone(), whole.clone());
    sum[whole.len() - 8] ^= 1;
    length[whole.len() - 4] ^= 1;
    let cases: [(&str, &[u8], &str); 9] = [
        ("half.csv.gz", &whole[..whole.len() / 2], "cut off"),
        ("header.csv.gz", &whole[..7], "cut off"),
        ("trailer.csv.gz", &whole[..whole.len() - 1], "cut off"),
        ("flipped.csv.gz", &flipped, "damaged"),
        ("sum.csv.gz", &sum, "checksum of the text differs"),
        ("length.csv.gz", &length, "length of the text differs"),
        ("none.csv.gz", b"", "empty"),
        ("plain.csv.gz", b"id,name\n1,Ada\n", "no gzip"),
        ("behind.csv.gz", &[&whole[..], b"rest"].concat(), "no gzip follow"),
    ];
    for (name, content, _) in &cases {
        place.stage(name, content);
    }
    place.stage("whole.csv.gz", &whole);
    let quarantine = place.root.path().join("quarantine");
    let output = place.once(&[&VALIDATE[..], &["--quarantine", quarantine.to_str().unwrap()]].concat());
    let moved = events(&output, "file_quarantined");
    for (name, _, reason) in &cases {
        let ends = |path: &str| path.ends_with(&format!("/{name}"));
        let event = moved.iter().find(|event| event["path"].as_str().is_some_and(ends)).unwrap();
        assert!(event["reason"] == "malformed" && event["error"].as_str().unwrap().contains(reason), "{event}");
    }
    assert_eq!((moved.len(), place.manifest_lines().len()), (cases.len(), 1));
}

/// Why: it must cost neither memory nor time without end.
#[test]
fn a_bomb_is_marked() {
    let place = Place::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let row = b"0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0\n".repeat(1 << 15);
    (0..300).for_each(|_| std::io::Write::write_all(&mut encoder, &row).unwrap());
    place.stage("bomb.csv.gz", encoder.finish().unwrap());
    place.once_ok(&VALIDATE);
    let line = line_of(&place, "bomb.csv.gz").unwrap();
    assert!(line["malformed_reason"].as_str().unwrap().contains("unpacks to more than 268435456 bytes"), "{line}");
    assert!(line["malformed_line"].as_u64().unwrap() > 1 << 20, "{line}");
}

/// Why: such lines are no records, and a file that has them is not malformed. The journal records the options, so that a
/// replay reads like the ingestor.
#[test]
fn comments_and_titles_are_no_records() {
    let place = Place::new();
    let text = "sep=;\nid;name;id\n# a comment; of \"one\n1;Ada;2\n";
    place.stage("a.csv", text);
    place.stage("a.csv.gz", packed(text));
    let options = ["--validate", "csv", "--csv-delimiter", ";", "--csv-comment", "#", "--csv-skip-rows", "1"];
    place.once_ok(&options);
    for name in ["a.csv", "a.csv.gz"] {
        let line = line_of(&place, name).unwrap();
        assert!(line["rows"] == 1 && line["columns"] == 3, "{line}");
        let fault = &line["header_faults"][0];
        assert!(fault["column"] == 3 && fault["fault"] == "repeated" && fault["first_column"] == 1, "{line}");
    }
    assert!(place.subcommand(&["journal", "verify"]).status.success());
    for bad in [
        &["--csv-comment", ""][..],
        &["--csv-comment", "ab"],
        &["--csv-comment", "x"],
        &["--csv-comment", "ä"],
        &["--csv-comment", ","],
        &["--csv-comment", "\""],
        &["--csv-comment", "'", "--csv-quote", "'"],
        &["--csv-comment", "|", "--csv-delimiter", "|"],
        &["--csv-skip-rows", "-1"],
        &["--csv-skip-rows", "1001"],
        &["--csv-skip-rows", "all"],
    ] {
        let refused = place.once(&[&VALIDATE[..], bad].concat());
        assert_eq!(refused.status.code(), Some(2), "{bad:?}");
    }
    let refused = place.once(&["--csv-comment", "#"]);
    assert_eq!(refused.status.code(), Some(2), "it needs --validate");
}
