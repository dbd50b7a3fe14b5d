//! The exit code of `--once`.

use super::super::super::bad_input::{as_nobody, chmod};
use crate::harness::{Place, csv, err, out, sha256_hex};

/// Why: cron reports only jobs that end with another code than 0; an unreadable file was left every night, and nobody knew.
#[test]
fn a_file_that_cannot_be_read_is_told_by_the_exit_code() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0"]);
    let Some(mut command) = as_nobody(&place, &command) else { return };
    chmod(&place.stage("secret.csv", csv(1, 100)), 0o000);
    place.stage("a.csv", csv(2, 100));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    assert!(err(&output).contains("not every file"), "{}", err(&output));
    assert!(out(&output).contains("secret.csv (failed"), "the file that is left is still reported: {}", out(&output));
    assert_eq!(place.warehouse_files().len(), 1, "the others went on");
}

/// Why: the same for every way in which a file can fail: it stays, or is quarantined, and was not ingested.
#[test]
fn so_is_each_other_failure() {
    let place = Place::new();
    let quarantine = place.root.path().join("quarantine");
    let quarantine = quarantine.to_str().unwrap();
    place.stage("a.csv", csv(1, 100));
    place.stage("a.csv.ok", sha256_hex(b"something else"));
    assert_eq!(place.once(&["--mode", "sidecar"]).status.code(), Some(6), "it stays");
    assert_eq!(place.once(&["--mode", "sidecar", "--quarantine", quarantine]).status.code(), Some(6), "it goes");
    assert_eq!(place.once(&["--mode", "sidecar", "--quarantine", quarantine]).status.code(), Some(0), "it is gone");
    place.stage("b.csv", "a,b\n1\n");
    let validating = ["--validate", "csv", "--quarantine", quarantine];
    assert_eq!(place.once(&validating).status.code(), Some(6), "malformed");
    place.stage("c.csv", "a,b\n1\n");
    place.once_ok(&["--validate", "csv"]);
    assert_eq!(place.check_consistent(), 1, "marked, it is ingested");
}

/// Why: everybody would ignore a code that also means "nothing is wrong, try again later".
#[test]
fn what_only_waits_is_no_failure() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    place.stage("duplicate.csv", csv(1, 100));
    place.stage("ignored.csv.part", csv(2, 100));
    std::fs::create_dir(place.staging.join("dir")).unwrap();
    let open = std::fs::File::options().append(true).open(place.stage("open.csv", csv(3, 100))).unwrap();
    let output = place.once_ok(&[]);
    assert!(out(&output).contains("DUPLICATE: ") && out(&output).contains("IGNORED: "), "{}", out(&output));
    drop(open);
    place.stage("no-sidecar.csv", csv(4, 100));
    place.once_ok(&["--mode", "sidecar"]);
    let output = place.command().args(["--once", "--stability-seconds", "0.2"]).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    // A file that was corrected in time has not failed.
    assert_eq!(place.check_consistent(), 3);
}

/// Why: authors of scripts must find the exit code in the help.
#[test]
fn help_names_it() {
    let help = out(&crate::harness::bare(&["--help"]).output().unwrap());
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("6 `run --once` finished, but some file failed"), "{words}");
}
