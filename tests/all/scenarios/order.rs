//! `--order`: what one scan finds complete is listed in order, and of equal files the first is ingested.

use std::time::{Duration, SystemTime};

use super::super::harness::{Daemon, Place, csv, sha256_hex, wait_until};
use super::{contents, events, stdout, stop};

/// The names in the manifests, in the order of their lines; ingest ids must ascend.
#[track_caller]
fn listed(place: &Place) -> Vec<String> {
    let lines = place.manifest_lines();
    let ids: Vec<u64> = lines.iter().map(|line| line["ingest_id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    lines.iter().map(|line| line["path"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()).collect()
}

/// Writes a file that was changed so many seconds ago.
fn stage_aged(place: &Place, name: &str, content: impl AsRef<[u8]>, seconds: u64) {
    let file = std::fs::File::options().write(true).open(place.stage(name, content)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

/// Many small files, a few large ones between them, and four threads; lines in the order of names, and of equal files the
/// first one's.
#[test]
fn ten_thousand_files_are_listed_in_the_order_of_their_names() {
    const FILES: u64 = 10_000;
    let place = Place::new();
    // Written in another order, with mtimes of that order.
    for n in (0..FILES).map(|n| n * 7_919 % FILES) {
        let bytes = if n % 2_500 == 13 { 3 << 20 } else { 20 + (n as usize * 37) % 300 };
        // Every 100th has the content of the one before.
        place.stage(
            format!("{n:05}.csv"),
            csv(if n % 100 == 99 { n - 1 } else { n }, if n % 100 >= 98 { 40 } else { bytes }),
        );
    }
    place.once_ok(&["--order", "name", "--concurrency", "4"]);
    let names: Vec<String> = (0..FILES).filter(|n| n % 100 != 99).map(|n| format!("{n:05}.csv")).collect();
    assert!(listed(&place) == names);
    assert_eq!(place.staged_names().len(), 100, "duplicates stay");
    assert_eq!(place.check_consistent(), names.len());
}

/// With a window, nothing is handed out before all are known to be complete.
#[test]
fn the_oldest_comes_first_also_with_a_window() {
    for window in ["0", "0.3"] {
        let place = Place::new();
        for (n, name) in (0..600_u64).map(|n| (n, format!("{}.csv", n * 7 % 600))) {
            stage_aged(&place, &name, csv(n, 100), 10_000 - n);
        }
        // Of two with one mtime the name decides.
        let same = std::fs::metadata(place.staging.join("0.csv")).unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(place.stage("!.csv", "x\n")).unwrap().set_modified(same).unwrap();
        let options = ["--once", "--order", "oldest", "--concurrency", "4", "--stability-seconds", window];
        assert!(place.command().args(options).status().unwrap().success());
        let names: Vec<String> = (0..600).map(|n| format!("{}.csv", n * 7 % 600)).collect();
        assert_eq!(listed(&place), [vec!["!.csv".to_owned()], names].concat(), "window {window}");
    }
}

/// A large file holds back the small ones that come after it: they are hashed, and listed behind it.
#[test]
fn a_large_file_holds_back_small_ones() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 48 << 20));
    (0..300).for_each(|n| drop(place.stage(format!("b{n:03}.csv"), csv(n + 2, 50))));
    place.once_ok(&["--order", "name", "--concurrency", "4"]);
    let names = listed(&place);
    assert_eq!((names.len(), names[0].as_str()), (301, "a.csv"));
    assert!(names.is_sorted());
}

/// A file that fails gives up its place; the others keep theirs.
#[test]
fn a_file_that_fails_gives_up_its_place() {
    let place = Place::new();
    let options = &["--order", "name", "--mode", "sidecar"];
    for (n, name) in (1..).zip(["a.csv", "b.csv", "c.csv"]) {
        place.stage(name, csv(n, 1_000));
        place.stage(format!("{name}.ok"), "");
    }
    place.stage("a.csv.ok", "0".repeat(64));
    place.once_failing(options);
    assert_eq!(listed(&place), ["b.csv", "c.csv"]);
    place.stage("a.csv.ok", sha256_hex(&csv(1, 1_000)));
    place.once_ok(options);
    assert_eq!(listed(&place), ["b.csv", "c.csv", "a.csv"]);
}

/// Files that arrive together are sorted together, although each is complete at another moment.
#[test]
fn what_arrives_together_is_sorted_together() {
    let place = Place::new();
    let daemon = place.start(&["--order", "name", "--stability-seconds", "0.3", "--scan-interval", "2s"]);
    daemon.wait_started();
    // Just after a scan.
    let scans = || events_of(&daemon);
    wait_until("a scan", || scans() > 0);
    let names: Vec<String> = (0..50).map(|n| format!("{n:02}.csv")).collect();
    for (seed, name) in (0..).zip(names.iter().rev()) {
        place.stage(name, csv(seed, 100));
    }
    daemon.wait_for("file_ingested", 50);
    stop(daemon);
    let (listed, descents) =
        (listed(&place), |names: &[String]| names.windows(2).filter(|two| two[0] > two[1]).count());
    // A scan in between makes two rounds of it.
    assert!(listed.len() == 50 && descents(&listed) <= 1, "{listed:?}");
}

/// The daemon has started to look; a scan without findings is not logged.
fn events_of(daemon: &Daemon) -> usize {
    daemon.events("started").len()
}

/// A file that waits for others to be found says so.
#[test]
fn explain_knows_what_a_complete_file_waits_for() {
    let place = Place::new();
    let daemon = place.start(&["--order", "name", "--stability-seconds", "0", "--scan-interval", "1h"]);
    daemon.wait_started();
    // The end of the first scan hands over what is there; and a busy machine may take long to ask.
    let told = (0..20).any(|seed| {
        let path = place.stage(format!("{seed}.csv"), csv(seed, 100));
        let text = stdout(&place.subcommand(&["explain", path.to_str().unwrap()]));
        text.contains("READY: it is complete, and waits for its turn (--order name)")
    });
    assert!(told);
    daemon.wait_for("file_ingested", 1);
    stop(daemon);
}

/// `--dry-run` names the same original as a real run.
#[test]
fn a_dry_run_knows_the_order() {
    let place = Place::new();
    stage_aged(&place, "a.csv", csv(1, 100), 10);
    stage_aged(&place, "b.csv", csv(1, 100), 1_000);
    for (order, first, second) in [("name", "a.csv", "b.csv"), ("oldest", "b.csv", "a.csv")] {
        let text = stdout(&place.once_ok(&["--dry-run", "--order", order]));
        assert!(text.contains(&format!("READY: {}/{first}", place.staging.display())), "{text}");
        assert!(text.contains(&format!("DUPLICATE: {}/{second}", place.staging.display())), "{text}");
    }
    let output = place.once_ok(&["--order", "oldest"]);
    assert_eq!((listed(&place), contents(&place).len()), (vec!["b.csv".to_owned()], 1));
    assert_eq!(events(&output, "started")[0]["order"], "oldest");
}
