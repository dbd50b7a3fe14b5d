//! `--once`, and properties that it makes easy to check: which files, in which order, under which names.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::super::harness::{Place, csv, sha256_hex};
use super::{assert_contents, stdout};

/// It waits out one window, ingests the staged files, reports which files were left and why, and exits with 0; a file that
/// is still changing is left alone.
#[test]
fn once_takes_what_is_complete_and_reports_the_rest() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 1000));
    place.stage("ignored.tmp", csv(2, 1000));
    let growing = place.stage("growing.csv", "id\n");
    let done = AtomicBool::new(false);
    let (output, took) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut file = std::fs::File::options().append(true).open(&growing).unwrap();
                file.write_all(b"1\n").unwrap();
                drop(file);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let started = Instant::now();
        let output = place.command().args(["--once", "--stability-seconds", "1"]).output().unwrap();
        let took = started.elapsed();
        done.store(true, Ordering::Relaxed);
        (output, took)
    });
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let line = stdout(&output);
    // Whichever of the two signs of a writer is noticed first.
    let reasons = ["not stable yet", "open for writing"];
    let waits = |why| line.starts_with(&format!("WAITING: {} ({why})\nIGNORED: ", growing.display()));
    assert!(reasons.into_iter().any(waits) && line.lines().count() == 2, "{line}");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(place.staged_names(), ["growing.csv", "ignored.tmp"]);
    assert_contents(&place, [csv(1, 1000)]);
    assert_eq!(place.check_consistent(), 1);
}

/// An empty directory is no reason to fail, nor to wait.
#[test]
fn once_with_nothing_to_do() {
    let place = Place::new();
    let output = place.once_ok(&[]);
    assert_eq!(stdout(&output), "");
    assert_eq!(place.check_consistent(), 0);
}

/// `--include` is repeatable, and matches whole names only.
#[test]
fn include_takes_matching_names_only() {
    let place = Place::new();
    let names = ["a.csv", "b.tsv", "c.csv.gz", "d.txt", "e.CSV", "orders-1.dat", "my-orders-1.dat"];
    for (seed, name) in (0..).zip(names) {
        place.stage(name, csv(seed, 100));
    }
    place.once_ok(&["--include", "*.{csv,tsv}", "--include", "orders-?.dat"]);
    assert_eq!(place.staged_names(), ["c.csv.gz", "d.txt", "e.CSV", "my-orders-1.dat"]);
    place.once_ok(&[]);
    assert!(place.staged_names().is_empty());
    assert_eq!(place.check_consistent(), names.len());
}

/// Oldest first: after an outage, files are ingested in the order of their age, and readers that follow ids see that order.
#[test]
fn oldest_files_first() {
    let place = Place::new();
    for index in 0..60_u64 {
        let position = index * 37 % 60;
        let path = place.stage(format!("{position:02}.csv"), csv(position, 200));
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + position);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(mtime).unwrap();
    }
    place.once_ok(&["--concurrency", "1"]);
    let mut lines = place.manifest_lines();
    lines.sort_by_key(|line| line["ingest_id"].as_u64().unwrap());
    let names: Vec<&str> =
        lines.iter().map(|line| line["path"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(names, (0..60).map(|position| format!("{position:02}.csv")).collect::<Vec<_>>());
}

/// Ingests contents one after the other under one name; returns the names that they get. None if midnight passed meanwhile:
/// then no name is taken.
fn names_in_turn(name: &str, contents: &[Vec<u8>]) -> Option<Vec<String>> {
    let place = Place::new();
    for content in contents {
        place.stage(name, content);
        place.once_ok(&[]);
    }
    assert_contents(&place, contents.to_vec());
    assert_eq!(place.check_consistent(), contents.len());
    let mut lines = place.manifest_lines();
    lines.sort_by_key(|line| line["ingest_id"].as_u64().unwrap());
    let paths: Vec<&str> = lines.iter().map(|line| line["warehouse_path"].as_str().unwrap()).collect();
    let split: Vec<(&str, &str)> = paths.iter().map(|path| path.rsplit_once('/').unwrap()).collect();
    let same_day = split.iter().all(|(partition, _)| *partition == split[0].0);
    same_day.then(|| split.iter().map(|(_, name)| (*name).to_owned()).collect())
}

/// If another content already has the name, the new file's name gets digits of the hash; `.csv.gz` stays one extension, so
/// that readers still recognize the format.
#[test]
fn a_taken_name_gets_digits_of_the_hash() {
    let contents = [csv(1, 1000), csv(2, 1000), csv(3, 1000)];
    let digits = |index: usize| sha256_hex(&contents[index])[..8].to_owned();
    for (name, stem, extension) in [("a.csv", "a", ".csv"), ("b.csv.gz", "b", ".csv.gz"), ("plain", "plain", "")] {
        let Some(names) = names_in_turn(name, &contents) else { continue };
        let with_digits = |index| format!("{stem}-{}{extension}", digits(index));
        assert_eq!(names, [name.to_owned(), with_digits(1), with_digits(2)]);
    }
}

/// A file that another process put into the warehouse is never overwritten, nor listed.
#[test]
fn files_of_others_in_the_warehouse_stay() {
    let place = Place::new();
    place.stage("first.csv", csv(1, 100));
    place.once_ok(&[]);
    let partition = super::only_file(&place).parent().unwrap().to_path_buf();
    let digits = sha256_hex(&csv(2, 100));
    let theirs = ["a.csv".to_owned(), format!("a-{}.csv", &digits[..8]), format!("a-{}.csv", &digits[..16])];
    for name in &theirs {
        std::fs::write(partition.join(name), b"theirs\n").unwrap();
    }
    place.stage("a.csv", csv(2, 100));
    place.once_ok(&[]);
    for name in &theirs {
        assert_eq!(std::fs::read(partition.join(name)).unwrap(), b"theirs\n");
        std::fs::remove_file(partition.join(name)).unwrap();
    }
    assert_eq!(place.check_consistent(), 2);
    let ours = partition.join(format!("a-{}.csv", &digits[..32]));
    let midnight_came = place.warehouse_files().keys().any(|path| path.parent().unwrap() != partition);
    assert!(midnight_came || ours.exists());
}

/// One very large file occupies a worker for minutes; with only one worker, all other files would wait for it.
#[test]
fn small_files_do_not_wait_for_a_large_one() {
    const LARGE_BYTES: u64 = 512 << 20;
    let place = Place::new();
    let large = std::fs::File::create(place.staging.join("large.csv")).unwrap();
    large.set_len(LARGE_BYTES).unwrap();
    // The oldest file is first.
    large.set_modified(std::time::UNIX_EPOCH).unwrap();
    drop(large);
    (0..40).for_each(|n| drop(place.stage(format!("small-{n}.csv"), csv(n, 300))));
    place.once_ok(&["--concurrency", "1"]);
    let lines = place.manifest_lines();
    assert_eq!(lines.len(), 41);
    let last = lines.last().unwrap();
    assert!(last["path"].as_str().unwrap().ends_with("large.csv"), "{last}");
}
