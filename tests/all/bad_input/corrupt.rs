//! A damaged journal: it is refused with the position of the damage, and nothing is modified.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::Value;

use super::assert_refused;
use crate::harness::{Place, csv, err, json_lines, out, snapshot, wait_until};

/// A place whose journal holds three files, one after the other, in one segment.
fn three_files() -> Place {
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    for seed in 1..4 {
        place.stage(format!("{seed}.csv"), csv(seed, 100));
        wait_until("it is in the journal", || {
            let files = place.inspect();
            files.len() == seed as usize && files.iter().all(|file| file["state"] == "MANIFESTED")
        });
    }
    assert!(daemon.stop().success());
    place.stage("later.csv", csv(9, 100));
    place
}

fn only_segment(place: &Place) -> PathBuf {
    let entries = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
    let segments: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments[0].clone()
}

/// The data frames, in order.
fn data_frames(place: &Place) -> Vec<Value> {
    let output = place.subcommand(&["journal", "inspect", "--frames", "--json"]);
    json_lines(&out(&output)).into_iter().filter(|line| line["kind"] == "data").collect()
}

fn flip(path: &PathBuf, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

/// Why: an ingestor that reads past damage forgets files (and ingests them again) or invents them. It must stop, report
/// the position, and leave everything as evidence.
#[test]
fn run_and_replay_refuse_and_touch_nothing() {
    let place = three_files();
    let segment = only_segment(&place);
    let frames = data_frames(&place);
    assert!(frames.len() >= 6, "{frames:?}");
    let middle = &frames[frames.len() / 2];
    let (offset, lsn) = (middle["offset"].as_u64().unwrap(), middle["first_lsn"].as_u64().unwrap());
    // In the frame's payload; then (restored) in its header.
    for within in [64 + 9, 8] {
        flip(&segment, offset + within);
        let before = snapshot(place.root.path());
        let words = [
            segment.to_str().unwrap(),
            &format!("offset {offset}"),
            &format!("LSN {lsn}"),
            "nothing was modified",
            &format!("csv-ingestor journal verify --state-path {}", place.state.display()),
        ];
        assert_refused(&place.once(&[]), 3, &words);
        assert_refused(&place.command().output().unwrap(), 3, &words);
        assert_refused(&place.once(&["--dry-run"]), 3, &words);
        assert_refused(&place.subcommand(&["replay"]), 3, &words);
        assert_refused(&place.subcommand(&["replay", "--json"]), 3, &words);
        assert_refused(&place.subcommand(&["replay", "--dry-run"]), 3, &words);
        assert_eq!(snapshot(place.root.path()), before);
        flip(&segment, offset + within);
    }
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 4);
}

/// Why: the records before the damage are still known, and the operator needs them to decide.
#[test]
fn inspect_prints_what_precedes_the_damage() {
    let place = three_files();
    let whole = place.inspect();
    let frames = data_frames(&place);
    let segment = only_segment(&place);
    // The frame with the second file's first record.
    let second = whole[1]["ingest_id"].as_u64().unwrap();
    let holds = |frame: &&Value| {
        let first = frame["first_lsn"].as_u64().unwrap();
        (first..first + frame["records"].as_u64().unwrap()).contains(&second)
    };
    let frame = frames.iter().find(holds).unwrap();
    flip(&segment, frame["offset"].as_u64().unwrap() + 64);
    let before = snapshot(&place.state);
    for words in [&["--json"][..], &["--json", "--state", "MANIFESTED"]] {
        let output = place.subcommand(&[&["journal", "inspect"], words].concat());
        assert_refused(&output, 3, &[segment.to_str().unwrap(), "nothing was modified"]);
        let lines = json_lines(&out(&output));
        assert!(lines.len() <= 1, "{lines:?}");
        if words.len() == 1 {
            assert_eq!(lines[0]["ingest_id"], whole[0]["ingest_id"]);
            assert_eq!(lines[0]["sha256"], whole[0]["sha256"]);
        }
    }
    let output = place.subcommand(&["journal", "inspect"]);
    assert_eq!((output.status.code(), out(&output).lines().count()), (Some(3), 1));
    let output = place.subcommand(&["journal", "inspect", "--frames", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let kinds = json_lines(&out(&output)).into_iter().filter(|line| line["kind"] == "data").count();
    assert_eq!(kinds, frames.iter().position(|each| each == frame).unwrap());
    assert_eq!(snapshot(&place.state), before);
}

/// Why: the message names a command for the operator to run; it must exist.
#[test]
fn the_command_that_the_message_names_exists() {
    let place = three_files();
    let segment = only_segment(&place);
    let frames = data_frames(&place);
    flip(&segment, frames[1]["offset"].as_u64().unwrap() + 64);
    let output = place.subcommand(&["replay"]);
    let text = err(&output);
    let command = text.split("Run: csv-ingestor ").nth(1).unwrap_or_else(|| panic!("no command in {text}"));
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = crate::harness::bare(&words).output().unwrap();
    assert_refused(&output, 3, &[]);
    let told = format!("{}{}", out(&output), err(&output));
    assert!(told.contains(segment.file_name().unwrap().to_str().unwrap()), "{told}");
}

/// Why: a journal whose segments are all missing looks like a first start, and everything would be ingested again.
#[test]
fn missing_segments_are_damage() {
    let place = three_files();
    std::fs::remove_file(only_segment(&place)).unwrap();
    let before = snapshot(place.root.path());
    assert_refused(&place.once(&[]), 3, &[place.state.to_str().unwrap(), "missing"]);
    assert_eq!(snapshot(place.root.path()), before);
}
