//! Directory entries in staging that are no regular files, and regular files that are special.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;

use inotify::{Inotify, WatchMask};

use crate::harness::{Place, csv, has, is_root, sh, skip, snapshot, wait_until};

/// The number of times that a watched path was opened or read since the last call.
fn opened(watch: &mut Inotify) -> usize {
    let mut buffer = [0; 4096];
    match watch.read_events(&mut buffer) {
        Ok(events) => events.count(),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Why: a hostile upstream may put a link to /etc/shadow, a FIFO that blocks or a tape drive that rewinds when it is
/// opened. None of them may be followed, opened or moved.
#[test]
fn what_is_no_regular_file_is_neither_opened_nor_moved() {
    let place = Place::new();
    let outside = place.root.path().join("outside.csv");
    std::fs::write(&outside, csv(1, 100)).unwrap();
    let at = |name: &str| place.staging.join(name);
    symlink(&outside, at("link.csv")).unwrap();
    symlink("missing", at("dangling.csv")).unwrap();
    symlink("loop.csv", at("loop.csv")).unwrap();
    std::fs::create_dir(at("directory.csv")).unwrap();
    std::fs::write(at("directory.csv/inside.csv"), csv(2, 100)).unwrap();
    let socket = UnixListener::bind(at("socket.csv")).unwrap();
    let mut watched = vec![outside.clone(), at("directory.csv"), at("directory.csv/inside.csv")];
    if has("mkfifo") {
        sh("mkfifo", &[at("fifo.csv").as_os_str()]);
        watched.push(at("fifo.csv"));
    }
    if is_root() && has("mknod") {
        let arguments = [at("device.csv").into_os_string(), "c".into(), "1".into(), "5".into()];
        let made = std::process::Command::new("mknod").args(arguments).status().unwrap().success();
        if made {
            assert!(std::fs::symlink_metadata(at("device.csv")).unwrap().file_type().is_char_device());
            watched.push(at("device.csv"));
        } else {
            skip("device nodes cannot be made here");
        }
    }
    let control = place.stage("plain.csv", csv(3, 100));
    let before = snapshot(place.root.path());
    let mut watch = Inotify::init().unwrap();
    for path in &watched {
        watch.watches().add(path, WatchMask::OPEN | WatchMask::ACCESS).unwrap();
    }
    let mut control_watch = Inotify::init().unwrap();
    control_watch.watches().add(&control, WatchMask::OPEN | WatchMask::ACCESS).unwrap();

    for more in [&["--dry-run"][..], &[], &["--duplicates", "remove"]] {
        place.once_ok(more);
    }
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    std::fs::rename(at("link.csv"), at("renamed.csv")).unwrap();
    std::fs::rename(at("renamed.csv"), at("link.csv")).unwrap();
    place.stage("last.csv", csv(4, 100));
    daemon.wait_for("file_ingested", 1);
    assert!(daemon.stop().success());

    assert!(opened(&mut control_watch) > 0, "the watch does not see what it should");
    assert_eq!(opened(&mut watch), 0, "something was opened");
    let after = snapshot(place.root.path());
    for path in watched.iter().chain([&at("link.csv"), &at("dangling.csv"), &at("loop.csv"), &at("socket.csv")]) {
        // Renaming the link changed its ctime.
        let is_same = after.get(path).is_some_and(|now| *now == before[path] || path.ends_with("link.csv"));
        assert!(is_same, "{} was touched", path.display());
    }
    assert_eq!(place.check_consistent(), 2);
    assert!(daemon_left_only(&place, &["directory.csv", "dangling.csv", "link.csv", "loop.csv", "socket.csv"]));
    drop(socket);
}

fn daemon_left_only(place: &Place, names: &[&str]) -> bool {
    let optional = ["fifo.csv", "device.csv"];
    let mut left = place.staged_names();
    left.retain(|name| !optional.contains(&name.as_str()));
    let mut expected: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    expected.sort();
    left == expected
}

/// Why: in sidecar mode the sidecar is opened as well; a link or FIFO there releases nothing.
#[test]
fn a_sidecar_that_is_no_regular_file_releases_nothing() {
    let place = Place::new();
    for (seed, name) in (0..).zip(["a.csv", "b.csv", "c.csv", "d.csv"]) {
        place.stage(name, csv(seed, 100));
    }
    symlink("d.csv.ok", place.staging.join("a.csv.ok")).unwrap();
    std::fs::create_dir(place.staging.join("b.csv.ok")).unwrap();
    if has("mkfifo") {
        sh("mkfifo", &[place.staging.join("c.csv.ok").as_os_str()]);
    }
    place.stage("d.csv.ok", "");
    place.once_ok(&["--mode", "sidecar"]);
    assert_eq!(place.check_consistent(), 1);
    let left: Vec<_> = place.staged_names().into_iter().filter(|name| name.ends_with(".csv")).collect();
    assert_eq!(left, ["a.csv", "b.csv", "c.csv"]);
}

/// Why: an empty file is content too, the same one every time.
#[test]
fn an_empty_file_is_ingested_and_a_second_one_is_a_duplicate() {
    let place = Place::new();
    place.stage("empty.csv", "");
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
    assert_eq!(place.manifest_lines()[0]["size"], 0);
    place.stage("another.csv", "");
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
    assert_eq!(place.staged_names(), ["another.csv"]);
    place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(place.check_consistent(), 1);
}

/// Why: through a second name of the inode, another process could change the file in the warehouse long afterwards.
#[test]
fn a_hard_link_leaves_no_way_into_the_warehouse() {
    let place = Place::new();
    let content = csv(1, 5000);
    let first = place.stage("a.csv", &content);
    std::fs::hard_link(&first, place.staging.join("b.csv")).unwrap();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
    let left = place.staged_names();
    assert!(left == ["a.csv"] || left == ["b.csv"], "{left:?}");
    let left = place.staging.join(&left[0]);
    let inside = place.warehouse_files().into_keys().next().unwrap();
    let (left_stat, inside_stat) = (std::fs::metadata(&left).unwrap(), std::fs::metadata(&inside).unwrap());
    assert_ne!((left_stat.dev(), left_stat.ino()), (inside_stat.dev(), inside_stat.ino()));
    assert_eq!(inside_stat.nlink(), 1);
    assert_eq!((inside_stat.mode(), inside_stat.mtime()), (left_stat.mode(), left_stat.mtime()));

    std::fs::write(&left, "written later").unwrap();
    assert_eq!(std::fs::read(&inside).unwrap(), content);
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 2);
}

/// Why: the second name may be outside of staging, where the ingestor never sees it.
#[test]
fn a_hard_link_outside_of_staging_leaves_no_way_either() {
    let place = Place::new();
    let content = csv(1, 5000);
    let outside = place.root.path().join("outside.csv");
    std::fs::write(&outside, &content).unwrap();
    std::fs::hard_link(&outside, place.staging.join("a.csv")).unwrap();
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 1);
    assert!(place.staged_names().is_empty());
    std::fs::write(&outside, "written later").unwrap();
    assert_eq!(place.warehouse_files().into_values().next().unwrap(), content);
}

/// Why: a daemon finds the names one after the other; the second name must not become a second file.
#[test]
fn a_hard_link_that_comes_later_is_a_duplicate() {
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms", "--duplicates", "remove"]);
    daemon.wait_started();
    let outside = place.root.path().join("outside.csv");
    std::fs::write(&outside, csv(1, 5000)).unwrap();
    for round in 0..5 {
        std::fs::hard_link(&outside, place.staging.join(format!("{round}.csv"))).unwrap();
        wait_until("it is dealt with", || place.staged_names().is_empty());
    }
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
    assert_eq!(std::fs::read(&outside).unwrap(), csv(1, 5000));
    assert_eq!(std::fs::metadata(&outside).unwrap().nlink(), 1);
}

/// Why: a file may be old when it arrives (`cp -p`, `rsync -t`), or come from a machine with a wrong clock.
#[test]
fn times_of_any_age_are_taken_as_they_are() {
    let place = Place::new();
    let second = std::time::Duration::from_secs(1);
    let times = [
        std::time::UNIX_EPOCH,
        std::time::UNIX_EPOCH - second * 86_400,
        std::time::SystemTime::now() + second * 86_400 * 365,
    ];
    for (seed, time) in (0..).zip(times) {
        let path = place.stage(format!("{seed}.csv"), csv(seed, 100));
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 3);
    let mut mtimes: Vec<i64> = place.manifest_lines().iter().map(|line| line["mtime"].as_i64().unwrap()).collect();
    mtimes.sort_unstable();
    assert_eq!(mtimes[..2], [-86_400, 0]);
}
