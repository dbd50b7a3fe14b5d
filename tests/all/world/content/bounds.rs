//! Files that are too young or too large: `--min-age`, `--max-size`.

use std::time::Duration;

use crate::harness::{Place, csv, err, json_lines, out, wait_until};

/// Why: a file that `cp -p` or `rsync -t` brings has an old mtime, and is new all the same.
#[test]
fn a_young_file_waits_whatever_its_mtime_says() {
    let place = Place::new();
    let path = place.stage("a.csv", csv(1, 100));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(7 * 24 * 3600)).unwrap();
    drop(file);
    let output = place.once_ok(&["--min-age", "1h"]);
    assert!(out(&output).contains("a.csv (younger than --min-age)"), "{}", out(&output));
    let told = place.subcommand(&["explain", "--json", "--min-age", "1h", path.to_str().unwrap()]);
    let told = json_lines(&out(&told)).remove(0);
    assert_eq!((&told["status"], &told["summary"]), (&"WAITING".into(), &"younger than --min-age".into()), "{told}");
    let dry = place.command().args(["--dry-run", "--stability-seconds", "0", "--min-age", "1h"]).output().unwrap();
    assert!(out(&dry).contains("WAITING: ") && out(&dry).contains("--min-age"), "{}", out(&dry));
    place.once_ok(&["--min-age", "0s"]);
    assert_eq!(place.check_consistent(), 1);
}

#[test]
fn it_is_ingested_when_it_is_old_enough() {
    let place = Place::new();
    let options = ["--stability-seconds", "0", "--scan-interval", "1h", "--min-age", "6s"];
    let daemon = place.start(&options);
    daemon.wait_started();
    let staged = std::time::Instant::now();
    let path = place.stage("a.csv", csv(1, 100));
    let ask = || json_lines(&out(&place.subcommand(&["explain", "--json", path.to_str().unwrap()]))).remove(0);
    let mut told = ask();
    wait_until("it was seen", || {
        told = ask();
        told["retry_in_seconds"].is_number() || told["status"] != "WAITING"
    });
    assert_eq!(told["summary"], "younger than --min-age", "{told}");
    daemon.wait_for("file_ingested", 1);
    assert!(staged.elapsed() >= Duration::from_millis(5_900), "{:?}", staged.elapsed());
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: a sender that ran away filled the warehouse; in stability mode it was not even noticed, since its file never came
/// to rest.
#[test]
fn a_file_that_is_too_large_stays_and_is_told_while_it_grows() {
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "3600", "--scan-interval", "100ms", "--max-size", "1KiB"]);
    daemon.wait_started();
    let path = place.stage("large.csv", csv(1, 500));
    place.stage("small.csv", csv(2, 1));
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    for _ in 0..3 {
        std::io::Write::write_all(&mut file, &[b'x'; 1_000]).unwrap();
        std::thread::sleep(Duration::from_millis(250));
    }
    let failed = daemon.wait_for("file_failed", 1);
    assert_eq!((failed.len(), &failed[0]["path"]), (1, &path.to_str().unwrap().into()), "{failed:?}");
    assert!(failed[0]["error"].as_str().unwrap().contains("more than --max-size"), "{failed:?}");
    drop(file);
    let told = json_lines(&out(&place.subcommand(&["explain", "--json", path.to_str().unwrap()]))).remove(0);
    assert_eq!(told["summary"], "larger than --max-size", "{told}");
    assert!(daemon.stop().success());
    let output = place.once(&["--max-size", "1KiB"]);
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    assert!(out(&output).contains("large.csv (larger than --max-size)"), "{}", out(&output));
    assert_eq!(place.check_consistent(), 1, "the other one was ingested");
    place.once_ok(&["--max-size", "1MiB"]);
    assert_eq!(place.check_consistent(), 2);
}
