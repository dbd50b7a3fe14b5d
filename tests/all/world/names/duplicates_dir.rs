//! A `--duplicates-dir` that was removed or replaced, or whose permissions were taken away.

use std::path::PathBuf;

use super::super::super::bad_input::{as_nobody, chmod};
use crate::harness::{Place, csv, err, out};

fn options(dir: &std::path::Path) -> Vec<&str> {
    let quick = ["--stability-seconds", "0", "--scan-interval", "50ms", "--duplicates", "move", "--duplicates-dir"];
    [&quick[..], &[dir.to_str().unwrap()]].concat()
}

/// Why: if the directory was removed with its files, the next duplicate ended the process, and each later start with the
/// unfinished duplicate. It is created again, with the directories above it, like the partitions.
#[test]
fn a_directory_that_was_removed_is_made_again() {
    let place = Place::new();
    let dir: PathBuf = place.root.path().join("other/deep/duplicates");
    let daemon = place.start(&options(&dir));
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    for (count, removed) in (1..).zip([&dir, &place.root.path().join("other/deep"), &place.root.path().join("other")]) {
        std::fs::remove_dir_all(removed).unwrap();
        place.stage(format!("again-{count}.csv"), csv(1, 100));
        daemon.wait_for("duplicate_skipped", count);
        assert!(dir.join(format!("again-{count}.csv")).exists(), "{}", removed.display());
    }
    // Replaced by another directory, while the old one is open.
    std::fs::rename(&dir, dir.with_extension("old")).unwrap();
    std::fs::create_dir(&dir).unwrap();
    place.stage("again-4.csv", csv(1, 100));
    daemon.wait_for("duplicate_skipped", 4);
    assert!(dir.join("again-4.csv").exists());
    place.stage("b.csv", csv(2, 100));
    daemon.wait_for("file_ingested", 2);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 2);
    assert!(place.staged_names().is_empty());
}

/// Why: if it cannot be created, the file is just as safe in staging; to end the process would stop all other files.
#[test]
fn where_it_cannot_be_made_the_duplicate_stays_and_that_is_said() {
    let place = Place::new();
    let dir = place.root.path().join("duplicates");
    let daemon = place.start(&options(&dir));
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::write(&dir, "a file in its place").unwrap();
    place.stage("again.csv", csv(1, 100));
    let failed = daemon.wait_for("file_failed", 1);
    let error = failed[0]["error"].as_str().unwrap();
    assert!(error.contains("the duplicate stays") && error.contains("Not a directory"), "{error}");
    place.stage("b.csv", csv(2, 100));
    daemon.wait_for("file_ingested", 2);
    assert!(daemon.stop().success());
    assert_eq!(place.staged_names(), ["again.csv"]);
    assert_eq!(place.check_consistent(), 2);
    // The next start tries again, once the path can be used.
    std::fs::remove_file(&dir).unwrap();
    let output = place.command().args(options(&dir)).arg("--once").output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}{}", out(&output), err(&output));
    assert!(dir.join("again.csv").exists() && place.staged_names().is_empty());
}

/// Why: the same for an unwritable directory.
#[test]
fn a_directory_that_is_closed_ends_nothing() {
    let place = Place::new();
    let dir = place.root.path().join("duplicates");
    let mut command = place.command();
    command.args(options(&dir));
    std::fs::create_dir(&dir).unwrap();
    let Some(command) = as_nobody(&place, &command) else { return };
    let daemon = place.spawn(command);
    place.stage_whole("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    for (count, mode) in (1..).zip([0o555, 0o000]) {
        chmod(&dir, mode);
        place.stage_whole(format!("again-{count}.csv"), csv(1, 100));
        daemon.wait_for("file_failed", count);
    }
    chmod(&dir, 0o755);
    place.stage_whole("again-3.csv", csv(1, 100));
    daemon.wait_for("duplicate_skipped", 3);
    assert!(daemon.stop().success());
    assert!(dir.join("again-3.csv").exists());
    assert_eq!(place.staged_names(), ["again-1.csv", "again-2.csv"]);
}
