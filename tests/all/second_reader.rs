//! `tests/read_journal`, a reader written in Python from `journal-format.md` alone, reads the journals that the program
//! writes: so the document is sufficient and correct.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::harness::{Place, csv, err, has, json_lines, out, wait_until};

mod manifests;
mod snapshots;

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_journal");

const BLOCK_BYTES: usize = 4096;

pub fn second_reader(state: &Path) -> Output {
    Command::new("python3").arg(READER).arg(state).output().unwrap()
}

/// Checks that both readers print the same lines; returns them.
#[track_caller]
fn assert_same(place: &Place, when: &str) -> Vec<Value> {
    let second = second_reader(&place.state);
    assert!(second.status.success(), "{when}: {}", err(&second));
    let (second, inspected) = (json_lines(&out(&second)), place.inspect());
    for (second, inspected) in second.iter().zip(&inspected) {
        assert_eq!(second, inspected, "{when}");
    }
    assert_eq!(second.len(), inspected.len(), "{when}");
    inspected
}

/// Runs once with these options; then both readers must agree.
#[track_caller]
fn once_and_compare(place: &Place, options: &[&str]) -> Vec<Value> {
    place.once_ok(options);
    assert_same(place, &format!("after a run with {options:?}"))
}

fn files_of_kind(state: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension() == Some(OsStr::new(extension))).collect();
    files.sort();
    files
}

fn segments(state: &Path) -> Vec<PathBuf> {
    files_of_kind(state, "log")
}

/// Kills a daemon while it hashes a large file, so the journal ends in the middle of an ingest. Returns the file's path.
fn kill_while_hashing(place: &Place) -> PathBuf {
    for seed in 1000..1020 {
        let path = place.stage_large(&format!("large-{seed}.csv"), seed, 1 << 29);
        let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
        let known = |file: &Value| file["source_path"] == path.to_str().unwrap();
        wait_until("the file is in the journal", || place.inspect().iter().any(known));
        assert_same(place, "beside a running daemon, or after it was done");
        daemon.kill();
        // It may be ingested already; then the test tries again.
        if assert_same(place, "after a kill").into_iter().find(known).unwrap()["state"] == "DISCOVERED" {
            return path;
        }
    }
    panic!("never caught it while it was hashing");
}

/// Writes bytes after the last frame, as a write that a crash interrupted leaves them.
fn tear_the_tail(state: &Path) {
    let path = segments(state).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(BLOCK_BYTES);
    bytes[end + 10..end + 5000].fill(b'x');
    std::fs::write(path, bytes).unwrap();
}

/// Causes every kind of record, with a start of the ingestor for each.
fn eventful(place: &Place) {
    // Files with all kinds of names, and kept duplicates.
    place.stage("plain.csv", csv(1, 100));
    place.stage(OsStr::from_bytes(b"not utf-8 \xff\xc3(\xe2\x82.csv"), csv(2, 5000));
    place.stage("two\nlines \u{1b} \"quoted\" \\ \u{7f} ünïcödé.csv", csv(3, 300));
    place.stage("empty.csv", "");
    place.stage("kept.csv", csv(1, 100));
    place.stage(OsStr::from_bytes(b"kept \xfe.csv"), csv(2, 5000));
    once_and_compare(place, &["--duplicates", "keep"]);

    // A daemon that is killed in the middle, and a torn tail; then its file vanishes.
    let large = kill_while_hashing(place);
    tear_the_tail(&place.state);
    assert_same(place, "with a torn tail");
    std::fs::remove_file(large).unwrap();

    // Names that are taken, and duplicates that are moved or removed.
    place.stage("plain.csv", csv(4, 100));
    place.stage("removed.csv", csv(3, 300));
    once_and_compare(place, &["--duplicates", "remove"]);
    let duplicates = place.root.path().join("duplicates");
    place.stage(OsStr::from_bytes(b"moved \xf0\x9f.csv"), csv(3, 300));
    once_and_compare(place, &["--duplicates", "move", "--duplicates-dir", duplicates.to_str().unwrap()]);

    // A file with its sidecar, and a start that finds nothing to do.
    place.stage("checked.csv", csv(5, 100));
    place.stage("checked.csv.ok", "");
    once_and_compare(place, &["--mode", "sidecar"]);
    once_and_compare(place, &[]);

    // A group commit of many records.
    for seed in 100..300 {
        place.stage(format!("{seed}.csv"), csv(seed, 200));
    }
    let files = once_and_compare(place, &[]);

    let states: BTreeSet<_> = files.iter().map(|file| file["state"].as_str().unwrap()).collect();
    assert_eq!(states.into_iter().collect::<Vec<_>>(), ["ABANDONED", "MANIFESTED", "SKIPPED_DUPLICATE"]);
    let encoded = |key: &str| files.iter().filter(|file| file.get(key).is_some()).count();
    assert!(encoded("source_path_base64") >= 3, "names that are not UTF-8");
    assert!(encoded("warehouse_path_base64") >= 1, "one of them was ingested");
    assert!(segments(&place.state).len() >= 7, "one for each start");
}

/// Checks that both readers refuse, and name the file.
#[track_caller]
fn assert_corrupt(place: &Place, path: &Path, offset: usize) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let (second, inspect) = (second_reader(&place.state), place.subcommand(&["journal", "inspect", "--json"]));
    for output in [&second, &inspect] {
        assert_eq!(output.status.code(), Some(3), "{name}, a byte in what begins at {offset}: {}", err(output));
        assert!(err(output).contains(name), "{name}: {}", err(output));
        assert!(err(output).contains(&format!("offset {offset}, LSN ")), "{offset}: {}", err(output));
    }
    assert!(second.stdout.is_empty(), "damage is refused as a whole");
}

/// Flips bytes of the first frame in each segment that begins with records: other frames or segments follow it.
fn flipped_bytes_are_seen(place: &Place) {
    const DATA: u8 = 1;
    let mut flipped = 0;
    for path in segments(&place.state) {
        let whole = std::fs::read(&path).unwrap();
        if whole[BLOCK_BYTES + 5] != DATA {
            continue;
        }
        flipped += 1;
        // In a magic, a reserved field, a payload, and a checksum.
        for at in [0, 45, 70, 60] {
            let mut bytes = whole.clone();
            bytes[BLOCK_BYTES + at] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            assert_corrupt(place, &path, BLOCK_BYTES);
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert!(flipped >= 4, "{flipped} segments with records");
    assert_same(place, "mended again");
}

#[test]
fn a_second_reader_reads_the_same() {
    if has("python3") {
        let place = Place::new();
        eventful(&place);
        flipped_bytes_are_seen(&place);
    }
}

/// With copies, whose HASHED records have more fields.
#[test]
fn a_second_reader_reads_the_same_across_file_systems() {
    if has("python3")
        && let Some((place, _other)) = Place::across_file_systems()
    {
        eventful(&place);
    }
}

/// The second reader accepts the example at the end of the document.
#[test]
fn the_documents_example_is_read() {
    if !has("python3") {
        return;
    }
    let mut bytes = vec![0; 256 << 10];
    let document = include_str!("../../journal-format.md");
    for listing in document.split("```hex\n").skip(1) {
        for line in listing.lines().take_while(|line| *line != "```") {
            let (offset, rest) = line.split_once("  ").unwrap();
            let offset = usize::from_str_radix(offset, 16).unwrap();
            let hex = rest.split_once('|').unwrap().0;
            for (at, byte) in (offset..).zip(hex.split_whitespace()) {
                bytes[at] = u8::from_str_radix(byte, 16).unwrap();
            }
        }
    }
    let place = Place::new();
    std::fs::create_dir(&place.state).unwrap();
    std::fs::write(place.state.join("wal-00000000000000000001.log"), bytes).unwrap();
    let files = assert_same(&place, "the example");
    assert_eq!((files.len(), &files[0]["state"]), (1, &"MOVED".into()));
}
