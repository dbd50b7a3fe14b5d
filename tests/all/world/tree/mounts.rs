//! Mounts below staging: of other places, and of the ingestor's own.

use std::path::{Path, PathBuf};

use super::{put, staged, subdirs};
use crate::harness::{Place, has, is_root, out, sh};

/// A bind mount that ends with the test.
struct Bound(PathBuf);

impl Bound {
    fn new(source: &Path, at: &Path) -> Bound {
        std::fs::create_dir_all(at).unwrap();
        sh("mount", &["--bind".as_ref(), source.as_ref(), at.as_ref()]);
        Bound(at.to_path_buf())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Why: `mount --bind` shows the same device, so a check of the device alone enters another mount.
#[test]
fn other_mounts_are_entered_only_if_asked() {
    if !is_root() || !has("mount") {
        return;
    }
    let place = Place::new();
    let outside = place.root.path().join("outside");
    put(&outside, "x/a.csv", 1);
    put(&place.staging, "d/b.csv", 2);
    let _bound = Bound::new(&outside, &place.staging.join("d/m"));
    let said = out(&place.once_ok(&["--recursive"]));
    assert!(said.contains("it is on another mount"), "{said}");
    assert_eq!(subdirs(&place), ["d"]);
    assert!(outside.join("x/a.csv").exists());
    place.once_ok(&["--recursive", "--cross-mounts"]);
    assert_eq!(subdirs(&place), ["d", "d/m/x"]);
    assert!(!outside.join("x/a.csv").exists());
    assert_eq!(place.check_consistent(), 2);
    put(&place.staging, "d/c.csv", 3);
    place.once_ok(&["--recursive", "--cross-mounts"]);
    assert_eq!(place.check_consistent(), 3);
}

/// Why: the warehouse was mounted below staging, and its files were ingested again and again.
#[test]
fn the_ingestors_own_directories_are_never_entered() {
    if !is_root() || !has("mount") {
        return;
    }
    let place = Place::new();
    let [quarantine, duplicates] = ["quarantine", "duplicates"].map(|name| place.root.path().join(name));
    let options = [
        "--recursive",
        "--cross-mounts",
        "--validate",
        "csv",
        "--quarantine",
        quarantine.to_str().unwrap(),
        "--duplicates",
        "move",
        "--duplicates-dir",
        duplicates.to_str().unwrap(),
    ];
    put(&place.staging, "d/a.csv", 1);
    put(&place.staging, "d/b.csv", 1);
    std::fs::write(place.staging.join("bad.csv"), "id,name\n1\n").unwrap();
    place.once_failing(&options);
    let partition = std::fs::read_dir(&place.warehouse).unwrap().map(|entry| entry.unwrap().path());
    let partition = partition.into_iter().find(|path| path.to_string_lossy().contains("ingest_date")).unwrap();
    let own = [&place.warehouse, &place.manifests, &place.state, &quarantine, &duplicates, &partition, &place.staging];
    let whole = place.root.path().to_path_buf();
    let mut bound: Vec<Bound> =
        (0..).zip(own).map(|(number, own)| Bound::new(own, &place.staging.join(format!("m{number}")))).collect();
    bound.push(Bound::new(&whole, &place.staging.join("whole")));
    let said = out(&place.once_ok(&options));
    for number in 0..own.len() {
        let path = place.staging.join(format!("m{number}")).display().to_string();
        // The path ends there: what is below was not reached.
        let is_refused = |line: &&str| line.contains(&path) && line.contains("an ingestor's own");
        assert!(said.lines().any(|line| is_refused(&line) && !line.contains(&format!("{path}/"))), "{path}: {said}");
    }
    drop(bound);
    assert_eq!(staged(&place), Vec::<String>::new());
    assert_eq!(place.check_consistent(), 1);
    assert_eq!(place.manifest_lines().len(), 1, "nothing was ingested twice");
}
