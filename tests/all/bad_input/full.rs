//! Full disks: nothing is lost, the log reports it, and the ingestor continues by itself when there is space.
//!
//! The full disks are small tmpfs mounts, so these tests need root.

mod ext4;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::assert_refused;
use crate::harness::{Daemon, Place, csv, err, is_root, skip, snapshot, wait_until};

/// A small file system; unmounted when dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// None (and a message) if that cannot be done.
    pub(crate) fn mount(place: &Place, size: &str) -> Option<Disk> {
        if !is_root() {
            return None;
        }
        let at = place.root.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            skip("nothing can be mounted here");
            return None;
        }
        Some(Disk(at))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file until nothing more fits.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.path("filler")).unwrap();
        let block = [0xaa; 4096];
        while file.write_all(&block).is_ok() {}
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.path("filler")).unwrap();
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test may have left a daemon that still has it open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn start(place: &Place) -> Daemon {
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    daemon
}

/// Checks that the log reports once that the disk is full, and once that there is space again.
#[track_caller]
fn check_events(daemon: &Daemon) {
    let full = daemon.events("disk_full");
    assert_eq!(full[0]["level"], "error");
    assert!(full[0]["error"].as_str().unwrap().contains("No space left"), "{}", full[0]);
    assert_eq!(full.len(), 1, "reported more than once: {full:?}");
    wait_until("disk_has_room", || !daemon.events("disk_has_room").is_empty());
}

/// Why: a full warehouse is the commonest accident; staging must stay unchanged, and no restart may be needed.
#[test]
fn a_full_warehouse_is_waited_for() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "2m") else { return };
    place.warehouse = disk.path("warehouse");
    let daemon = start(&place);
    place.stage("small.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    disk.fill();
    let content = csv(2, 600 << 10);
    let path = place.stage("large.csv", &content);
    let before = snapshot(&place.staging);
    daemon.wait_for("disk_full", 1);
    assert_eq!(snapshot(&place.staging), before);
    assert_eq!(place.warehouse_files().len(), 1);
    assert_eq!(place.manifest_lines().len(), 1);

    disk.make_room();
    daemon.wait_for("file_ingested", 2);
    check_events(&daemon);
    assert!(daemon.stop().success());
    assert!(!path.exists());
    assert_eq!(place.check_consistent(), 2);
    let copies = std::fs::read_dir(place.warehouse.join(".csv-ingestor")).unwrap().flatten();
    let left: usize = copies.map(|store| std::fs::read_dir(store.path()).unwrap().count()).sum();
    assert_eq!(left, 0, "unfinished copies were left");
}

/// Why: a file for which there was no space may turn out to be a duplicate later. If the end were not reported then, the
/// alarm would stay on, and the next full disk would not be reported either.
#[test]
fn a_duplicate_that_found_no_room_ends_it_too() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "2m") else { return };
    place.warehouse = disk.path("warehouse");
    let daemon = start(&place);
    let content = csv(1, 600 << 10);
    place.stage("first.csv", &content);
    daemon.wait_for("file_ingested", 1);
    for round in 1..=2 {
        disk.fill();
        place.stage(format!("again-{round}.csv"), &content);
        daemon.wait_for("disk_full", round);
        disk.make_room();
        daemon.wait_for("duplicate_skipped", round);
        daemon.wait_for("disk_has_room", round);
    }
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: one file that never fits must not stop the others, neither while it is staged nor after its upstream has removed
/// it.
#[test]
fn a_file_that_never_fits_stops_nobody() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "2m") else { return };
    place.warehouse = disk.path("warehouse");
    let daemon = start(&place);
    let huge = place.stage("huge.csv", csv(1, 20 << 20));
    daemon.wait_for("disk_full", 1);
    place.stage("small.csv", csv(2, 100));
    daemon.wait_for("file_ingested", 1);
    assert!(huge.exists());
    std::fs::remove_file(&huge).unwrap();
    place.stage("later.csv", csv(3, 100));
    daemon.wait_for("file_ingested", 2);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 2);
}

/// Why: while one file is too large for the remaining space, SIGTERM must still end the ingestor.
#[test]
fn it_can_be_stopped_while_the_warehouse_is_full() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "2m") else { return };
    place.warehouse = disk.path("warehouse");
    let daemon = start(&place);
    disk.fill();
    place.stage("large.csv", csv(2, 600 << 10));
    daemon.wait_for("disk_full", 1);
    assert!(matches!(daemon.stop().code(), Some(0 | 1)));
    disk.make_room();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: a job must not wait for ever; it ends with 1 and says why, and the next run finishes the work.
#[test]
fn once_ends_with_1_when_the_warehouse_is_full() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "2m") else { return };
    place.warehouse = disk.path("warehouse");
    let content = csv(2, 600 << 10);
    place.stage("large.csv", &content);
    disk.fill();
    // The first start tests the features of the directory's file system, which changes its time.
    assert_refused(&place.once(&[]), 1, &["No space left", "nothing is lost"]);
    let before = snapshot(&place.staging);
    for _ in 0..2 {
        assert_refused(&place.once(&[]), 1, &["No space left", "nothing is lost"]);
        assert_eq!(snapshot(&place.staging), before);
        assert!(place.warehouse_files().is_empty() && place.manifest_lines().is_empty());
    }
    disk.make_room();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: if the manifest's disk is full, the file is already in the warehouse; its line must be written, once and whole. The
/// page with the first line has space for some more, so a line is cut in the middle.
#[test]
fn full_manifests_are_waited_for() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "1m") else { return };
    place.manifests = disk.path("manifests");
    let daemon = start(&place);
    place.stage("first.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    disk.fill();
    for seed in 2..40 {
        place.stage(format!("{seed}.csv"), csv(seed, 100));
    }
    daemon.wait_for("disk_full", 1);
    let reached = daemon.events("file_ingested").len();
    assert!(reached < 39, "{reached}");
    disk.make_room();
    daemon.wait_for("file_ingested", 39);
    check_events(&daemon);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 39);
}

/// Why: the next start must complete a manifest line that was cut in the middle, not write it a second time.
#[test]
fn a_manifest_line_that_a_full_disk_cut_is_completed_at_the_next_start() {
    for kill in [false, true] {
        let mut place = Place::new();
        let Some(disk) = Disk::mount(&place, "1m") else { return };
        place.manifests = disk.path("manifests");
        let mut daemon = start(&place);
        place.stage("first.csv", csv(1, 100));
        daemon.wait_for("file_ingested", 1);
        disk.fill();
        for seed in 2..40 {
            place.stage(format!("{seed}.csv"), csv(seed, 100));
        }
        daemon.wait_for("disk_full", 1);
        daemon.signal(if kill { Signal::KILL } else { Signal::TERM });
        let status = daemon.child.wait().unwrap();
        assert!(kill || status.code() == Some(1), "{status}");
        // Still full: a job reports it and changes nothing.
        assert_refused(&place.once(&[]), 1, &["No space left"]);
        disk.make_room();
        place.once_ok(&[]);
        assert_eq!(place.check_consistent(), 39, "kill: {kill}");
    }
}

/// Why: without space for a journal, nothing can be guaranteed; no work may begin.
#[test]
fn a_start_without_room_for_the_journal_changes_nothing() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "128k") else { return };
    place.state = disk.path("state");
    place.stage("a.csv", csv(1, 100));
    let before = snapshot(&place.staging);
    for more in [&["--once"][..], &[]] {
        let output = place.command().args(more).output().unwrap();
        assert_refused(&output, 1, &["No space left", place.state.to_str().unwrap()]);
        assert_eq!(snapshot(&place.staging), before);
        assert!(!place.warehouse.exists() && !place.manifests.exists());
    }
    disk.grow("4m");
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
}

/// Stages files until the journal's disk is full; returns how many.
fn fill_the_journal(place: &Place, daemon: &Daemon) -> usize {
    for count in 1..500 {
        place.stage(format!("{count}.csv"), csv(count as u64, 100));
        wait_until("it is ingested, or the disk is full", || {
            daemon.events("file_ingested").len() >= count || !daemon.events("disk_full").is_empty()
        });
        if !daemon.events("disk_full").is_empty() {
            return count;
        }
    }
    panic!("the journal never grew");
}

/// Why: while the journal cannot grow, nothing may be done that it does not record; when there is space, work continues
/// where it stopped.
#[test]
fn a_journal_that_cannot_grow_is_waited_for() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "600k") else { return };
    place.state = disk.path("state");
    let daemon = start(&place);
    let count = fill_the_journal(&place, &daemon);
    // More files arrive meanwhile, and are kept.
    for seed in 1..20 {
        place.stage(format!("more-{seed}.csv"), csv(1000 + seed, 100));
    }
    std::thread::sleep(std::time::Duration::from_millis(2500));
    disk.grow("16m");
    daemon.wait_for("file_ingested", count + 19);
    check_events(&daemon);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), count + 19);
    check_no_leftovers(&place.state);
}

/// Why: if the ingestor is killed or stopped at that moment, the next start must find an intact journal.
#[test]
fn a_journal_that_could_not_grow_is_whole_at_the_next_start() {
    for kill in [false, true] {
        let mut place = Place::new();
        let Some(disk) = Disk::mount(&place, "600k") else { return };
        place.state = disk.path("state");
        let mut daemon = start(&place);
        let count = fill_the_journal(&place, &daemon);
        daemon.signal(if kill { Signal::KILL } else { Signal::TERM });
        let status = daemon.child.wait().unwrap();
        assert!(kill || matches!(status.code(), Some(0 | 1)), "{status}");
        disk.grow("16m");
        let output = place.once_ok(&[]);
        assert_eq!(place.check_consistent(), count, "kill: {kill}: {}", err(&output));
        check_no_leftovers(&place.state);
    }
}

#[track_caller]
fn check_no_leftovers(state: &Path) {
    let names = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| name.ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}
