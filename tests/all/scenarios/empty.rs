//! Files of 0 bytes (`--empty`), with the real program.

use serde_json::Value;

use super::super::harness::{Place, csv, err, json_lines, out, sha256_hex};
use super::{QUICK, events, stdout, stop};

fn explained(place: &Place, name: &str) -> Value {
    let path = place.staging.join(name);
    let output = place.subcommand(&["explain", "--json", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", err(&output));
    json_lines(&out(&output)).remove(0)
}

/// As ever: an empty file is a content like any other.
#[test]
fn by_default_it_is_ingested() {
    let place = Place::new();
    place.stage("a.csv", b"");
    place.stage("b.csv", b"");
    let output = place.once_ok(&[]);
    assert_eq!((events(&output, "file_ingested").len(), events(&output, "duplicate_skipped").len()), (1, 1));
    assert_eq!(place.check_consistent(), 1);
    assert_eq!(events(&output, "started")[0]["empty"], "ingest");
}

/// Why: a marker that a sender leaves is not worth an alarm, nor a failed `--once`; and an operator must find out why it
/// stays.
#[test]
fn kept_ones_stay_and_are_no_failure() {
    let place = Place::new();
    place.stage("a.csv", b"");
    place.stage("b.csv", csv(1, 100));
    let keep = ["--empty", "keep"];
    let output = place.once_ok(&keep);
    assert_eq!(events(&output, "empty_file_kept").len(), 1);
    assert!(events(&output, "file_failed").is_empty());
    assert!(stdout(&output).contains("empty (--empty)"), "{}", stdout(&output));
    assert_eq!((place.staged_names(), place.check_consistent()), (vec!["a.csv".to_owned()], 1));
    let told = explained(&place, "a.csv");
    assert_eq!(told["status"], "WAITING");
    assert!(told["summary"].as_str().unwrap().contains("stays here until it grows"), "{told}");
    let dry = place.command().args(["--dry-run", "--stability-seconds", "0"]).args(keep).output().unwrap();
    assert!(out(&dry).contains("empty (--empty)"), "{}", out(&dry));
    // Changing one's mind needs no consent: nothing is doubled by it.
    place.once_ok(&[]);
    assert_eq!((place.staged_names().len(), place.check_consistent()), (0, 2));
}

/// Why: it may be a file whose sender has only begun. Reported once, however often it is looked at.
#[test]
fn one_that_grows_is_ingested() {
    let place = Place::new();
    let daemon = place.start(&[QUICK, &["--empty", "keep"]].concat());
    daemon.wait_started();
    place.stage("a.csv", b"");
    daemon.wait_for("empty_file_kept", 1);
    assert!(explained(&place, "a.csv")["summary"].as_str().unwrap().starts_with("empty"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(daemon.events("empty_file_kept").len(), 1, "reported again");
    place.stage("a.csv", csv(1, 500));
    daemon.wait_for("file_ingested", 1);
    stop(daemon);
    assert_eq!(place.check_consistent(), 1);
}

/// With its reason beside it, like every file in quarantine; a sidecar goes with it, and a wrong checksum is the better reason.
#[test]
fn quarantined_ones_leave_with_a_reason() {
    let place = Place::new();
    let dir = place.root.path().join("quarantine");
    let refused = place.once(&["--empty", "quarantine"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("--empty quarantine needs --quarantine DIR"), "{}", err(&refused));
    place.stage("a.csv", b"");
    place.stage("a.csv.ok", sha256_hex(b""));
    place.stage("b.csv", b"");
    place.stage("b.csv.ok", sha256_hex(b"cut off"));
    place.stage("c.csv", b"");
    let options = ["--empty", "quarantine", "--mode", "sidecar", "--quarantine", dir.to_str().unwrap()];
    let output = place.once_failing(&options);
    let mut reasons: Vec<(String, String)> = events(&output, "file_quarantined")
        .iter()
        .map(|event| (event["path"].as_str().unwrap().to_owned(), event["reason"].as_str().unwrap().to_owned()))
        .collect();
    reasons.sort();
    let path = |name: &str| place.staging.join(name).to_str().unwrap().to_owned();
    assert_eq!(reasons, [(path("a.csv"), "empty".to_owned()), (path("b.csv"), "checksum_differs".to_owned())]);
    // Without its sidecar it is not complete.
    assert_eq!(place.staged_names(), ["c.csv"]);
    let states: Vec<Value> = place.inspect().iter().map(|file| file["reason"].clone()).collect();
    assert!(states.contains(&"empty".into()) && states.contains(&"checksum_differs".into()), "{states:?}");
    assert!(place.subcommand(&["journal", "verify"]).status.success());
    assert!(place.manifest_lines().is_empty());
}

/// Decided: `--validate` does not look into an empty file that is not ingested anyway, so its reason is that it is empty.
#[test]
fn empty_comes_before_malformed() {
    let place = Place::new();
    let dir = place.root.path().join("quarantine");
    place.stage("a.csv", b"");
    let validate = ["--validate", "csv", "--quarantine", dir.to_str().unwrap()];
    let output = place.once_failing(&[&validate[..], &["--empty", "quarantine"]].concat());
    assert_eq!(events(&output, "file_quarantined")[0]["reason"], "empty");
    assert!(place.staged_names().is_empty());
}
