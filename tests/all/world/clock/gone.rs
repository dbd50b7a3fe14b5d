//! Kept duplicates that are deleted by another process.

use super::{forget_older, lines_of, status};
use crate::harness::{Place, csv, wait_until};

fn kept(place: &Place) -> u64 {
    status(place)["kept_duplicates"].as_u64().unwrap()
}

/// A content in the warehouse, and `count` kept duplicates of it.
fn with_duplicates(count: usize) -> Place {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    for index in 0..count {
        place.stage(format!("kept-{index}.csv"), csv(1, 100));
    }
    place.once_ok(&[]);
    assert_eq!(kept(&place), count as u64);
    place
}

/// Why: they were counted and remembered for ever, and kept their original from expiring in spite of `--remember`.
#[test]
fn a_deleted_duplicate_is_not_kept_any_more() {
    let place = with_duplicates(3);
    std::fs::remove_file(place.staging.join("kept-0.csv")).unwrap();
    place.once_ok(&[]);
    assert_eq!(kept(&place), 2);
    assert!(forget_older(&place).contains("\n1 contents in "), "two still refer to it");
    for index in 1..3 {
        std::fs::remove_file(place.staging.join(format!("kept-{index}.csv"))).unwrap();
    }
    place.once_ok(&[]);
    assert_eq!(kept(&place), 0);
    assert!(forget_older(&place).contains("\n0 contents in "));
    assert_eq!(place.subcommand(&["journal", "verify"]).status.code(), Some(0));
    place.stage("again.csv", csv(1, 100));
    place.once_ok(&[]);
    assert_eq!(lines_of(&place, "again.csv"), 1);
}

/// Why: `status` must report the kept duplicates that are in staging now, beside a daemon that runs for months.
#[test]
fn a_daemon_notices_by_itself() {
    let place = with_duplicates(2);
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    std::fs::remove_file(place.staging.join("kept-1.csv")).unwrap();
    wait_until("one is gone", || kept(&place) == 1);
    place.stage("kept-1.csv", csv(1, 100));
    wait_until("it is back", || kept(&place) == 2);
    std::fs::remove_file(place.staging.join("kept-0.csv")).unwrap();
    std::fs::remove_file(place.staging.join("kept-1.csv")).unwrap();
    wait_until("both are gone", || kept(&place) == 0);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: a renamed duplicate is still in staging. If its original were forgotten, it would become a new file.
#[test]
fn a_duplicate_under_a_name_that_is_not_ingested_is_still_there() {
    let place = with_duplicates(2);
    std::fs::rename(place.staging.join("kept-0.csv"), place.staging.join(".hidden")).unwrap();
    for more in [&[][..], &["--include", "*.txt"], &["--duplicates", "remove", "--include", "*.txt"]] {
        place.once_ok(more);
        assert_eq!(kept(&place), 2, "{more:?}");
    }
    assert!(forget_older(&place).contains("\n1 contents in "));
    std::fs::rename(place.staging.join(".hidden"), place.staging.join("back.csv")).unwrap();
    place.once_ok(&[]);
    assert_eq!(kept(&place), 2);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: with another rule for duplicates they are examined again, and those that are gone stayed in the journal.
#[test]
fn they_go_under_another_rule_too() {
    let place = with_duplicates(3);
    std::fs::remove_file(place.staging.join("kept-0.csv")).unwrap();
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(kept(&place), 0);
    assert!(place.staged_names().is_empty());
}

/// Why: after a reboot a device may have another number; then each duplicate is examined again, and must be recognized as
/// one before its old record stops protecting the original.
#[test]
fn a_copy_in_its_place_is_known_before_the_hold_ends() {
    let place = with_duplicates(1);
    let path = place.staging.join("kept-0.csv");
    let other = place.staging.join(".copy");
    assert!(forget_older(&place).contains("\n1 contents in "));
    std::fs::copy(&path, &other).unwrap();
    std::fs::rename(&other, &path).unwrap();
    place.once_ok(&[]);
    place.once_ok(&[]);
    assert_eq!(kept(&place), 1);
    assert_eq!(place.check_consistent(), 1);
}
