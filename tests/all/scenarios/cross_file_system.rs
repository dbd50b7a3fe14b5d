//! 6.4: staging and warehouse on two file systems.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::super::harness::{Place, csv, has, is_root, sh, skip};
use super::{QUICK, assert_contents, leftover_copies, only_file, stop};

/// Ingests files across file systems, and checks that they arrive unchanged.
fn files_move_whole(place: &Place) {
    let mtime = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let content = csv(1, 700_000);
    let staged = place.stage("old.csv", &content);
    std::fs::set_permissions(&staged, PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::File::options().write(true).open(&staged).unwrap().set_modified(mtime).unwrap();
    place.once_ok(&[]);

    let arrived = only_file(place);
    let metadata = std::fs::metadata(&arrived).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert_eq!(metadata.modified().unwrap(), mtime);
    assert_eq!(metadata.nlink(), 1);
    assert_eq!(std::fs::read(&arrived).unwrap(), content);
    assert!(!staged.exists());
    assert!(leftover_copies(&place.warehouse).is_empty());
    assert_eq!(place.manifest_lines()[0]["mtime"], 1_000_000_000);
    place.check_consistent();

    // And with a daemon: new files, one of them large, an empty one, and duplicates, whose copies must not stay.
    let daemon = place.start(&[QUICK, &["--duplicates", "remove"]].concat());
    daemon.wait_started();
    place.stage("again.csv", &content);
    place.stage("empty.csv", "");
    for seed in 2..12 {
        place.stage(format!("{seed}.csv"), csv(seed, 20_000));
    }
    let mut big = csv(12, 1000);
    big.resize(20 << 20, b'x');
    place.stage("big.csv", &big);
    daemon.wait_for("file_ingested", 12);
    daemon.wait_for("duplicate_skipped", 1);
    stop(daemon);
    let expected = (2..12).map(|seed| csv(seed, 20_000));
    assert_contents(place, expected.chain([content, Vec::new(), big]));
    assert_eq!(place.check_consistent(), 13);
    assert!(place.staged_names().is_empty());
    assert!(leftover_copies(&place.warehouse).is_empty());
}

/// Where a rename is impossible: copy, sync, rename, and only then is the source removed.
#[test]
fn files_move_to_another_file_system() {
    if let Some((place, _other)) = Place::across_file_systems() {
        files_move_whole(&place);
    }
}

/// A file system of its own in an image file; unmounted when dropped, whatever the result of the test.
struct LoopMount {
    point: PathBuf,
}

impl LoopMount {
    /// None (and a message) if this is not possible (no root, no loop devices).
    fn mount(place: &Place) -> Option<LoopMount> {
        if !is_root() || !has("mkfs.ext4") || !has("mount") {
            return None;
        }
        let (image, point) = (place.root.path().join("image"), place.root.path().join("mounted"));
        std::fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
        std::fs::create_dir(&point).unwrap();
        sh("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()]);
        let mounted = Command::new("mount").args(["-o", "loop"]).args([&image, &point]).output().unwrap();
        if !mounted.status.success() {
            skip(&format!("mount -o loop: {}", String::from_utf8_lossy(&mounted.stderr)));
            return None;
        }
        Some(LoopMount { point })
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let unmounted = |options: &[&str]| {
            Command::new("umount").args(options).arg(&self.point).status().is_ok_and(|status| status.success())
        };
        if !unmounted(&[]) && !unmounted(&["-l"]) {
            eprintln!("{} is still mounted", self.point.display());
        }
    }
}

fn is_mount_point(path: &Path) -> bool {
    std::fs::read(Path::new("/proc/mounts"))
        .unwrap()
        .windows(path.as_os_str().len())
        .any(|at| at == path.as_os_str().as_bytes())
}

/// The warehouse on a second, real file system: ext4, which can lose unsynced writes.
#[test]
fn warehouse_on_a_mounted_file_system() {
    let mut place = Place::new();
    let Some(mount) = LoopMount::mount(&place) else { return };
    assert!(is_mount_point(&mount.point));
    place.warehouse = mount.point.join("warehouse");
    files_move_whole(&place);
}

/// Staging is itself a mount point, with the `lost+found` of a new ext4.
#[test]
fn staging_is_a_mount_point() {
    let mut place = Place::new();
    let Some(mount) = LoopMount::mount(&place) else { return };
    place.staging = mount.point.join("staging");
    std::fs::create_dir(&place.staging).unwrap();
    files_move_whole(&place);

    let daemon_place = Place::new();
    let mut place = daemon_place;
    place.staging = mount.point.clone();
    place.stage("root.csv", csv(100, 1000));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
    assert_eq!(place.staged_names(), ["lost+found", "staging"]);
}
