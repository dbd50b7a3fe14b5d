//! `csv-ingestor forget`.

use crate::harness::{Place, csv, err, json_lines, out, sha256_hex};

fn forget(place: &Place, what: &[&str]) -> std::process::Output {
    place.subcommand(&[&["forget"], what].concat())
}

/// Its purpose: a content that is needed again (its table was lost, its file was removed) is ingested again when it is sent
/// again, once.
#[test]
fn a_forgotten_content_is_ingested_again_once() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1_000));
    place.stage("b.csv", csv(2, 1_000));
    place.once_ok(&[]);
    let sha256 = sha256_hex(&csv(1, 1_000));
    let output = forget(&place, &[&sha256]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).contains(&sha256) && out(&output).contains("a.csv"), "{}", out(&output));
    for (name, count) in [("a.csv", 3), ("again.csv", 3)] {
        place.stage(name, csv(1, 1_000));
        place.stage("b.csv", csv(2, 1_000));
        place.once_ok(&["--duplicates", "remove"]);
        assert_eq!(place.manifest_lines().len(), count);
    }
    assert_eq!(place.warehouse_files().len(), 3, "the first one's file stays");
    let verified = place.subcommand(&["journal", "verify"]);
    assert!(verified.status.success(), "{}", err(&verified));
}

/// It is a record like any other: a compaction, and a repair from the generation before, do not bring it back.
#[test]
fn it_stays_forgotten_through_compactions_and_repairs() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1_000));
    place.once_ok(&[]);
    let compact = || assert!(place.subcommand(&["journal", "compact"]).status.success());
    compact();
    assert!(forget(&place, &[&sha256_hex(&csv(1, 1_000))]).status.success());
    let known = || place.inspect().iter().filter(|file| file["state"] == "MANIFESTED").count();
    assert_eq!(known(), 1, "until the next compaction it is shown");
    compact();
    assert_eq!(known(), 0);
    // The newest snapshot is damaged: the generation before is left, and the records after it.
    let mut snapshots: Vec<_> = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path()).collect();
    snapshots.retain(|path| path.extension().is_some_and(|extension| extension == "snap"));
    snapshots.sort();
    let mut bytes = std::fs::read(snapshots.last().unwrap()).unwrap();
    bytes[0] ^= 1;
    std::fs::write(snapshots.last().unwrap(), bytes).unwrap();
    let repaired = place.subcommand(&["journal", "repair"]);
    assert!(repaired.status.success(), "{}", err(&repaired));
    place.stage("a.csv", csv(1, 1_000));
    place.once_ok(&[]);
    assert_eq!(place.manifest_lines().len(), 2);
}

/// It accepts any path of the content: in the warehouse, in staging, and of a kept duplicate, which is the file to be
/// ingested then.
#[test]
fn it_takes_paths() {
    let place = Place::new();
    let sent = place.stage("a.csv", csv(1, 1_000));
    place.once_ok(&[]);
    let duplicate = place.stage("again.csv", csv(1, 1_000));
    place.once_ok(&[]);
    assert_eq!(place.staged_names(), ["again.csv"]);
    let output = forget(&place, &["--json", duplicate.to_str().unwrap()]);
    assert!(output.status.success(), "{}", err(&output));
    let told = json_lines(&out(&output)).remove(0);
    assert_eq!(told["sha256"], sha256_hex(&csv(1, 1_000)));
    assert_eq!(told["source_path"], sent.to_str().unwrap());
    place.once_ok(&[]);
    assert!(place.staged_names().is_empty(), "the duplicate is an original now");
    assert_eq!(place.manifest_lines().len(), 2);
    // The path in the warehouse.
    let last = place.manifest_lines().pop().unwrap();
    assert!(forget(&place, &[last["warehouse_path"].as_str().unwrap()]).status.success());
    // A name under which two contents were sent: the message names both.
    place.stage("a.csv", csv(1, 1_000));
    place.once_ok(&[]);
    place.stage("a.csv", csv(2, 1_000));
    place.once_ok(&[]);
    let output = forget(&place, &[sent.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!([1, 2].iter().all(|seed| err(&output).contains(&sha256_hex(&csv(*seed, 1_000)))), "{}", err(&output));
}

/// If it cannot be done, nothing is changed.
#[test]
fn it_refuses_and_changes_nothing() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1_000));
    let output = forget(&place, &[&sha256_hex(b"")]);
    assert_eq!(output.status.code(), Some(2), "no journal");
    assert!(!place.state.exists());
    place.once_ok(&[]);
    let sha256 = sha256_hex(&csv(1, 1_000));
    let output = forget(&place, &[&sha256, &sha256_hex(b"unknown")]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("no content is remembered"), "{}", err(&output));
    let daemon = place.start(&[]);
    daemon.wait_started();
    let output = forget(&place, &[&sha256]);
    assert_eq!(output.status.code(), Some(4), "{}", err(&output));
    assert!(err(&output).contains(&daemon.child.id().to_string()), "{}", err(&output));
    daemon.stop();
    place.stage("again.csv", csv(1, 1_000));
    place.once_ok(&[]);
    assert_eq!(place.manifest_lines().len(), 1, "still known");
}
