//! Directories that are moved, removed and replaced while the ingestor works on them, and very many of them.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{SCANNING, WATCHING, put, staged, subdirs};
use crate::harness::{Place, csv, wait_until};

/// How many directories are made at once: each is an event, and the kernel's queue has room for 16,384.
const MANY: usize = 10_000;

/// Why: a directory is moved away while it is listed and its files are moved; nothing may be lost, and nothing may be taken
/// from where it is by then.
#[test]
fn a_directory_is_moved_away_while_it_is_scanned() {
    let place = Place::new();
    let away = place.root.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let done = AtomicBool::new(false);
    let daemon = place.start(SCANNING);
    daemon.wait_started();
    let mut made = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Out of staging, back under another name, and away for good.
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                let _ = std::fs::rename(place.staging.join("d"), away.join("d"));
                let _ = std::fs::rename(away.join("d"), place.staging.join("e"));
                let _ = std::fs::rename(place.staging.join("e"), place.staging.join("d"));
                round += 1;
                std::thread::sleep(std::time::Duration::from_millis(round % 50));
            }
        });
        for seed in 0..200 {
            // Either may find that its directory was just moved.
            let _ = std::fs::create_dir_all(place.staging.join("d/x"));
            let path = place.staging.join(format!("d/x/{seed}.csv"));
            made += usize::from(std::fs::write(path, csv(seed, 3000)).is_ok());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(made > 20, "{made}");
    // Whatever is in staging by now is ingested.
    wait_until("staging is empty", || staged(&place).is_empty());
    assert!(daemon.stop().success());
    place.check_consistent();
    let mut left = 0;
    let mut dirs = vec![away];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => left += 1,
            }
        }
    }
    let ingested = place.manifest_lines().len();
    assert!(ingested + left >= made, "{ingested} ingested, {left} away, {made} written");
}

/// Why: with a link in the place of a directory, a program that follows it takes files from anywhere.
#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    let place = Place::new();
    let outside = place.root.path().join("outside");
    let private = put(&outside, "x/secret.csv", 1);
    put(&place.staging, "d/x/a.csv", 2);
    let daemon = place.start(WATCHING);
    daemon.wait_for("file_ingested", 1);
    std::fs::rename(place.staging.join("d"), place.root.path().join("old")).unwrap();
    symlink(&outside, place.staging.join("d")).unwrap();
    symlink(&outside, place.staging.join("more")).unwrap();
    // Events of the directory that was moved out concern nothing in staging any more.
    put(&place.root.path().join("old"), "x/b.csv", 3);
    put(&outside, "x/a.csv", 4);
    put(&place.staging, "last/c.csv", 5);
    daemon.wait_for("file_ingested", 2);
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(daemon.stop().success());
    let output = place.once_ok(&["--recursive"]);
    assert!(output.status.success());
    assert_eq!(subdirs(&place), ["d/x", "last"]);
    assert!(private.exists() && outside.join("x/a.csv").exists());
    assert!(place.root.path().join("old/x/b.csv").exists());
}

/// Why: a directory that was renamed is watched under its old path, and its files are looked for there.
#[test]
fn files_in_a_renamed_directory_are_found() {
    let place = Place::new();
    put(&place.staging, "d/x/a.csv", 1);
    let daemon = place.start(WATCHING);
    daemon.wait_for("file_ingested", 1);
    std::fs::rename(place.staging.join("d"), place.staging.join("k")).unwrap();
    put(&place.staging, "k/x/b.csv", 2);
    daemon.wait_for("file_ingested", 2);
    std::fs::rename(place.staging.join("k/x"), place.staging.join("k/y")).unwrap();
    std::fs::rename(place.staging.join("k"), place.staging.join("d")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    put(&place.staging, "d/y/c.csv", 3);
    put(&place.staging, "d/d.csv", 4);
    daemon.wait_for("file_ingested", 4);
    assert!(daemon.stop().success());
    assert_eq!(subdirs(&place), ["d", "d/x", "d/y", "k/x"]);
}

/// Why: the kernel drops events when its queue is full. The scan finds what they were about, without waiting for its turn.
#[test]
fn ten_thousand_directories_are_made_at_once() {
    let place = Place::new();
    let daemon = place.start(WATCHING);
    daemon.wait_started();
    for number in 0..MANY {
        let dir = place.staging.join(format!("{}/{number}", number % 100));
        std::fs::create_dir_all(&dir).unwrap();
        if number % 100 == 7 {
            std::fs::write(dir.join("a.csv"), csv(number as u64, 100)).unwrap();
        }
    }
    daemon.wait_for("file_ingested", MANY / 100);
    // And they are watched.
    put(&place.staging, &format!("99/{}/late.csv", MANY - 1), 1_000_000);
    daemon.wait_for("file_ingested", MANY / 100 + 1);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), MANY / 100 + 1);
}
