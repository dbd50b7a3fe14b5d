//! The kernel's limit of inotify watches: a user namespace has one of its own, so nobody else's is touched.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::Instant;

use super::{SCANNING, WATCHING, put, subdirs};
use crate::harness::{Daemon, Place, has, skip, wait_until};

/// Directories below staging that can be watched; staging itself has one more watch.
const ROOM: usize = 3;

/// Sets the limit of a new user namespace, and runs the rest of its arguments there.
const LIMITED: &str = r#"echo "$1" > /proc/sys/user/max_inotify_watches && shift && exec "$@""#;

/// This command where no more than `watches` inotify watches can be had; `None` where no user namespace can be made.
fn limited(command: &Command, watches: usize) -> Option<Command> {
    if !has("unshare") {
        return None;
    }
    let in_namespace = |watches: usize| {
        let mut limited = Command::new("unshare");
        limited.args(["--user", "--map-root-user", "sh", "-c", LIMITED, "sh", &watches.to_string()]);
        limited
    };
    if !in_namespace(watches).arg("true").output().unwrap().status.success() {
        skip("no user namespace with a limit of its own can be made");
        return None;
    }
    let mut limited = in_namespace(watches);
    limited.arg(command.get_program()).args(command.get_args());
    Some(limited)
}

/// A daemon that can watch [`ROOM`] directories below staging.
fn start(place: &Place, options: &[&str]) -> Option<Daemon> {
    let mut command = place.command();
    command.args(options);
    let daemon = place.spawn(limited(&command, 1 + ROOM)?);
    daemon.wait_started();
    Some(daemon)
}

/// The inodes that the daemon watches.
fn watched(daemon: &Daemon) -> BTreeSet<u64> {
    let infos = std::fs::read_dir(format!("/proc/{}/fdinfo", daemon.child.id())).unwrap();
    let texts = infos.filter_map(|info| std::fs::read_to_string(info.unwrap().path()).ok());
    let inode = |line: &str| {
        let text = line.strip_prefix("inotify ")?.split(' ').find_map(|field| field.strip_prefix("ino:"))?;
        Some(u64::from_str_radix(text, 16).unwrap())
    };
    texts.flat_map(|text| text.lines().filter_map(inode).collect::<Vec<_>>()).collect()
}

fn inodes(place: &Place, dirs: &[String]) -> BTreeSet<u64> {
    dirs.iter().map(|dir| std::fs::metadata(place.staging.join(dir)).unwrap().ino()).collect()
}

fn put_in_each(place: &Place, dirs: &[String], name: &str, seed: u64) {
    (seed..).zip(dirs).for_each(|(seed, dir)| drop(put(&place.staging, &format!("{dir}/{name}"), seed)));
}

fn named(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number:02}")).collect()
}

/// Why: each directory without a watch was a reason for another event, and a scan that met the limit took the watches of
/// those that had one.
#[test]
fn at_the_watch_limit_the_scan_finds_the_rest() {
    let place = Place::new();
    let few = named("few-", ROOM);
    put_in_each(&place, &few, "a.csv", 0);
    let Some(daemon) = start(&place, SCANNING) else { return };
    daemon.wait_for("file_ingested", ROOM);
    assert!(daemon.events("watch_limit").is_empty(), "there is a watch for each");
    let top = std::fs::metadata(&place.staging).unwrap().ino();
    let with_top = |dirs: &[String]| &inodes(&place, dirs) | &BTreeSet::from([top]);
    assert_eq!(watched(&daemon), with_top(&few));

    // More directories, some of which come before the others in the listing, and all below the first of them.
    let more = [named("a-", 10), named("z-", 10), vec!["m/n/o".to_owned()]].concat();
    put_in_each(&place, &more, "b.csv", 100);
    daemon.wait_for("file_ingested", ROOM + more.len());
    let told = daemon.wait_for("watch_limit", 1);
    assert_eq!(told[0]["directories"], ROOM, "{told:?}");
    assert_eq!(watched(&daemon), with_top(&few), "those that had a watch have it still");
    put_in_each(&place, &more, "c.csv", 200);
    daemon.wait_for("file_ingested", ROOM + 2 * more.len());

    // Directories go and others come; watches that become free are used.
    few.iter().for_each(|dir| std::fs::remove_dir(place.staging.join(dir)).unwrap());
    put_in_each(&place, &more, "d.csv", 300);
    daemon.wait_for("file_ingested", ROOM + 3 * more.len());
    wait_until("free watches are given to other directories", || watched(&daemon).len() == 1 + ROOM);
    more[..18].iter().for_each(|dir| std::fs::remove_dir(place.staging.join(dir)).unwrap());
    let late = named("late-", 5);
    put_in_each(&place, &late, "e.csv", 400);
    daemon.wait_for("file_ingested", ROOM + 3 * more.len() + late.len());
    assert_eq!(daemon.events("watch_limit").len(), 1, "once");
    assert!(daemon.events("inotify_unavailable").is_empty());
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), ROOM + 3 * more.len() + late.len());
    assert_eq!(subdirs(&place).len(), ROOM + 3 * more.len() + late.len());
}

/// What is watched is seen at once also at the limit, and what a new directory holds, too: a listing follows its name.
#[test]
fn at_the_watch_limit_watched_directories_need_no_scan() {
    let place = Place::new();
    let few = named("few-", ROOM);
    put_in_each(&place, &few, "a.csv", 0);
    let Some(daemon) = start(&place, WATCHING) else { return };
    daemon.wait_for("file_ingested", ROOM);
    let more = named("more-", 4);
    let incoming = place.root.path().join("incoming");
    (10..).zip(&more).for_each(|(seed, dir)| drop(put(&incoming, &format!("{dir}/b.csv"), seed)));
    more.iter().for_each(|dir| std::fs::rename(incoming.join(dir), place.staging.join(dir)).unwrap());
    daemon.wait_for("file_ingested", ROOM + more.len());
    daemon.wait_for("watch_limit", 1);
    put_in_each(&place, &few, "c.csv", 20);
    daemon.wait_for("file_ingested", 2 * ROOM + more.len());
    assert_eq!(daemon.events("watch_limit").len(), 1, "once");
    assert!(daemon.stop().success());
}

/// Why: the pause until the next scan had been chosen when all directories were watched, and may be 200 times as long as
/// that scan took.
#[test]
fn the_scan_does_not_pause_when_a_new_directory_finds_no_watch() {
    /// Files that each scan looks at, so that it takes a while.
    const WAITING: usize = 30_000;
    /// What a scan takes of the time if nothing is missed.
    const SCAN_SHARE: f64 = 1.0 / 200.0;
    let place = Place::new();
    (0..WAITING).for_each(|number| drop(place.stage(format!("{number}.csv"), "")));
    put_in_each(&place, &named("few-", ROOM), "a.csv", 0);
    let textfile = place.root.path().join("metrics.prom");
    let options =
        ["--mode", "sidecar", "--metrics-interval", "100ms", "--metrics-textfile", textfile.to_str().unwrap()];
    let Some(daemon) = start(&place, &[&["--recursive", "--scan-interval", "100ms"], &options[..]].concat()) else {
        return;
    };
    let scan_seconds = || {
        let text = std::fs::read_to_string(&textfile).unwrap_or_default();
        let value =
            |line: &str| line.strip_prefix("csv_ingestor_last_scan_duration_seconds{")?.split(' ').nth(1)?.parse().ok();
        text.lines().find_map(value).unwrap_or(0.0)
    };
    wait_until("the first scan is done", || scan_seconds() > 0.0);
    let pause: f64 = scan_seconds() / SCAN_SHARE;
    let begun = Instant::now();
    let more = named("more-", ROOM);
    more.iter().for_each(|dir| std::fs::create_dir(place.staging.join(dir)).unwrap());
    daemon.wait_for("watch_limit", 1);
    put_in_each(&place, &more, "b.csv", 100);
    more.iter().for_each(|dir| std::fs::write(place.staging.join(dir).join("b.csv.ok"), "").unwrap());
    daemon.wait_for("file_ingested", more.len());
    let took = begun.elapsed().as_secs_f64();
    assert!(took < pause / 2.0, "they were seen after {took:.1} s, with a pause of {pause:.1} s");
    assert!(daemon.stop().success());
}

/// Without any watch, everything is found by the scan, which is said once.
#[test]
fn without_any_watch_the_scan_finds_everything() {
    let place = Place::new();
    put(&place.staging, "d/a.csv", 1);
    let mut command = place.command();
    command.args(SCANNING);
    let Some(command) = limited(&command, 0) else { return };
    let daemon = place.spawn(command);
    daemon.wait_for("file_ingested", 1);
    put(&place.staging, "d/e/b.csv", 2);
    put(&place.staging, "c.csv", 3);
    daemon.wait_for("file_ingested", 3);
    assert_eq!((daemon.events("inotify_unavailable").len(), daemon.events("watch_limit").len()), (1, 0));
    assert!(daemon.stop().success());
}
