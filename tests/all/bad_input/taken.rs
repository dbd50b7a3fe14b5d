//! Names in the warehouse that already exist.

use std::os::unix::fs::symlink;

use crate::harness::{Place, csv, err, json_lines, out, sha256_hex, snapshot, warehouse_names};

/// Why: an existing file in the warehouse is data; the new file gets another name beside it.
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

/// Why: a link in the warehouse must not be followed, and a file must not be moved into a directory.
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

/// Why: a fixed number of names can be used up, and then the file stays for ever. Its ingest id makes a name unique; and if
/// that name exists too, a number follows the id.
#[test]
fn names_are_never_used_up() {
    let place = Place::new();
    let content = csv(1, 100);
    let names = warehouse_names("foo", &content);
    let hash = &sha256_hex(&content)[..8];
    let with_ids: Vec<String> = (1..20).map(|id| format!("foo-{hash}-{id}.csv")).collect();
    place.occupy(&names);
    place.occupy(&with_ids);
    let before = snapshot(&place.warehouse);
    place.stage("foo.csv", &content);
    place.once_ok(&[]);
    let lines = place.manifest_lines();
    assert_eq!(lines.len(), 1);
    let (path, id) = (lines[0]["warehouse_path"].as_str().unwrap(), &lines[0]["ingest_id"]);
    assert!(path.ends_with(&format!("/foo-{hash}-{id}-1.csv")), "{path}");
    assert_eq!(std::fs::read(path).unwrap(), content);
    let after = snapshot(&place.warehouse);
    for (path, seen) in before.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "csv")) {
        assert_eq!(&after[path], seen, "{} was touched", path.display());
    }
}

/// Why: a file that cannot be moved stays, and is reported on stdout and by the exit code.
#[test]
fn once_says_what_could_not_be_placed() {
    let place = Place::new();
    place.block();
    let path = place.stage("foo.csv", csv(1, 100));
    let output = place.once_failing(&[]);
    assert!(out(&output).starts_with(&format!("WAITING: {} (", path.display())), "{}", out(&output));
    assert!(json_lines(&err(&output)).iter().any(|line| line["event"] == "file_failed"));
    assert_eq!(std::fs::read(&path).unwrap(), csv(1, 100));
    assert!(place.manifest_lines().is_empty());
    // Once the obstacle is removed, the file is moved without further action.
    place.unblock();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
}
