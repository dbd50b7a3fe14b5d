//! `--sidecar-name`: which sidecar belongs to which file, and sidecars that several files share.

use super::super::harness::{Place, csv, packed, sha256_hex};
use super::{events, stdout, stop};

const STEM: &[&str] = &["--mode", "sidecar", "--sidecar-name", "{stem}.done", "--scan-interval", "50ms"];

/// Each form of template, with `--once`.
#[test]
fn a_template_says_where_the_sidecar_is() {
    for (template, name, sidecar) in [
        ("{name}.done", "a.csv", "a.csv.done"),
        ("{stem}.done", "a.csv", "a.done"),
        ("{stem}.done", "a.2026.csv.gz", "a.2026.done"),
        ("{stem}.done", "a", "a.done"),
        ("done-{name}", "a.csv", "done-a.csv"),
        (".{stem}.complete", "a.csv", ".a.complete"),
    ] {
        let place = Place::new();
        let options = &["--mode", "sidecar", "--sidecar-name", template];
        let path = place.stage(name, packed("id\n1\n"));
        assert_eq!(stdout(&place.once_ok(options)), format!("WAITING: {} (no sidecar)\n", path.display()));
        place.stage(sidecar, "");
        assert_eq!(stdout(&place.once_ok(options)), "", "{template}");
        assert!(place.staged_names().is_empty(), "{template}: {:?}", place.staged_names());
        assert_eq!(place.check_consistent(), 1);
    }
}

/// The event on a shared sidecar is about files that are known already; one for each of several files goes with the last.
#[test]
fn a_daemon_takes_every_file_that_shares_the_sidecar() {
    let place = Place::new();
    let daemon = place.start(&[&STEM[..4], &["--scan-interval", "1h"]].concat());
    daemon.wait_started();
    place.stage("a.csv", csv(1, 1_000));
    place.stage("a.tsv", csv(2, 1_000));
    place.stage("b.csv", csv(3, 1_000));
    place.stage("a.done", "");
    daemon.wait_for("file_ingested", 2);
    // A sidecar that is open releases nothing until it is closed.
    let sidecar = std::fs::File::create(place.staging.join("b.done")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(daemon.events("file_ingested").len(), 2);
    drop(sidecar);
    daemon.wait_for("file_ingested", 3);
    stop(daemon);
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    assert_eq!(place.check_consistent(), 3);
}

/// While one of the files that share it waits, the sidecar stays; it does not release another one under the name of a file
/// that it has released.
#[test]
fn a_shared_sidecar_stays_for_the_file_that_waits() {
    let place = Place::new();
    let daemon = place.start(STEM);
    daemon.wait_started();
    place.stage("a.csv", csv(1, 1_000));
    let waiting = std::fs::File::create(place.staging.join("a.tsv")).unwrap();
    place.stage("a.done", "");
    daemon.wait_for("file_ingested", 1);
    assert_eq!(place.staged_names(), ["a.done", "a.tsv"]);
    place.stage("a.csv", csv(2, 1_000));
    place.stage("marker.csv", csv(3, 1_000));
    place.stage("marker.done", "");
    daemon.wait_for("file_ingested", 2);
    assert_eq!(place.staged_names(), ["a.csv", "a.done", "a.tsv"]);
    std::io::Write::write_all(&mut &waiting, &csv(4, 1_000)).unwrap();
    drop(waiting);
    daemon.wait_for("file_ingested", 3);
    stop(daemon);
    // The new file came after the sidecar, which went with the last one for which it was meant.
    assert_eq!(place.staged_names(), ["a.csv"]);
    assert_eq!(place.check_consistent(), 3);
}

/// A file that comes after a shared sidecar without a checksum is not released by it, nor does it keep it there.
#[test]
fn a_shared_sidecar_releases_nothing_that_came_later() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1_000));
    place.stage("a.done", "");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let late = place.stage("a.tsv", &csv(2, 1_000)[..500]);
    let waits = format!(
        "WAITING: {} (orphaned sidecar: it was there before the file, and holds no checksum)\n",
        late.display()
    );
    assert_eq!(stdout(&place.once_ok(STEM)), waits);
    assert_eq!(place.staged_names(), ["a.tsv"], "its sidecar is still to come");
    assert_eq!(place.check_consistent(), 1);
    // A sidecar without any file.
    let lonely = place.stage("lonely.done", "");
    let output = place.once_ok(STEM);
    let orphan = format!("WAITING: {} (orphaned sidecar: its file is not there)\n", lonely.display());
    assert!(stdout(&output).contains(&orphan), "{}", stdout(&output));
    assert_eq!(events(&output, "orphaned_sidecar").len(), 1);
}

/// The sums of several files in one sidecar: each must match its own.
#[test]
fn sums_in_a_shared_sidecar_are_judged_by_name() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1_000));
    place.stage("a.tsv", csv(2, 1_000));
    let sums =
        |second: u64| format!("{}  a.csv\n{}  a.tsv\n", sha256_hex(&csv(1, 1_000)), sha256_hex(&csv(second, 1_000)));
    place.stage("a.done", sums(3));
    place.once_failing(STEM);
    assert_eq!(place.staged_names(), ["a.done", "a.tsv"]);
    place.stage("a.done", sums(2));
    place.once_ok(STEM);
    assert!(place.staged_names().is_empty());
    assert_eq!(place.check_consistent(), 2);
}

/// A name that is excluded neither waits for a shared sidecar nor keeps it there; and a kept duplicate does keep it.
#[test]
fn only_files_that_may_be_ingested_keep_a_shared_sidecar() {
    let place = Place::new();
    let options = [STEM, &["--exclude", "*.log"]].concat();
    place.stage("a.csv", csv(1, 1_000));
    place.stage("a.log", "x");
    place.stage("a.done", "");
    place.once_ok(&options);
    assert_eq!(place.staged_names(), ["a.log"]);
    place.stage("b.csv", csv(1, 1_000));
    place.stage("b.tsv", csv(2, 1_000));
    place.stage("b.done", "");
    place.once_ok(&options);
    assert_eq!(place.staged_names(), ["a.log", "b.csv", "b.done"], "a kept duplicate, and its sidecar");
    assert_eq!(place.check_consistent(), 2);
}

/// `explain` names the files of a shared sidecar, without and with an ingestor that is asked.
#[test]
fn explain_knows_shared_sidecars() {
    let place = Place::new();
    place.once_ok(STEM);
    let a = place.stage("a.csv", csv(1, 1_000));
    let sidecar = place.stage("lonely.done", "");
    let explain = |options: &[&str]| {
        let paths = [a.to_str().unwrap(), sidecar.to_str().unwrap()];
        stdout(&place.subcommand(&[&["explain"], options, &paths].concat()))
    };
    let check = |text: &str| {
        assert!(text.contains("WAITING: ") && text.contains("sidecar"), "{text}");
        assert!(text.contains("IGNORED: it is an orphaned sidecar: no file with its stem is there"), "{text}");
    };
    check(&explain(&STEM[..4]));
    let daemon = place.start(STEM);
    daemon.wait_started();
    check(&explain(&[]));
    stop(daemon);
    place.stage("lonely.csv", csv(2, 100));
    place.stage("lonely.tsv", csv(3, 100));
    let text = explain(&STEM[..4]);
    assert!(text.contains("IGNORED: it is the sidecar of lonely.csv, lonely.tsv"), "{text}");
}

/// The old option is a spelling of the new one.
#[test]
fn both_options_are_refused() {
    let place = Place::new();
    for command in [&["--sidecar-name", "{name}.ok", "--sidecar-suffix", ".ok"][..], &["--sidecar-name", "{name}"][..]]
    {
        let output = place.once(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("--sidecar-name"), "{message}");
    }
    place.stage("a.csv", csv(1, 100));
    place.stage("a.csv.fin", "");
    let output = place.once_ok(&["--mode", "sidecar", "--sidecar-suffix", ".fin"]);
    assert_eq!(events(&output, "started")[0]["sidecar_name"], "{name}.fin");
    assert_eq!(place.check_consistent(), 1);
}
