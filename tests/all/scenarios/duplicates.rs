//! 6.3: a content that is sent again, at once or later, under the same name or another.

use std::path::Path;
use std::time::Duration;

use super::super::harness::{Daemon, Place, csv, sha256_hex};
use super::{assert_contents, events, only_file, stdout, stop};

/// Two equal files in one batch, and a third one later: one is ingested, and each of the others is reported with
/// everything that an operator needs to find the first.
#[test]
fn equal_content_is_ingested_once_and_each_copy_reported() {
    let place = Place::new();
    let content = csv(1, 10_000);
    let staged = [place.stage("a.csv", &content), place.stage("b.csv", &content)];
    let first = place.once_ok(&[]);
    let original = only_file(&place);
    let ingested = events(&first, "file_ingested").remove(0);
    let skipped = events(&first, "duplicate_skipped").remove(0);
    let mut paths = [&ingested, &skipped].map(|event| event["path"].as_str().unwrap());
    paths.sort_unstable();
    assert_eq!(paths.map(Path::new), [&*staged[0], &*staged[1]]);

    let later = place.stage("later.csv", &content);
    let second = place.once_ok(&[]);
    let again = events(&second, "duplicate_skipped").remove(0);
    assert_eq!(Path::new(again["path"].as_str().unwrap()), later);
    for event in [&skipped, &again] {
        assert_eq!(event["level"], "info");
        assert_eq!(event["sha256"], sha256_hex(&content));
        assert_eq!(event["duplicate_of"], ingested["ingest_id"]);
        assert_eq!(event["original"].as_str().unwrap(), original.to_str().unwrap());
        assert_eq!(event["action"], "keep");
        assert!(event["timestamp"].is_string());
    }
    assert!(events(&second, "file_ingested").is_empty());
    assert_eq!(place.staged_names().len(), 2, "kept duplicates stay");
    let line = format!("DUPLICATE: {} = {}\n", later.display(), original.display());
    assert!(stdout(&second).contains(&line), "{}", stdout(&second));
    let records = place.inspect();
    let duplicates: Vec<_> = records.iter().filter(|file| file["state"] == "SKIPPED_DUPLICATE").collect();
    assert_eq!((records.len(), duplicates.len()), (3, 2));
    assert!(duplicates.iter().all(|file| file["duplicate_of"] == ingested["ingest_id"]));
    assert_eq!(place.check_consistent(), 1);
}

/// Two empty files are duplicates like any others.
#[test]
fn two_empty_files_are_duplicates() {
    let place = Place::new();
    place.stage("a.csv", "");
    place.stage("b.csv", "");
    place.once_ok(&["--duplicates", "remove"]);
    assert!(place.staged_names().is_empty());
    assert_contents(&place, [Vec::new()]);
    assert_eq!(place.check_consistent(), 1);
}

/// `remove`: at the same time and later, and only the duplicates.
#[test]
fn duplicates_are_removed_if_so_wished() {
    let place = Place::new();
    for (name, seed) in [("a.csv", 1), ("b.csv", 1), ("c.csv", 2), ("d.csv", 1)] {
        place.stage(name, csv(seed, 10_000));
    }
    let output = place.once_ok(&["--duplicates", "remove"]);
    assert!(place.staged_names().is_empty());
    assert_eq!(events(&output, "duplicate_skipped").len(), 2);
    place.stage("a.csv", csv(1, 10_000));
    let output = place.once_ok(&["--duplicates", "remove"]);
    assert!(place.staged_names().is_empty());
    let skipped = events(&output, "duplicate_skipped");
    assert_eq!((skipped.len(), &skipped[0]["action"]), (1, &"remove".into()));
    assert_contents(&place, [csv(1, 10_000), csv(2, 10_000)]);
    assert_eq!(place.check_consistent(), 2);
}

/// `move`: to the other directory, whole, and without overwriting an earlier duplicate of that name.
#[test]
fn duplicates_are_moved_if_so_wished() {
    let place = Place::new();
    let elsewhere = place.root.path().join("duplicates");
    let options = ["--duplicates", "move", "--duplicates-dir", elsewhere.to_str().unwrap()];
    let content = csv(1, 10_000);
    place.stage("a.csv", &content);
    place.once_ok(&options);
    for _ in 0..2 {
        place.stage("a.csv", &content);
        let output = place.once_ok(&options);
        assert_eq!(events(&output, "duplicate_skipped")[0]["action"], "move");
        assert!(place.staged_names().is_empty());
    }
    let mut names: Vec<String> = std::fs::read_dir(&elsewhere)
        .unwrap()
        .map(|entry| entry.unwrap())
        .inspect(|entry| assert_eq!(std::fs::read(entry.path()).unwrap(), content))
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [format!("a-{}.csv", &sha256_hex(&content)[..8]), "a.csv".to_owned()]);
    assert_eq!(place.check_consistent(), 1);
}

/// The number of bytes that the process has read so far, by read(2) and similar calls.
fn bytes_read(daemon: &Daemon) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", daemon.child.id())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Each scan finds a kept duplicate. It must not be hashed each time, nor after each restart.
#[test]
fn a_kept_duplicate_is_not_hashed_again() {
    const BYTES: usize = 8 << 20;
    let place = Place::new();
    let mut content = csv(1, 1000);
    content.resize(BYTES, b'\n');
    place.stage("a.csv", &content);
    place.once_ok(&[]);
    place.stage("b.csv", &content);
    let options = ["--stability-seconds", "0", "--scan-interval", "20ms"];
    let daemon = place.start(&options);
    daemon.wait_for("duplicate_skipped", 1);
    let records = place.inspect();
    let before = bytes_read(&daemon);
    assert!(before >= BYTES as u64);
    // Many scans, on any machine; and the file at the end shows that the daemon is running.
    std::thread::sleep(Duration::from_millis(700));
    place.stage("marker.csv", csv(2, 1000));
    daemon.wait_for("file_ingested", 1);
    assert!(bytes_read(&daemon) - before < BYTES as u64 / 2, "it was read again");
    stop(daemon);
    assert_eq!(place.inspect().len(), records.len() + 1, "more records than the new file's");

    let daemon = place.start(&options);
    daemon.wait_for("started", 2);
    place.stage("marker2.csv", csv(3, 1000));
    daemon.wait_for("file_ingested", 2);
    assert!(bytes_read(&daemon) < BYTES as u64, "it was read again after a restart");
    stop(daemon);
    assert_eq!(place.inspect().len(), records.len() + 2);
    assert_eq!(place.check_consistent(), 3);
    assert_eq!(place.staged_names(), ["b.csv"]);
}

/// A kept duplicate that is changed is another file: if it were remembered by name, the corrected content would be ignored.
#[test]
fn a_kept_duplicate_that_changes_is_ingested() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1000));
    place.stage("b.csv", csv(1, 1000));
    place.once_ok(&[]);
    let kept = place.staged_names().remove(0);
    place.stage(&kept, csv(2, 1000));
    place.once_ok(&[]);
    assert!(place.staged_names().is_empty());
    assert_contents(&place, [csv(1, 1000), csv(2, 1000)]);
    assert_eq!(place.check_consistent(), 2);
}
