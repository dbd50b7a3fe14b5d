//! Changes to the directories while an ingestor works in them.

use std::path::Path;

use super::copy;
use crate::harness::{Daemon, Place, csv, err, has, is_root, sh, wait_until};

const QUICK: [&str; 4] = ["--stability-seconds", "0", "--scan-interval", "100ms"];

fn started() -> (Place, Daemon) {
    let place = Place::new();
    let daemon = place.start(&QUICK);
    daemon.wait_started();
    place.stage("a.csv", csv(1, 100));
    // The log, not the manifest, shows that the file is finished: its line is written earlier.
    let log = place.root.path().join("log.jsonl");
    wait_until("the first file", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("file_ingested")));
    (place, daemon)
}

/// Checks that the daemon ends by itself, names the directory, and ingests nothing more.
#[track_caller]
fn ends(place: &Place, mut daemon: Daemon, dir: &Path) {
    let lines = place.manifest_lines().len();
    place.stage("late.csv", csv(99, 100));
    let mut status = None;
    wait_until("its end", || {
        status = daemon.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
    let log = std::fs::read_to_string(place.root.path().join("log.jsonl")).unwrap();
    assert!(log.contains(&format!("{} was removed or replaced while running", dir.display())), "{log}");
    assert!(place.staged_names().contains(&"late.csv".to_owned()), "it was ingested");
    assert_eq!(place.manifest_lines().len(), lines);
}

/// Why: the state directory of a running ingestor was removed, and it continued for days with a journal that had no name.
#[test]
fn a_state_directory_that_is_removed_ends_it() {
    let (place, daemon) = started();
    let dir = place.state.clone();
    std::fs::remove_dir_all(&dir).unwrap();
    ends(&place, daemon, &dir);
}

/// Why: the same if it is replaced: by a copy, an empty directory, a link, a file; or with another lock.
#[test]
fn a_state_directory_that_is_replaced_ends_it() {
    type Replace = fn(&Path, &Path);
    let replacements: [Replace; 5] = [
        |dir, away| copy(away, dir),
        |dir, _| std::fs::create_dir(dir).unwrap(),
        |dir, _| std::os::unix::fs::symlink("/nowhere", dir).unwrap(),
        |dir, _| std::fs::write(dir, "a file").unwrap(),
        |dir, away| {
            std::fs::rename(away, dir).unwrap();
            std::fs::remove_file(dir.join("LOCK")).unwrap();
            std::fs::write(dir.join("LOCK"), "another\n").unwrap();
        },
    ];
    for replace in replacements {
        let (place, daemon) = started();
        let (dir, away) = (place.state.clone(), place.root.path().join("away"));
        std::fs::rename(&dir, &away).unwrap();
        replace(&dir, &away);
        ends(&place, daemon, &dir);
    }
}

/// Why: the journal of a running ingestor was deleted or restored from a backup, file by file: the lock kept its name, and
/// the next records were written to a file without a name.
#[test]
fn a_journal_that_is_removed_or_replaced_ends_it() {
    for is_replaced in [false, true] {
        let (place, daemon) = started();
        for entry in std::fs::read_dir(&place.state).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("wal-") {
                let copy = path.with_extension("copy");
                std::fs::copy(&path, &copy).unwrap();
                std::fs::remove_file(&path).unwrap();
                if is_replaced {
                    std::fs::rename(copy, &path).unwrap();
                }
            }
        }
        let dir = place.state.clone();
        ends(&place, daemon, &dir);
    }
}

/// Why: it must also be noticed while no file arrives, and not only when a file is lost because of it.
#[test]
fn it_is_noticed_with_nothing_to_do() {
    for of_state in [true, false] {
        let (place, mut daemon) = started();
        let dir = if of_state { &place.state } else { &place.warehouse };
        std::fs::rename(dir, dir.with_extension("away")).unwrap();
        let mut status = None;
        wait_until("its end", || {
            status = daemon.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(1));
    }
}

/// Why: if the warehouse is unmounted while an ingestor runs, no file may be moved below its mount point; likewise for
/// manifests and lines.
#[test]
fn a_warehouse_or_manifests_that_go_away_end_it() {
    for of_warehouse in [true, false] {
        for is_made_anew in [true, false] {
            let (mut place, daemon) = started();
            let dir = if of_warehouse { place.warehouse.clone() } else { place.manifests.clone() };
            let away = place.root.path().join("away");
            std::fs::rename(&dir, &away).unwrap();
            if is_made_anew {
                std::fs::create_dir(&dir).unwrap();
            }
            if !of_warehouse {
                place.manifests = away.clone();
            }
            ends(&place, daemon, &dir);
            let left = std::fs::read_dir(&dir).map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "something was created there");
            let again = place.once(&[]);
            assert_eq!(again.status.code(), Some(if of_warehouse { 2 } else { 0 }), "{}", err(&again));
        }
    }
}

/// Why: the same, with a real disk.
#[test]
fn a_disk_that_is_unmounted_ends_it() {
    if !is_root() || !has("mount") {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(&place.warehouse).unwrap();
    sh("mount", &["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), place.warehouse.as_ref()]);
    let daemon = place.start(&QUICK);
    daemon.wait_started();
    sh("umount", &["-l".as_ref(), place.warehouse.as_ref()]);
    ends(&place, daemon, &place.warehouse);
    assert!(place.warehouse_files().is_empty());
    let output = place.once(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
}
