//! The specification's scenarios (section 6), and other actions of operators and upstreams, with the real binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compaction;
mod completeness;
mod cross_file_system;
mod duplicates;
mod empty;
mod identity;
mod layout;
mod lifecycle;
mod once;
mod order;
mod quarantine;
mod records;
mod sidecar;
mod sidecar_name;
mod upstreams;
mod validate;
mod writers;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::harness::{Daemon, Place, wait_until};

/// Options of a daemon that scans often and has a short window.
const QUICK: &[&str] = &["--stability-seconds", "0.2", "--scan-interval", "50ms"];

/// The events with that name in a command's log.
fn events(output: &Output, name: &str) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == name).collect()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Waits until no visible file is left in staging.
#[track_caller]
fn wait_until_taken(place: &Place) {
    wait_until("everything to be taken from staging", || place.staged_names().iter().all(|name| name.starts_with('.')));
}

/// Stops the daemon, which must end with success.
#[track_caller]
fn stop(daemon: Daemon) {
    let status = daemon.stop();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// The contents of the warehouse, sorted.
fn contents(place: &Place) -> Vec<Vec<u8>> {
    let mut contents: Vec<Vec<u8>> = place.warehouse_files().into_values().collect();
    contents.sort();
    contents
}

#[track_caller]
fn assert_contents(place: &Place, expected: impl IntoIterator<Item = Vec<u8>>) {
    let mut expected: Vec<Vec<u8>> = expected.into_iter().collect();
    expected.sort();
    let sizes = |files: &[Vec<u8>]| files.iter().map(Vec::len).collect::<Vec<_>>();
    let contents = contents(place);
    assert!(contents == expected, "sizes {:?}, not {:?}", sizes(&contents), sizes(&expected));
}

/// The only file in the warehouse.
#[track_caller]
fn only_file(place: &Place) -> PathBuf {
    let files = place.warehouse_files();
    assert_eq!(files.len(), 1, "{:?}", files.keys());
    files.into_keys().next().unwrap()
}

/// Unfinished copies in the warehouse's private directory.
pub(super) fn leftover_copies(warehouse: &Path) -> Vec<PathBuf> {
    let Ok(stores) = std::fs::read_dir(warehouse.join(".csv-ingestor")) else { return Vec::new() };
    let files = |store: PathBuf| std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    stores.flat_map(|store| files(store.unwrap().path())).collect()
}

/// `command`, run by `strace` with these options.
pub(super) fn traced(command: &Command, options: &[&str]) -> Command {
    let mut traced = Command::new("strace");
    traced.arg("-f").args(options).arg("--").arg(command.get_program()).args(command.get_args());
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        traced.env_remove(name);
    }
    traced.stdin(std::process::Stdio::null());
    traced
}

/// Runs a command under strace; it must succeed. Returns the number of its syncs of any kind.
fn count_syncs(place: &Place, command: &Command) -> u64 {
    let summary = place.root.path().join("summary");
    let options = ["-qq", "--seccomp-bpf", "-c", "-o", summary.to_str().unwrap(), "-e"];
    let traced_calls = "trace=fsync,fdatasync,syncfs,sync,sync_file_range,msync";
    let output = traced(command, &[&options[..], &[traced_calls]].concat()).output().unwrap();
    // Some files may fail, since the test wants that.
    assert!(matches!(output.status.code(), Some(0 | 6)), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = std::fs::read_to_string(summary).unwrap();
    eprintln!("{summary}");
    // % time, seconds, usecs/call, calls, errors (maybe), name
    let calls = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_call = words.last().is_some_and(|name| name.contains("sync"));
        is_call.then(|| words[3].parse::<u64>().unwrap())
    };
    summary.lines().filter_map(calls).sum()
}
