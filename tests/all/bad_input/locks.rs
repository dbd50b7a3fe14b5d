//! One ingestor for each state directory and each staging directory.

use std::os::unix::fs::symlink;

use super::assert_refused;
use crate::harness::{Daemon, Place, csv, wait_until};

fn start(place: &Place) -> Daemon {
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    daemon
}

/// Another place that shares the directories that `share` sets with `place`.
fn neighbour(place: &Place, share: impl Fn(&mut Place)) -> Place {
    let mut other = Place::new();
    share(&mut other);
    assert!(other.staging != place.staging || other.state != place.state);
    other
}

/// Checks that the second ingestor is refused, names the first, and has created nothing; the first one continues.
#[track_caller]
fn check(place: &Place, other: &Place, option_path: &std::path::Path) {
    let daemon = start(place);
    let pid = format!("pid {})", daemon.child.id());
    for more in [&["--once"][..], &[]] {
        let output = other.command().args(more).output().unwrap();
        assert_refused(&output, 4, &[&pid, option_path.to_str().unwrap()]);
    }
    assert!(!other.warehouse.exists() && !other.manifests.exists());
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: two writers of one journal would destroy it.
#[test]
fn one_ingestor_per_state_directory() {
    let place = Place::new();
    let other = neighbour(&place, |other| other.state.clone_from(&place.state));
    check(&place, &other, &place.state);
}

/// Why: two ingestors on one staging directory would ingest each file twice, each with its own journal.
#[test]
fn one_ingestor_per_input_directory() {
    let place = Place::new();
    let other = neighbour(&place, |other| other.staging.clone_from(&place.staging));
    check(&place, &other, &place.staging);
    assert!(!other.state.exists(), "it made a journal although it was refused");
}

/// Why: the same directories under other names are the same directories.
#[test]
fn a_link_to_a_directory_is_that_directory() {
    let place = Place::new();
    let link = place.root.path().join("link");
    symlink(&place.staging, &link).unwrap();
    let other = neighbour(&place, |other| other.staging.clone_from(&link));
    check(&place, &other, &link);

    let place = Place::new();
    std::fs::create_dir(&place.state).unwrap();
    let link = place.root.path().join("link");
    symlink(&place.state, &link).unwrap();
    let other = neighbour(&place, |other| other.state.clone_from(&link));
    check(&place, &other, &link);
}

/// Why: a lock that outlives its holder would need an operator after every crash.
#[test]
fn locks_end_with_their_holder() {
    let place = Place::new();
    start(&place).kill();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_for("started", 2);
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: two ingestors with their own staging directories and journals may share one warehouse and its manifests.
#[test]
fn warehouse_and_manifests_may_be_shared() {
    let place = Place::new();
    let other = neighbour(&place, |other| {
        other.warehouse.clone_from(&place.warehouse);
        other.manifests.clone_from(&place.manifests);
    });
    let daemons = [start(&place), start(&other)];
    for seed in 0..40 {
        let to = if seed % 2 == 0 { &place } else { &other };
        to.stage(format!("{}.csv", seed / 2), csv(seed, 100));
    }
    wait_until("all are ingested", || place.staged_names().is_empty() && other.staged_names().is_empty());
    for daemon in daemons {
        assert!(daemon.stop().success());
    }
    assert_eq!(place.warehouse_files().len(), 40);
    let lines = place.manifest_lines();
    let hashes: std::collections::BTreeSet<_> = lines.iter().map(|line| line["sha256"].to_string()).collect();
    assert_eq!((lines.len(), hashes.len()), (40, 40));
}
