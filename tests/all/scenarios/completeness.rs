//! Which files are ingested, and when: slow copies, temporary names, inotify.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::super::harness::{Place, csv, wait_until};
use super::{QUICK, assert_contents, stop, wait_until_taken};

/// Appends to a staged file like a slow upstream, opening it again for each chunk. Returns the longest time for which the
/// file did not change, and the time of the last write.
fn copy_slowly(place: &Place, content: &[u8], pause: Duration) -> (Duration, SystemTime) {
    let (mut longest, mut last) = (Duration::ZERO, SystemTime::now());
    let mut written = Instant::now();
    let chunk = content.len().div_ceil(6);
    for (index, piece) in content.chunks(chunk).enumerate() {
        if index > 0 {
            std::thread::sleep(pause);
        }
        last = SystemTime::now();
        let path = place.staging.join("slow.csv");
        OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(piece).unwrap();
        if index > 0 {
            longest = longest.max(written.elapsed());
        }
        written = Instant::now();
    }
    (longest, last)
}

/// Ingests a slow copy in `place`. False if this machine paused so long that the copy looked complete too early.
fn slow_copy_is_taken_whole(place: &Place, window: Duration) -> bool {
    let content = csv(1, 300_000);
    let seconds = window.as_secs_f64().to_string();
    let daemon = place.start(&["--stability-seconds", &seconds, "--scan-interval", "50ms"]);
    daemon.wait_started();
    let done = AtomicBool::new(false);
    let (longest, last) = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let mut sizes = Vec::new();
            while !done.load(Ordering::Relaxed) {
                sizes.extend(place.warehouse_files().values().map(Vec::len));
                std::thread::sleep(Duration::from_millis(5));
            }
            sizes
        });
        let written = copy_slowly(place, &content, window / 4);
        if written.0 < window {
            wait_until_taken(place);
            wait_until("the file to be in the warehouse", || !place.warehouse_files().is_empty());
        }
        done.store(true, Ordering::Relaxed);
        let sizes = seen.join().unwrap();
        assert!(written.0 >= window || sizes.iter().all(|size| *size == content.len()), "partial file: {sizes:?}");
        written
    });
    stop(daemon);
    if longest >= window {
        eprintln!("the machine paused for {longest:?}");
        return false;
    }
    assert_contents(place, [content]);
    assert_eq!(place.check_consistent(), 1);
    let found = humantime::parse_rfc3339(place.inspect()[0]["created_at"].as_str().unwrap()).unwrap();
    // The journal's times are whole milliseconds.
    assert!(found + Duration::from_millis(2) >= last + window, "taken too early: {found:?}, written at {last:?}");
    true
}

/// 6.1: a file that is written in chunks, with pauses longer than the scan interval, is not complete before the window
/// after its last write; no reader ever sees a part of it.
#[test]
fn slow_copy() {
    let mut window = Duration::from_secs(1);
    while !slow_copy_is_taken_whole(&Place::new(), window) {
        window *= 2;
    }
}

/// 6.1 and 6.4 together: across file systems, readers could see a part if the copy were written under the final name.
#[test]
fn slow_copy_across_file_systems() {
    let mut window = Duration::from_secs(1);
    while let Some((place, _other)) = Place::across_file_systems()
        && !slow_copy_is_taken_whole(&place, window)
    {
        window *= 2;
    }
}

/// 6.2: temporary and hidden names are ignored, however old; after a rename, the files are ingested.
#[test]
fn temporary_names_are_ignored_until_they_are_renamed() {
    let place = Place::new();
    let daemon = place.start(QUICK);
    daemon.wait_started();
    let temporary = ["a.csv.tmp", "b.csv.part", "c.csv.swp", ".d.csv", ".e.csv.Xy12Zw"];
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| csv(seed, 5_000)).collect();
    for (name, content) in temporary.iter().zip(&contents) {
        place.stage(name, content);
    }
    // When a later file has waited out its window, the others have done so as well.
    place.stage("marker.csv", &contents[5]);
    daemon.wait_for("file_ingested", 1);
    assert_eq!(place.staged_names().len(), temporary.len());
    assert_eq!(place.inspect().len(), 1, "a temporary file was discovered");

    for (name, letter) in temporary.iter().zip(["a", "b", "c", "d", "e"]) {
        std::fs::rename(place.staging.join(name), place.staging.join(format!("{letter}.csv"))).unwrap();
    }
    daemon.wait_for("file_ingested", 6);
    stop(daemon);
    assert_contents(&place, contents);
    assert_eq!(place.check_consistent(), 6);
    let mut sources: Vec<String> =
        place.manifest_lines().iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    sources.sort();
    let expected = ["a", "b", "c", "d", "e", "marker"].map(|stem| place.staging.join(format!("{stem}.csv")));
    assert_eq!(sources, expected.map(|path| path.to_str().unwrap().to_owned()));
}

/// With a long scan interval only inotify finds files in time; without it this would take an hour.
#[test]
fn inotify_finds_files_between_scans() {
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "0.2", "--scan-interval", "1h"]);
    daemon.wait_started();
    place.stage("written.csv", csv(1, 1000));
    daemon.wait_for("file_ingested", 1);
    std::fs::write(place.staging.join("renamed.tmp"), csv(2, 1000)).unwrap();
    std::fs::rename(place.staging.join("renamed.tmp"), place.staging.join("renamed.csv")).unwrap();
    daemon.wait_for("file_ingested", 2);
    // Closed without another write: only the event of the close shows it.
    let held = File::create(place.staging.join("held.csv")).unwrap();
    (&held).write_all(b"id\n1\n").unwrap();
    place.stage("marker.csv", csv(3, 1000));
    daemon.wait_for("file_ingested", 3);
    drop(held);
    daemon.wait_for("file_ingested", 4);
    stop(daemon);
    assert_eq!(place.check_consistent(), 4);
}

/// More files at once than fit into the kernel's event queue (16,384 events by default; a file causes three).
#[test]
fn a_flood_of_files_between_scans_loses_none() {
    const FILES: u64 = 8_000;
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "0.2", "--scan-interval", "1h", "--log-level", "warn"]);
    wait_until("the journal to be there", || place.state.join("LOCK").exists());
    for seed in 0..FILES {
        place.stage(format!("{seed}.csv"), csv(seed, 40));
    }
    wait_until_taken(&place);
    stop(daemon);
    assert_eq!(place.check_consistent() as u64, FILES);
}
