//! Sidecar mode: `foo.csv` is complete once `foo.csv.ok` exists; and the checksums in sidecars.

use std::io::Write;

use super::super::harness::{Place, csv, sha256_hex};
use super::{assert_contents, events, stdout, stop};

const SIDECAR: &[&str] = &["--mode", "sidecar", "--scan-interval", "50ms"];

/// The rule of the mode, in a running daemon: a file without a sidecar is not ingested, however old it is.
#[test]
fn a_file_is_taken_when_its_sidecar_appears() {
    let place = Place::new();
    let daemon = place.start(SIDECAR);
    daemon.wait_started();
    place.stage("a.csv", csv(1, 5_000));
    place.stage("b.csv", csv(2, 5_000));
    place.stage("b.csv.ok", "");
    daemon.wait_for("file_ingested", 1);
    assert_eq!(place.staged_names(), ["a.csv"], "the sidecar goes with its file, and only with that");
    place.stage("a.csv.ok", "");
    daemon.wait_for("file_ingested", 2);
    // A sidecar that is older than its file, with the file's checksum, and a sidecar without a file.
    place.stage("c.csv.ok", sha256_hex(&csv(3, 5_000)));
    place.stage("lonely.csv.ok", "");
    place.stage("c.csv", csv(3, 5_000));
    daemon.wait_for("file_ingested", 3);
    stop(daemon);
    assert_eq!(place.staged_names(), ["lonely.csv.ok"]);
    assert_contents(&place, [csv(1, 5_000), csv(2, 5_000), csv(3, 5_000)]);
    assert_eq!(place.check_consistent(), 3);
}

/// Another suffix; and `--once`, which reports what each file waits for.
#[test]
fn the_ending_of_sidecars_can_be_chosen() {
    let place = Place::new();
    let options = ["--mode", "sidecar", "--sidecar-suffix", ".done"];
    let a = place.stage("a.csv", csv(1, 100));
    place.stage("b.csv", csv(2, 100));
    place.stage("b.csv.done", "");
    let output = place.once_ok(&options);
    assert_eq!(stdout(&output), format!("WAITING: {} (no sidecar)\n", a.display()));
    assert_eq!(place.staged_names(), ["a.csv"]);
    place.stage("a.csv.done", "");
    assert_eq!(stdout(&place.once_ok(&options)), "");
    assert!(place.staged_names().is_empty());
    assert_eq!(place.check_consistent(), 2);
}

/// A right checksum in each format that tools write.
#[test]
fn a_right_checksum_releases_the_file() {
    let place = Place::new();
    let content = |seed: u64| csv(seed, 5_000);
    let sum = |seed: u64| sha256_hex(&content(seed));
    let sidecars = [
        sum(0),
        format!("{}\n", sum(1).to_uppercase()),
        format!("{}  2.csv\n", sum(2)),
        format!("{} *3.csv\n", sum(3)),
        format!("SHA256 (4.csv) = {}\n", sum(4)),
        "made at 12:00, no checksum\n".to_owned(),
    ];
    for (seed, sidecar) in (0..).zip(&sidecars) {
        place.stage(format!("{seed}.csv"), content(seed));
        place.stage(format!("{seed}.csv.ok"), sidecar);
    }
    place.once_ok(SIDECAR);
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    assert_contents(&place, (0..6).map(content));
    assert_eq!(place.check_consistent(), 6);
}

/// A wrong checksum: a truncated transfer must not get into the warehouse, and must be reported; once either the sidecar or
/// the file is corrected, it is ingested.
#[test]
fn a_wrong_checksum_holds_the_file_back_until_it_is_corrected() {
    let place = Place::new();
    let daemon = place.start(SIDECAR);
    daemon.wait_started();
    let right = csv(1, 5_000);
    let path = place.stage("a.csv", &right);
    place.stage("a.csv.ok", format!("{}  a.csv\n", "0".repeat(64)));
    let failed = daemon.wait_for("file_failed", 1).remove(0);
    assert_eq!((&failed["level"], failed["path"].as_str().unwrap()), (&"error".into(), path.to_str().unwrap()));
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains(&sha256_hex(&right)) && error.contains(&"0".repeat(64)), "{error}");
    assert!(failed.as_object().unwrap().contains_key("retry_in"), "{failed}");
    place.stage("marker.csv", csv(2, 100));
    place.stage("marker.csv.ok", "");
    daemon.wait_for("file_ingested", 1);
    assert_eq!(place.staged_names(), ["a.csv", "a.csv.ok"]);
    assert_eq!(daemon.events("file_failed").len(), 1, "said once, not at each scan");
    place.stage("a.csv.ok", sha256_hex(&right));
    daemon.wait_for("file_ingested", 2);

    // The other way round: the file was truncated, the sidecar is right.
    place.stage("b.csv", &csv(3, 5_000)[..2_000]);
    place.stage("b.csv.ok", sha256_hex(&csv(3, 5_000)));
    daemon.wait_for("file_failed", 2);
    place.stage("b.csv", csv(3, 5_000));
    daemon.wait_for("file_ingested", 3);
    stop(daemon);
    assert!(place.staged_names().is_empty());
    assert_contents(&place, [right, csv(2, 100), csv(3, 5_000)]);
    assert_eq!(place.check_consistent(), 3);
}

/// `sha256sum a.csv > a.csv.ok` creates an empty sidecar first, and writes to it when it has read the whole file. Taken for
/// a mere marker, it released a truncated file in spite of its checksum. (Found by a test that wrote a wrong checksum and
/// lost the race.)
#[test]
fn a_sidecar_that_is_being_written_releases_nothing() {
    let place = Place::new();
    let daemon = place.start(SIDECAR);
    daemon.wait_started();
    place.stage("a.csv", csv(1, 5_000));
    let mut sidecar = std::fs::File::create(place.staging.join("a.csv.ok")).unwrap();
    let marker = |seed: u64| {
        place.stage(format!("marker{seed}.csv"), csv(seed, 100));
        place.stage(format!("marker{seed}.csv.ok"), "");
        daemon.wait_for("file_ingested", seed as usize - 1);
    };
    marker(2);
    assert!(place.staging.join("a.csv").exists(), "an empty sidecar that is still open released its file");
    write!(sidecar, "{}", "0".repeat(40)).unwrap();
    marker(3);
    assert!(place.staging.join("a.csv").exists(), "half a checksum released its file");
    writeln!(sidecar, "{}  a.csv", "0".repeat(24)).unwrap();
    drop(sidecar);
    daemon.wait_for("file_failed", 1);
    place.stage("a.csv.ok", sha256_hex(&csv(1, 5_000)));
    daemon.wait_for("file_ingested", 3);
    stop(daemon);
    assert!(place.staged_names().is_empty());
    assert_eq!(place.check_consistent(), 3);
}

/// The same across file systems: a copy with another checksum than the sidecar's does not stay either.
#[test]
fn a_wrong_checksum_leaves_no_copy_behind() {
    let Some((place, _other)) = Place::across_file_systems() else { return };
    place.stage("a.csv", csv(1, 5_000));
    place.stage("a.csv.ok", "0".repeat(64));
    let output = place.once_failing(SIDECAR);
    assert_eq!(events(&output, "file_failed").len(), 1);
    assert!(stdout(&output).contains("sidecar has another SHA-256"), "{}", stdout(&output));
    assert!(super::leftover_copies(&place.warehouse).is_empty());
    assert_eq!(place.staged_names(), ["a.csv", "a.csv.ok"]);
    place.stage("a.csv.ok", sha256_hex(&csv(1, 5_000)));
    place.once_ok(SIDECAR);
    assert!(place.staged_names().is_empty());
    assert_eq!(place.check_consistent(), 1);
}

/// A kept duplicate keeps its sidecar, too. That sidecar must not release a file that is later written under the same name.
#[test]
fn a_used_sidecar_does_not_release_a_successor() {
    let place = Place::new();
    for name in ["a.csv", "b.csv"] {
        place.stage(name, csv(1, 5_000));
        place.stage(format!("{name}.ok"), "");
        place.once_ok(SIDECAR);
    }
    assert_eq!(place.staged_names(), ["b.csv", "b.csv.ok"]);
    // Half of the successor exists; the sidecar is still the old one.
    let path = place.stage("b.csv", csv(2, 2_000));
    for _ in 0..2 {
        let output = place.once_ok(SIDECAR);
        assert_eq!(stdout(&output), format!("WAITING: {} (sidecar was used already)\n", path.display()));
    }
    place.stage("b.csv", csv(2, 5_000));
    place.stage("b.csv.ok", sha256_hex(&csv(2, 5_000)));
    place.once_ok(SIDECAR);
    assert!(place.staged_names().is_empty());
    assert_contents(&place, [csv(1, 5_000), csv(2, 5_000)]);
    assert_eq!(place.check_consistent(), 2);
}

/// The same within one daemon, which remembers sidecars in memory rather than from the journal.
#[test]
fn a_used_sidecar_does_not_release_a_successor_in_a_running_daemon() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 5_000));
    place.stage("a.csv.ok", "");
    let daemon = place.start(SIDECAR);
    daemon.wait_for("file_ingested", 1);
    place.stage("b.csv", csv(1, 5_000));
    place.stage("b.csv.ok", "");
    daemon.wait_for("duplicate_skipped", 1);
    place.stage("b.csv", csv(2, 2_000));
    place.stage("marker.csv", csv(3, 100));
    place.stage("marker.csv.ok", "");
    daemon.wait_for("file_ingested", 2);
    assert_eq!(place.staged_names(), ["b.csv", "b.csv.ok"]);
    place.stage("b.csv", csv(2, 5_000));
    std::fs::remove_file(place.staging.join("b.csv.ok")).unwrap();
    place.stage("b.csv.ok", "");
    daemon.wait_for("file_ingested", 3);
    stop(daemon);
    assert_contents(&place, [csv(1, 5_000), csv(2, 5_000), csv(3, 100)]);
    assert_eq!(place.check_consistent(), 3);
}

/// When a duplicate is removed or moved, so is its sidecar: otherwise it would release the next file of that name.
#[test]
fn the_sidecar_of_a_cleared_duplicate_goes_too() {
    let place = Place::new();
    let elsewhere = place.root.path().join("duplicates");
    let moving = ["--duplicates", "move", "--duplicates-dir", elsewhere.to_str().unwrap()];
    for options in [&[][..], &["--duplicates", "remove"], &moving] {
        place.stage("a.csv", csv(1, 5_000));
        place.stage("a.csv.ok", "");
        place.once_ok(&[SIDECAR, options].concat());
        assert!(place.staged_names().is_empty(), "{:?} with {options:?}", place.staged_names());
    }
    assert_eq!(place.check_consistent(), 1);
}
