//! Directories that the kernel does not let the ingestor watch.

use std::process::Command;

use super::{SCANNING, put};
use crate::harness::{Place, has, skip};

/// How many watches the daemon gets: fewer than there are directories.
const WATCHES: usize = 20;
const DIRS: usize = 60;

/// The daemon in a user namespace of its own, which has a limit of its own.
fn limited(place: &Place) -> Command {
    let inner = place.command();
    let script = format!("echo {WATCHES} > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]);
    command.arg(inner.get_program()).args(inner.get_args()).args(SCANNING);
    command
}

/// Files in directories beyond the limit are found by the scan, and the limit is said once, however many directories it
/// concerns and however often they are tried.
#[test]
fn at_the_watch_limit_the_scan_finds_the_rest_and_it_is_said_once() {
    if !has("unshare") {
        return;
    }
    if !Command::new("unshare").args(["--user", "--map-root-user", "true"]).status().is_ok_and(|it| it.success()) {
        return skip("no user namespaces here");
    }
    let place = Place::new();
    let names = |number: usize| (format!("{number}/a.csv"), format!("{number}/late.csv"));
    for number in 0..DIRS {
        put(&place.staging, &names(number).0, number as u64);
    }
    let daemon = place.spawn(limited(&place));
    daemon.wait_started();
    daemon.wait_for("file_ingested", DIRS);
    for number in (0..DIRS).step_by(10) {
        put(&place.staging, &names(number).1, (DIRS + number) as u64);
    }
    put(&place.staging, "new/b.csv", 1_000);
    daemon.wait_for("file_ingested", DIRS + DIRS / 10 + 1);
    assert_eq!(daemon.events("watch_limit").len(), 1, "{:?}", daemon.events("watch_limit"));
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), DIRS + DIRS / 10 + 1);
}
