//! Names in the warehouse that are taken.

use std::os::unix::fs::symlink;

use crate::harness::{Place, csv, err, json_lines, out, snapshot, wait_until, warehouse_names};

/// Why: what is in the warehouse is somebody's data; the new file goes beside it.
#[test]
fn a_taken_name_is_not_overwritten() {
    let content = csv(1, 100);
    let names = warehouse_names("foo", &content);
    for taken in 1..5 {
        let place = Place::new();
        place.occupy(&names[..taken]);
        let before = snapshot(&place.warehouse);
        place.stage("foo.csv", &content);
        place.once_ok(&[]);
        let after = snapshot(&place.warehouse);
        for (path, seen) in before.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "csv")) {
            assert_eq!(&after[path], seen, "{} was touched", path.display());
        }
        let line = place.manifest_lines().remove(0);
        let path = line["warehouse_path"].as_str().unwrap();
        assert!(path.ends_with(&format!("/{}", names[taken])), "{path} with {taken} taken");
        assert_eq!(std::fs::read(path).unwrap(), content);
    }
}

/// Why: `.csv.gz` is one extension; the suffix must not hide from readers what the file is.
#[test]
fn the_suffix_stands_before_the_whole_extension() {
    let content = csv(1, 100);
    let suffix = warehouse_names("", &content)[1].strip_suffix(".csv").unwrap().to_owned();
    for (name, expected) in [
        ("a.csv.gz", format!("a{suffix}.csv.gz")),
        ("b", format!("b{suffix}")),
        ("c.d.csv", format!("c.d{suffix}.csv")),
    ] {
        let place = Place::new();
        place.occupy(&[name.to_owned()]);
        place.stage(name, &content);
        place.once_ok(&[]);
        let line = place.manifest_lines().remove(0);
        assert!(line["warehouse_path"].as_str().unwrap().ends_with(&format!("/{expected}")), "{line}");
    }
}

/// Why: a link in the warehouse must not be followed, and a directory not be moved into.
#[test]
fn links_and_directories_take_a_name_as_well() {
    let place = Place::new();
    for partition in place.partitions() {
        std::fs::create_dir_all(partition.join("a.csv")).unwrap();
        symlink(place.root.path().join("elsewhere"), partition.join("b.csv")).unwrap();
    }
    for (seed, name) in (1..).zip(["a.csv", "b.csv"]) {
        place.stage(name, csv(seed, 100));
    }
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 2);
    assert!(!place.root.path().join("elsewhere").exists());
    for line in place.manifest_lines() {
        let name = line["warehouse_path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert!(name.starts_with("a-") || name.starts_with("b-"), "{name}");
    }
}

/// Why: if every name is taken there is nothing left to do but to say so; the file stays, and the others go on.
#[test]
fn when_every_name_is_taken_the_file_stays_and_the_rest_goes_on() {
    let place = Place::new();
    let content = csv(1, 100);
    let names = warehouse_names("foo", &content);
    place.occupy(&names);
    let before = snapshot(&place.warehouse);
    let path = place.stage("foo.csv", &content);
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    let failures = daemon.wait_for("file_failed", 2);
    assert_eq!(failures[0]["path"], path.to_str().unwrap());
    assert_eq!((&failures[0]["retry_in"], &failures[1]["retry_in"]), (&"1s".into(), &"2s".into()));
    place.stage("other.csv", csv(2, 100));
    daemon.wait_for("file_ingested", 1);
    assert_eq!(std::fs::read(&path).unwrap(), content);
    let after = snapshot(&place.warehouse);
    for (path, seen) in before.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "csv")) {
        assert_eq!(&after[path], seen, "{} was touched", path.display());
    }
    // One name becomes free: it goes there by itself.
    place.partitions().iter().for_each(|partition| std::fs::remove_file(partition.join(&names[3])).unwrap());
    wait_until("it is ingested", || !path.exists());
    daemon.wait_for("file_ingested", 2);
    assert!(daemon.stop().success());
    let lines = place.manifest_lines();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().any(|line| line["warehouse_path"].as_str().unwrap().ends_with(&names[3])), "{lines:?}");
}

/// Why: the same with `--once`: said on stdout, and by the exit code.
#[test]
fn once_says_what_could_not_be_placed() {
    let place = Place::new();
    let content = csv(1, 100);
    place.occupy(&warehouse_names("foo", &content));
    let path = place.stage("foo.csv", &content);
    let output = place.once_failing(&[]);
    assert!(out(&output).starts_with(&format!("WAITING: {} (", path.display())), "{}", out(&output));
    assert!(json_lines(&err(&output)).iter().any(|line| line["event"] == "file_failed"));
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert!(place.manifest_lines().is_empty());
}
