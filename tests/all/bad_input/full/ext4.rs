//! The same on a real, journaled file system: delayed allocation, directories that need blocks, no inodes left. A small
//! ext4 image on a loop device.

use super::{Disk, Place, check_events, check_no_leftovers, csv, fill_the_journal, is_root, start};
use crate::harness::{Daemon, has, skip};
use std::path::Path;
use std::process::Command;

const IMAGE_BYTES: u64 = 12 << 20;

/// An ext4 file system of 12 MiB with that many inodes; None (and a message) if that cannot be done.
fn ext4(place: &Place, inodes: u32) -> Option<Disk> {
    if !is_root() || !has("mkfs.ext4") {
        return None;
    }
    let (image, at) = (place.root.path().join("image"), place.root.path().join("disk"));
    std::fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    std::fs::create_dir(&at).unwrap();
    // -m 0: no blocks are reserved for root, since the tests run as root.
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-N", &inodes.to_string()]).arg(&image).output();
    assert!(made.unwrap().status.success());
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        skip("no loop device can be mounted here");
        return None;
    }
    Some(Disk(at))
}

/// Creates empty files until no inode is left; returns them.
fn use_up_inodes(disk: &Disk) -> Vec<std::path::PathBuf> {
    let names = (0..).map(|number| disk.path(&format!("empty-{number}")));
    names.take_while(|name| std::fs::File::create(name).is_ok()).collect()
}

/// Checks that it continued by itself: each file was ingested once, and another start finds nothing to do.
#[track_caller]
fn check_went_on(place: &Place, daemon: Daemon, files: usize) {
    daemon.wait_for("file_ingested", files);
    check_events(&daemon);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), files);
    assert!(place.staged_names().is_empty());
    check_no_leftovers(&place.state);
    assert_eq!(left_copies(&place.warehouse), 0, "unfinished copies were left");
    let lines = place.manifest_lines();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), files);
    assert!(place.manifest_lines() == lines);
}

fn left_copies(warehouse: &Path) -> usize {
    let stores = std::fs::read_dir(warehouse.join(".csv-ingestor")).unwrap().flatten();
    stores.map(|store| std::fs::read_dir(store.path()).unwrap().count()).sum()
}

/// Why: the warehouse is the directory that fills up; copies are written in pieces, and ext4 accepts writes before it
/// allocates their blocks.
#[test]
fn a_full_warehouse_is_waited_for() {
    let mut place = Place::new();
    let Some(disk) = ext4(&place, 128) else { return };
    place.warehouse = disk.path("warehouse");
    let daemon = start(&place);
    place.stage("small.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    disk.fill();
    place.stage("large.csv", csv(2, 600 << 10));
    place.stage("larger.csv", csv(3, 2 << 20));
    daemon.wait_for("disk_full", 1);
    assert_eq!((place.warehouse_files().len(), place.manifest_lines().len()), (1, 1));
    assert_eq!(place.staged_names(), ["large.csv", "larger.csv"]);
    disk.make_room();
    check_went_on(&place, daemon, 3);
}

/// Why: a disk with free blocks is still full if it has no free inodes.
#[test]
fn a_warehouse_without_inodes_is_waited_for() {
    let mut place = Place::new();
    let Some(disk) = ext4(&place, 64) else { return };
    place.warehouse = disk.path("warehouse");
    let daemon = start(&place);
    place.stage("first.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    let empty = use_up_inodes(&disk);
    for seed in 2..5 {
        place.stage(format!("{seed}.csv"), csv(seed, 100));
    }
    daemon.wait_for("disk_full", 1);
    assert_eq!(place.warehouse_files().len(), 1);
    empty.iter().for_each(|name| std::fs::remove_file(name).unwrap());
    check_went_on(&place, daemon, 4);
}

/// Why: the file is already in the warehouse when there is no block for its line; the line must be written, once and whole.
#[test]
fn full_manifests_are_waited_for() {
    let mut place = Place::new();
    let Some(disk) = ext4(&place, 128) else { return };
    place.manifests = disk.path("manifests");
    let daemon = start(&place);
    place.stage("first.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    disk.fill();
    for seed in 2..40 {
        place.stage(format!("{seed}.csv"), csv(seed, 100));
    }
    daemon.wait_for("disk_full", 1);
    assert!(daemon.events("file_ingested").len() < 39);
    disk.make_room();
    check_went_on(&place, daemon, 39);
}

/// Why: while the journal cannot grow, nothing may be done that it does not record.
#[test]
fn a_journal_that_cannot_grow_is_waited_for() {
    let mut place = Place::new();
    let Some(disk) = ext4(&place, 128) else { return };
    place.state = disk.path("state");
    let daemon = start(&place);
    disk.fill();
    let count = fill_the_journal(&place, &daemon);
    for seed in 1..20 {
        place.stage(format!("more-{seed}.csv"), csv(1000 + seed, 100));
    }
    disk.make_room();
    check_went_on(&place, daemon, count + 19);
}

/// Why: with everything on one disk, everything is full at once: no step may leave a state that needs more space to be
/// undone.
#[test]
fn everything_on_one_full_disk_is_waited_for() {
    let mut place = Place::new();
    let Some(disk) = ext4(&place, 1024) else { return };
    place.staging = disk.path("staging");
    place.warehouse = disk.path("warehouse");
    place.manifests = disk.path("manifests");
    place.state = disk.path("state");
    std::fs::create_dir(&place.staging).unwrap();
    let daemon = start(&place);
    place.stage("0.csv", csv(0, 100));
    daemon.wait_for("file_ingested", 1);
    // Their blocks are allocated already; only their names are still hidden. Even a rename may need a block for the
    // directory: a file that gets none is renamed later.
    let hidden = |seed: u64| place.staging.join(format!(".{seed}"));
    let reveal = |seed: &u64| std::fs::rename(hidden(*seed), place.staging.join(format!("f{seed}")));
    for seed in 1..200 {
        std::fs::write(hidden(seed), csv(seed, 100)).unwrap();
    }
    disk.fill();
    let late: Vec<u64> = (1..200).filter(|seed| reveal(seed).is_err()).collect();
    daemon.wait_for("disk_full", 1);
    disk.make_room();
    late.iter().for_each(|seed| reveal(seed).unwrap());
    check_went_on(&place, daemon, 200);
}
