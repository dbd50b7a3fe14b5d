//! A staging directory that cannot be read for a moment.

use std::time::Duration;

use super::super::super::bad_input::{as_nobody, chmod};
use crate::harness::{Place, csv, err, wait_until};

const QUICK: [&str; 4] = ["--stability-seconds", "0.1", "--scan-interval", "50ms"];

/// Why: a recursive change of modes, or a server that is unavailable for a moment, ended the process with "removed or
/// replaced". The failure is reported once and retried, and its end is reported; files that arrived meanwhile are ingested.
#[test]
fn a_moment_without_permission_ends_nothing() {
    // Neither listing nor searching is allowed; no listing; no searching.
    for mode in [0o000, 0o300, 0o600] {
        let place = Place::new();
        let mut command = place.command();
        command.args(QUICK);
        let Some(command) = as_nobody(&place, &command) else { return };
        place.stage_whole("before.csv", csv(1, 100));
        let mut daemon = place.spawn(command);
        daemon.wait_for("file_ingested", 1);
        chmod(&place.staging, mode);
        // Root can still write there, and inotify reports the name.
        let came_meanwhile = rustix::process::geteuid().is_root();
        if came_meanwhile {
            place.stage_whole("meanwhile.csv", csv(2, 100));
        }
        daemon.wait_for("staging_unavailable", 1);
        std::thread::sleep(Duration::from_millis(400));
        assert!(daemon.child.try_wait().unwrap().is_none(), "{mode:o}: it has ended");
        let said = daemon.events("staging_unavailable");
        assert_eq!(said.len(), 1, "{mode:o}: {said:?}");
        assert!(said[0]["error"].as_str().unwrap().contains("Permission denied"), "{said:?}");
        assert!(daemon.events("stat_failed").is_empty(), "{mode:o}: a line for each name");
        chmod(&place.staging, 0o755);
        daemon.wait_for("staging_available", 1);
        place.stage_whole("after.csv", csv(3, 100));
        daemon.wait_for("file_ingested", 2 + usize::from(came_meanwhile));
        assert!(daemon.stop().success());
        assert_eq!(place.check_consistent(), 2 + usize::from(came_meanwhile));
    }
}

/// Why: a file whose window ends at that moment must not be forgotten.
#[test]
fn what_is_due_in_that_moment_is_taken_afterwards() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--stability-seconds", "1", "--scan-interval", "100ms", "--log-level", "debug"]);
    let Some(command) = as_nobody(&place, &command) else { return };
    let daemon = place.spawn(command);
    daemon.wait_started();
    place.stage_whole("a.csv", csv(1, 100));
    std::thread::sleep(Duration::from_millis(300));
    chmod(&place.staging, 0o000);
    daemon.wait_for("staging_unavailable", 1);
    std::thread::sleep(Duration::from_millis(1200));
    chmod(&place.staging, 0o755);
    daemon.wait_for("file_ingested", 1);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: `--once` must end: it tries a few times, and then the error has the reason and the path.
#[test]
fn once_gives_up_and_names_it() {
    let place = Place::new();
    let mut command = place.command();
    // No file can be ingested before the window ends.
    command.args(["--once", "--stability-seconds", "2", "--scan-interval", "50ms"]);
    let Some(mut command) = as_nobody(&place, &command) else { return };
    place.stage_whole("a.csv", csv(1, 100));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    // It has begun when its journal exists.
    wait_until("the journal", || place.state.join("LOCK").exists());
    std::thread::sleep(Duration::from_millis(700));
    chmod(&place.staging, 0o000);
    let output = child.wait_with_output().unwrap();
    chmod(&place.staging, 0o755);
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Permission denied") && said.contains(place.staging.to_str().unwrap()), "{said}");
    assert!(!said.contains("removed or replaced"), "{said}");
}

/// Why: these prove that the watched directory no longer exists, and must still end the process.
#[test]
fn a_directory_that_is_gone_or_another_still_ends_it() {
    for replace in [false, true] {
        let place = Place::new();
        let mut daemon = place.start(&QUICK);
        daemon.wait_started();
        std::thread::sleep(Duration::from_millis(200));
        std::fs::rename(&place.staging, place.root.path().join("away")).unwrap();
        if replace {
            std::fs::create_dir(&place.staging).unwrap();
        } else {
            std::fs::write(&place.staging, "").unwrap();
        }
        wait_until("the end", || daemon.child.try_wait().unwrap().is_some());
        assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
        let failed = daemon.events("failed");
        assert!(failed[0]["error"].as_str().unwrap().contains("removed or replaced"), "{failed:?}");
    }
}
