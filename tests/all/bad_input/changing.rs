//! Files and directories that change, vanish or cannot be read while the ingestor works on them.

use std::io::Write;
use std::time::Duration;

use super::{as_nobody, chmod, give_to_nobody};
use crate::harness::{Daemon, Place, csv, json_lines, sha256_hex, skip, wait_until};

const OPTIONS: [&str; 6] = ["--stability-seconds", "0", "--scan-interval", "50ms", "--log-level", "debug"];
/// Large enough that the test can change the file while it is hashed; sparse, so it needs no space.
const LARGE: u64 = 1 << 29;

fn start(place: &Place) -> Daemon {
    let daemon = place.start(&OPTIONS);
    daemon.wait_started();
    daemon
}

fn retry_seconds(event: &serde_json::Value) -> Duration {
    humantime::parse_duration(event["retry_in"].as_str().unwrap()).unwrap()
}

/// Why: one file with wrong permissions must neither stop the others nor be forgotten; once they are corrected, no restart
/// is needed.
#[test]
fn an_unreadable_file_is_tried_again_and_the_rest_goes_on() {
    let place = Place::new();
    let path = place.stage("locked.csv", csv(1, 100));
    let mut command = place.command();
    command.args(OPTIONS);
    let Some(command) = as_nobody(&place, &command) else { return };
    chmod(&path, 0o000);
    let daemon = place.spawn(command);
    daemon.wait_started();
    let other = place.staging.join(".other.csv");
    std::fs::write(&other, csv(2, 100)).unwrap();
    give_to_nobody(&other);
    std::fs::rename(&other, place.staging.join("other.csv")).unwrap();
    daemon.wait_for("file_ingested", 1);

    let failures = daemon.wait_for("file_failed", 3);
    for failure in &failures {
        assert_eq!(failure["path"], path.to_str().unwrap());
        assert!(failure["error"].as_str().unwrap().contains("Permission denied"), "{failure}");
    }
    let delays: Vec<Duration> = failures.iter().map(retry_seconds).collect();
    assert!(delays[0] < delays[1] && delays[1] < delays[2], "{delays:?}");
    // It is not tried earlier than the event says.
    let at = |event: &serde_json::Value| humantime::parse_rfc3339(event["timestamp"].as_str().unwrap()).unwrap();
    assert!(at(&failures[1]).duration_since(at(&failures[0])).unwrap() + Duration::from_millis(50) >= delays[0]);

    chmod(&path, 0o644);
    daemon.wait_for("file_ingested", 2);
    assert!(daemon.stop().success());
    assert!(place.staged_names().is_empty());
    assert_eq!(place.warehouse_files().len(), 2);
    assert_eq!(place.manifest_lines().len(), 2);
}

/// Calls `act`, which changes `large.csv`, while the file is being hashed; false if that was too early or too late.
fn while_hashing(place: &Place, daemon: &Daemon, act: impl FnOnce() -> bool) -> bool {
    wait_until("it is being hashed", || !daemon.events("file_ready").is_empty());
    act() && place.warehouse_files().is_empty()
}

/// Why: a file that vanishes is not in the warehouse, and a new file under its name is another file.
#[test]
fn a_file_that_vanishes_while_it_is_hashed_leaves_nothing() {
    for seed in 0..20 {
        let place = Place::new();
        let path = place.stage_large("large.csv", seed, LARGE);
        let daemon = start(&place);
        if !while_hashing(&place, &daemon, || std::fs::remove_file(&path).is_ok()) {
            continue;
        }
        let content = csv(seed + 100, 100);
        place.stage("large.csv", &content);
        daemon.wait_for("file_ingested", 1);
        assert!(daemon.stop().success());
        assert_eq!(place.check_consistent(), 1);
        assert_eq!(place.warehouse_files().into_values().next().unwrap(), content);
        return;
    }
    panic!("never caught it while it was hashing");
}

/// Why: if a writer opens a file again (an `scp` that resumes), all of its bytes must end in the warehouse, once, and never
/// a part of them.
#[test]
fn a_file_that_grows_while_it_is_hashed_arrives_whole() {
    let place = Place::new();
    let path = place.stage_large("large.csv", 1, LARGE);
    let daemon = start(&place);
    wait_until("it is being hashed", || !daemon.events("file_ready").is_empty());
    // Where leases work, this waits until the ingestor has released the file.
    let mut file = std::fs::File::options().append(true).open(&path).expect("large enough to be caught");
    for _ in 0..3 {
        file.write_all(b"more,1\n").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(file);
    wait_until("it is ingested", || place.staged_names().is_empty());
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
    let content = place.warehouse_files().into_values().next().unwrap();
    assert_eq!(content.len() as u64, LARGE + 21);
    assert!(content.ends_with(b"more,1\nmore,1\nmore,1\n"));
}

/// Why: an upstream may rename new versions over the old one: each ingested version is whole, and the last one is always
/// ingested.
#[test]
fn a_file_that_is_replaced_again_and_again_is_always_a_whole_one() {
    let place = Place::new();
    let daemon = start(&place);
    let version = |number: u64| [csv(number, 100), vec![b'x'; 4 << 20], number.to_string().into_bytes()].concat();
    const VERSIONS: u64 = 40;
    for number in 0..VERSIONS {
        let hidden = place.stage(".new", version(number));
        std::fs::rename(hidden, place.staging.join("a.csv")).unwrap();
        std::thread::sleep(Duration::from_millis(number % 7 * 3));
    }
    let versions: Vec<Vec<u8>> = (0..VERSIONS).map(version).collect();
    let last = &versions[VERSIONS as usize - 1];
    // Not only gone from staging: a version that was replaced just before its rename is in the warehouse for a moment, and
    // goes back.
    wait_until("the last one is ingested", || {
        place.staged_names().is_empty() && place.manifest_lines().iter().any(|line| line["sha256"] == sha256_hex(last))
    });
    assert!(daemon.stop().success());
    assert!(place.check_consistent() >= 1);
    let files: Vec<Vec<u8>> = place.warehouse_files().into_values().collect();
    assert!(files.iter().all(|content| versions.contains(content)), "a file that was never written");
    assert!(files.contains(last), "the last version was lost");
}

/// Why: the same, rewritten in place: the content in the warehouse was the file's content at a time when no writer had it
/// open.
#[test]
fn a_file_that_is_open_for_writing_waits() {
    let place = Place::new();
    let mut file = std::fs::File::create(place.staging.join("a.csv")).unwrap();
    file.write_all(b"first,half\n").unwrap();
    let daemon = start(&place);
    wait_until("it was looked at", || !daemon.events("file_ready").is_empty());
    if !daemon.events("leases_unsupported").is_empty() {
        skip("no leases on this file system");
        return;
    }
    // Other files come and go meanwhile.
    for seed in 0..3 {
        place.stage(format!("{seed}.csv"), csv(seed, 100));
        daemon.wait_for("file_ingested", seed as usize + 1);
    }
    assert!(place.staging.join("a.csv").exists());
    file.write_all(b"second,half\n").unwrap();
    drop(file);
    daemon.wait_for("file_ingested", 4);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 4);
    assert!(place.warehouse_files().values().any(|content| content == b"first,half\nsecond,half\n"));
}

/// Why: an ingestor that watches a directory that no longer exists looks healthy and does nothing.
#[test]
fn a_staging_directory_that_is_removed_or_replaced_ends_the_ingestor() {
    for replace in [false, true] {
        let place = Place::new();
        place.stage("a.csv", csv(1, 100));
        let mut daemon = start(&place);
        daemon.wait_for("file_ingested", 1);
        let aside = place.root.path().join("aside");
        if replace {
            std::fs::rename(&place.staging, &aside).unwrap();
            std::fs::create_dir(&place.staging).unwrap();
            place.stage("b.csv", csv(2, 100));
        } else {
            std::fs::remove_dir(&place.staging).unwrap();
        }
        wait_until("it ends", || daemon.child.try_wait().unwrap().is_some());
        assert_eq!(daemon.child.try_wait().unwrap().unwrap().code(), Some(1));
        let text = std::fs::read_to_string(place.root.path().join("log.jsonl")).unwrap();
        let last = json_lines(&text).pop().unwrap();
        assert_eq!((&last["level"], &last["event"]), (&"error".into(), &"failed".into()), "{last}");
        let message = last["error"].as_str().unwrap();
        assert!(message.contains("--input") && message.contains(place.staging.to_str().unwrap()), "{message}");
        if !replace {
            std::fs::create_dir(&place.staging).unwrap();
        }
        place.once_ok(&[]);
        assert_eq!(place.check_consistent(), if replace { 2 } else { 1 });
    }
}

/// Why: an operator's `rm -r` of an old partition must not end the ingestor, and the next file must not be lost.
#[test]
fn a_partition_that_is_removed_is_made_again() {
    let place = Place::new();
    let daemon = start(&place);
    for seed in 0..3 {
        place.stage("a.csv", csv(seed, 100));
        daemon.wait_for("file_ingested", seed as usize + 1);
        for partition in place.partitions() {
            let _ = std::fs::remove_dir_all(partition);
        }
    }
    place.stage("last.csv", csv(9, 100));
    daemon.wait_for("file_ingested", 4);
    assert!(daemon.stop().success());
    assert_eq!(place.warehouse_files().len(), 1);
    assert_eq!(place.manifest_lines().len(), 4);
}
