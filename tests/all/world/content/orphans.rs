//! Sidecars that are older than their files.

use std::time::Duration;

use super::{SIDECAR, events, waiting};
use crate::harness::{Place, csv, out, sha256_hex, wait_until};

/// The kernel gives files the time of its last tick: two files that are created one after the other may have the same time.
fn tick() {
    std::thread::sleep(Duration::from_millis(30));
}

const HELD: &str = "a.csv (orphaned sidecar: it was there before the file, and holds no checksum)";

/// Why: the sidecar of an interrupted transfer released half of the next one.
#[test]
fn an_orphaned_sidecar_does_not_release_half_a_file() {
    for marker in ["", "done\n"] {
        let place = Place::new();
        let sidecar = place.stage("a.csv.ok", marker);
        let (left, output) = waiting(&place, &[]);
        assert_eq!(left, ["a.csv.ok (orphaned sidecar: its file is not there)"]);
        let told = events(&output, "orphaned_sidecar");
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0]["level"], &told[0]["path"]), (&"warn".into(), &sidecar.to_str().unwrap().into()));
        let dry = out(&place.once(&[SIDECAR, &["--dry-run"]].concat()));
        assert!(dry.contains("a.csv.ok (orphaned sidecar"), "{dry}");
        tick();
        place.stage("a.csv", csv(1, 2_000));
        for _ in 0..2 {
            assert_eq!(waiting(&place, &[]).0, [HELD]);
        }
        let dry = out(&place.once(&[SIDECAR, &["--dry-run"]].concat()));
        assert!(dry.contains(HELD), "{dry}");
        // The rest arrives, and a new sidecar.
        place.stage("a.csv", csv(1, 5_000));
        assert_eq!(waiting(&place, &[]).0, [HELD]);
        tick();
        place.stage("a.csv.ok", marker);
        std::fs::File::open(&sidecar).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        assert_eq!(waiting(&place, &[]).0, [""; 0]);
        assert!(place.staged_names().is_empty());
        assert_eq!(place.check_consistent(), 1);
    }
}

/// The same in a daemon, which reports it once.
#[test]
fn a_running_daemon_holds_it_back_too() {
    let place = Place::new();
    place.stage("a.csv.ok", "");
    let daemon = place.start(&[SIDECAR, &["--scan-interval", "50ms"]].concat());
    daemon.wait_for("orphaned_sidecar", 1);
    tick();
    place.stage("a.csv", csv(1, 2_000));
    place.stage("b.csv", csv(2, 500));
    place.stage("b.csv.ok", "");
    daemon.wait_for("file_ingested", 1);
    std::thread::sleep(Duration::from_millis(300));
    let explained = place.subcommand(&["explain", "--mode", "sidecar", place.staging.join("a.csv").to_str().unwrap()]);
    assert!(out(&explained).contains("orphaned sidecar"), "{}", out(&explained));
    assert_eq!(daemon.events("orphaned_sidecar").len(), 1);
    place.stage("a.csv", csv(1, 5_000));
    tick();
    std::fs::remove_file(place.staging.join("a.csv.ok")).unwrap();
    place.stage("a.csv.ok", "");
    daemon.wait_for("file_ingested", 2);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 2);
}

/// Why: a checksum proves that the file is whole, whichever of the two is older.
#[test]
fn a_sum_releases_whatever_came_first() {
    let place = Place::new();
    place.stage("a.csv.ok", sha256_hex(&csv(1, 5_000)));
    tick();
    place.stage("a.csv", csv(1, 2_000));
    assert_eq!(waiting(&place, &[]).0, ["a.csv (sidecar has another SHA-256)"]);
    place.stage("a.csv", csv(1, 5_000));
    assert_eq!(waiting(&place, &[]).0, [""; 0]);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: these must still work: old times, and files that are written under another name before their sidecar and renamed
/// after it.
#[test]
fn the_orders_in_which_upstreams_send() {
    let place = Place::new();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    // `cp -p`: the sidecar's mtime is years old.
    place.stage("old.csv", csv(1, 300));
    tick();
    place.stage("old.csv.ok", "");
    std::fs::File::options().write(true).open(place.staging.join("old.csv.ok")).unwrap().set_modified(old).unwrap();
    // A temporary name, and a rename when the file is complete.
    place.stage("late.csv.part", csv(2, 300));
    tick();
    place.stage("late.csv.ok", "");
    let daemon = place.start(&[SIDECAR, &["--scan-interval", "50ms"]].concat());
    daemon.wait_for("file_ingested", 1);
    tick();
    std::fs::rename(place.staging.join("late.csv.part"), place.staging.join("late.csv")).unwrap();
    daemon.wait_for("file_ingested", 2);
    // Both at once, by rename, and the sidecar first.
    place.stage(".moved.csv", csv(3, 300));
    tick();
    place.stage(".moved.csv.ok", "");
    for name in ["moved.csv.ok", "moved.csv"] {
        std::fs::rename(place.staging.join(format!(".{name}")), place.staging.join(name)).unwrap();
    }
    daemon.wait_for("file_ingested", 3);
    wait_until("nothing is left", || place.staged_names().is_empty());
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 3);
}

/// Why: `explain` must also answer for a sidecar.
#[test]
fn explain_tells_of_orphans() {
    let place = Place::new();
    place.once_ok(SIDECAR);
    let sidecar = place.stage("a.csv.ok", "");
    let explain =
        |path: &std::path::Path| out(&place.subcommand(&["explain", "--mode", "sidecar", path.to_str().unwrap()]));
    assert!(explain(&sidecar).contains("orphaned sidecar: a.csv is not there"), "{}", explain(&sidecar));
    tick();
    let file = place.stage("a.csv", csv(1, 300));
    assert!(explain(&file).contains("WAITING: orphaned sidecar"), "{}", explain(&file));
    assert!(explain(&sidecar).contains("it is the sidecar of a.csv"), "{}", explain(&sidecar));
}
