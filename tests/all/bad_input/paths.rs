//! Directories that are missing, are no directories, cannot be read, or are inside each other.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{as_nobody, assert_refused, chmod};
use crate::harness::{Place, bare, csv, err, snapshot};

/// Runs with one option changed (or `--duplicates-dir` added); nothing below the place may change.
#[track_caller]
fn refuse(place: &Place, option: &str, path: &Path, words: &[&str]) {
    let mut command = bare(&["--once", "--stability-seconds", "0"]);
    let paths = [
        ("--input", &place.staging),
        ("--warehouse", &place.warehouse),
        ("--manifests", &place.manifests),
        ("--state-path", &place.state),
    ];
    for (each, usual) in paths {
        command.arg(each).arg(if each == option { path } else { usual.as_path() });
    }
    if option == "--duplicates-dir" {
        command.args(["--duplicates", "move", option]).arg(path);
    }
    let before = snapshot(place.root.path());
    let output = command.output().unwrap();
    assert_refused(&output, 2, &[&[option], words].concat());
    assert_eq!(snapshot(place.root.path()), before, "{option} {}", path.display());
}

const OTHERS: [&str; 4] = ["--warehouse", "--manifests", "--state-path", "--duplicates-dir"];

/// Why: a mistyped staging path must be distinguished from an empty directory; an ingestor that waits for ever shows no
/// error.
#[test]
fn input_must_exist_and_be_a_directory() {
    let place = Place::new();
    let missing = place.root.path().join("missing");
    refuse(&place, "--input", &missing, &[missing.to_str().unwrap(), "No such file"]);
    let file = place.stage("a.csv", csv(1, 100));
    refuse(&place, "--input", &file, &[file.to_str().unwrap(), "Not a directory"]);
    refuse(&place, "--input", Path::new(""), &[]);
    refuse(&place, "--input", &place.root.path().join("x".repeat(5000)), &[]);
    refuse(&place, "--input", &place.root.path().join("x".repeat(300)), &["too long"]);
    let looped = place.root.path().join("loop");
    symlink(&looped, &looped).unwrap();
    refuse(&place, "--input", &looped, &["symbolic links"]);
}

/// Why: wrong permissions are the commonest mistake of a new installation; the message must name the option.
#[test]
fn input_must_be_readable() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0"]);
    let Some(mut command) = as_nobody(&place, &command) else { return };
    chmod(&place.staging, 0o000);
    let output = command.output().unwrap();
    chmod(&place.staging, 0o755);
    assert_refused(&output, 2, &["--input", place.staging.to_str().unwrap(), "Permission denied"]);
    assert!(!place.state.exists() && !place.warehouse.exists() && !place.manifests.exists());
}

/// Why: an existing file must not be replaced, and nothing may be created beside it.
#[test]
fn a_file_in_the_place_of_a_directory_is_refused() {
    for option in OTHERS {
        let place = Place::new();
        place.stage("a.csv", csv(1, 100));
        let file = place.root.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        refuse(&place, option, &file, &[file.to_str().unwrap(), "Not a directory"]);
        refuse(&place, option, &file.join("below"), &["Not a directory"]);
        refuse(&place, option, Path::new(""), &[]);
    }
}

/// Why: files that the ingestor writes there would be taken for staged files; it would even ingest its own journal.
#[test]
fn nothing_may_lie_inside_the_input() {
    for option in OTHERS {
        let place = Place::new();
        place.stage("a.csv", csv(1, 100));
        let root = place.root.path();
        std::fs::create_dir(place.staging.join("sub")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        symlink(&place.staging, root.join("link")).unwrap();
        symlink("../staging/sub", root.join("other/link")).unwrap();
        let inside: [PathBuf; 11] = [
            place.staging.clone(),
            place.staging.join("sub"),
            place.staging.join("missing"),
            place.staging.join("missing/deeper"),
            place.staging.join("."),
            place.staging.join("sub/.."),
            root.join("other/../staging/missing"),
            root.join("./staging//missing/"),
            root.join("link"),
            root.join("link/missing"),
            root.join("other/link/missing"),
        ];
        for path in &inside {
            refuse(&place, option, path, &["--input"]);
        }
    }
}

/// Why: the same, with the input given by a link or with `..`.
#[test]
fn nothing_may_lie_inside_the_input_by_another_name_of_it() {
    let mut place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let staging = place.staging.clone();
    let root = place.root.path().to_path_buf();
    std::fs::create_dir(root.join("other")).unwrap();
    symlink("staging", root.join("link")).unwrap();
    for input in [root.join("link"), root.join("other/../staging"), root.join("link/../staging/.")] {
        place.staging = input;
        for option in OTHERS {
            refuse(&place, option, &staging, &["--input"]);
            refuse(&place, option, &staging.join("missing"), &["--input"]);
        }
    }
}

/// Why: a path beside the input that only begins with the same name is not inside it.
#[test]
fn a_name_that_only_begins_alike_is_fine() {
    let mut place = Place::new();
    place.warehouse = place.root.path().join("staging-warehouse");
    place.manifests = place.root.path().join("staging.manifests");
    place.state = place.root.path().join("stagin");
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: readers of the warehouse (Spark, DuckDB) would take the journal's files for data.
#[test]
fn the_state_may_not_be_the_warehouse_nor_lie_in_it() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    std::fs::create_dir(&place.warehouse).unwrap();
    let link = place.root.path().join("link");
    symlink(&place.warehouse, &link).unwrap();
    let paths =
        [place.warehouse.clone(), link.clone(), place.warehouse.join("state"), link.join("state"), link.join("a/b")];
    for path in &paths {
        refuse(&place, "--state-path", path, &["--warehouse"]);
    }
}

/// Why: an operator who empties the state directory must not empty the warehouse with it.
#[test]
fn nothing_may_lie_inside_the_state() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    std::fs::create_dir(&place.state).unwrap();
    for option in ["--warehouse", "--manifests", "--duplicates-dir"] {
        refuse(&place, option, &place.state.join("sub"), &["--state-path"]);
        refuse(&place, option, &place.state, &["--state-path"]);
    }
}

/// Why: a message with the wrong reason misleads the operator.
#[test]
fn the_reason_fits_the_option() {
    let place = Place::new();
    let inside = place.state.join("sub");
    let output = bare(&["--once", "--input"])
        .arg(&place.staging)
        .arg("--warehouse")
        .arg(&inside)
        .arg("--manifests")
        .arg(&place.manifests)
        .arg("--state-path")
        .arg(&place.state)
        .output()
        .unwrap();
    assert_refused(&output, 2, &["--warehouse", "--state-path"]);
    assert!(!err(&output).contains("staged files"), "nothing is staged in --state-path: {}", err(&output));
}

/// Why: readers of the warehouse would find the duplicates and count them twice.
#[test]
fn the_duplicates_may_not_lie_in_the_warehouse() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    refuse(&place, "--duplicates-dir", &place.warehouse.join("duplicates"), &["--warehouse"]);
}

/// Why: an unwritable warehouse is found at the first file at the latest; nothing may be lost because of it.
#[test]
fn a_warehouse_that_cannot_be_written_loses_nothing() {
    let place = Place::new();
    let content = csv(1, 100);
    let path = place.stage("a.csv", &content);
    std::fs::create_dir(&place.warehouse).unwrap();
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0"]);
    let Some(mut command) = as_nobody(&place, &command) else { return };
    chmod(&place.warehouse, 0o555);
    let output = command.output().unwrap();
    assert_refused(&output, 1, &[place.warehouse.to_str().unwrap(), "Permission denied"]);
    assert_eq!(std::fs::read(&path).unwrap(), content);
    chmod(&place.warehouse, 0o755);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(place.check_consistent(), 1);
}

/// Why: a directory of another program or user (a database, a home) must stay unchanged.
#[test]
fn a_state_directory_that_is_something_elses_is_refused() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    std::fs::create_dir(&place.state).unwrap();
    std::fs::write(place.state.join("state.db"), b"SQLite format 3\0 and so on").unwrap();
    refuse(&place, "--state-path", &place.state, &["state.db"]);
    for words in [&["replay"][..], &["replay", "--dry-run"], &["journal", "inspect"]] {
        let before = snapshot(place.root.path());
        assert_refused(&place.subcommand(words), 2, &["--state-path", "state.db"]);
        assert_eq!(snapshot(place.root.path()), before, "{words:?}");
    }
}

/// Why: the specification's example says `--state-path state.db`, so there may be such a file, from another program.
#[test]
fn a_database_file_as_state_path_is_refused() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let file = place.root.path().join("state.db");
    std::fs::write(&file, b"SQLite format 3\0 and so on").unwrap();
    refuse(&place, "--state-path", &file, &["state.db", "Not a directory"]);
    for words in [&["replay"][..], &["journal", "inspect"]] {
        let output = bare(words).arg("--state-path").arg(&file).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{words:?}");
        assert!(err(&output).contains("state.db"), "{}", err(&output));
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"SQLite format 3\0 and so on");
}
