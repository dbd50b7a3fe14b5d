//! Real upstream tools: rsync, cp, mv.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::harness::{Place, csv, has, sh};
use super::{QUICK, assert_contents, events, stop};

/// Files to send: `PREFIX0.csv` and so on, in a directory of their own.
fn source(place: &Place, prefix: &str, contents: &[Vec<u8>]) -> PathBuf {
    let dir = place.root.path().join(format!("source-{prefix}"));
    std::fs::create_dir_all(&dir).unwrap();
    for (index, content) in contents.iter().enumerate() {
        std::fs::write(dir.join(format!("{prefix}{index}.csv")), content).unwrap();
    }
    dir
}

fn contents(first: u64, count: u64, bytes: usize) -> Vec<Vec<u8>> {
    (first..first + count).map(|seed| csv(seed, bytes)).collect()
}

/// A directory's path in the form by which rsync means the directory's files.
fn inside(dir: &Path) -> String {
    format!("{}/", dir.display())
}

fn spawn(program: &str, arguments: &[&str]) -> Child {
    Command::new(program).args(arguments).stdout(Stdio::null()).spawn().unwrap()
}

#[track_caller]
fn finish(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

/// rsync writes to a hidden temporary name and renames; with `-t` it sets old times.
#[test]
fn rsync() {
    if !has("rsync") {
        return;
    }
    let place = Place::new();
    let sent = contents(0, 10, 50_000);
    let source = source(&place, "rsync", &sent);
    let daemon = place.start(QUICK);
    daemon.wait_started();
    sh("rsync", &["-rt".as_ref(), inside(&source).as_ref(), inside(&place.staging).as_ref()]);
    daemon.wait_for("file_ingested", 10);
    // rsync finds none of them at the destination and sends all of them again.
    sh("rsync", &["-rt".as_ref(), inside(&source).as_ref(), inside(&place.staging).as_ref()]);
    daemon.wait_for("duplicate_skipped", 10);
    stop(daemon);
    assert_contents(&place, sent);
    assert_eq!(place.check_consistent(), 10);
}

/// `rsync --inplace` writes under the final name, for longer than the window.
#[test]
fn rsync_in_place() {
    if !has("rsync") {
        return;
    }
    let place = Place::new();
    let sent = contents(0, 1, 3 << 20);
    let source = source(&place, "inplace", &sent);
    let daemon = place.start(QUICK);
    daemon.wait_started();
    let to = inside(&place.staging);
    finish(spawn("rsync", &["-rt", "--inplace", "--whole-file", "--bwlimit=2000", &inside(&source), &to]));
    daemon.wait_for("file_ingested", 1);
    stop(daemon);
    assert_contents(&place, sent);
    assert_eq!(place.check_consistent(), 1);
}

/// An mtime of 2001: a scan that trusts times would never find the file.
#[test]
fn cp_that_keeps_an_old_mtime() {
    let place = Place::new();
    let sent = contents(0, 2, 50_000);
    let source = source(&place, "cp", &sent);
    sh("touch", &["-d".as_ref(), "2001-09-09T01:46:40Z".as_ref(), source.join("cp0.csv").as_ref()]);
    let daemon = place.start(QUICK);
    daemon.wait_started();
    for name in ["cp1.csv", "cp0.csv"] {
        let ingested = daemon.events("file_ingested").len();
        sh("cp", &["-p".as_ref(), source.join(name).as_ref(), place.staging.as_ref()]);
        daemon.wait_for("file_ingested", ingested + 1);
    }
    stop(daemon);
    let lines = place.manifest_lines();
    assert!(lines.iter().any(|line| line["mtime"] == 1_000_000_000), "{lines:?}");
    assert_contents(&place, sent);
    assert_eq!(place.check_consistent(), 2);
}

/// All at once, from this file system and from another one: each content once, whole.
#[test]
fn several_tools_at_once() {
    let place = Place::new();
    let other = tempfile::Builder::new().prefix("csv-ingestor-test-").tempdir_in("/dev/shm").ok();
    let daemon = place.start(QUICK);
    daemon.wait_started();
    let to = inside(&place.staging);
    let mut sent = Vec::new();
    let mut running = Vec::new();
    let mut prepare = |prefix: &str, first: u64, bytes: usize| {
        let contents = contents(first, 8, bytes);
        let source = source(&place, prefix, &contents);
        sent.extend(contents);
        source
    };
    let here = prepare("here", 100, 30_000);
    let copied = prepare("copied", 200, 300_000);
    let (synced, in_place) = (prepare("synced", 300, 100_000), prepare("inplace", 400, 100_000));
    let away = prepare("away", 500, 300_000);
    let script = "for file in \"$1\"/*; do \"$0\" \"$file\" \"$2\" || exit 1; done";
    let each = |program: &str, from: &Path| spawn("sh", &["-c", script, program, from.to_str().unwrap(), &to]);
    running.push(each("mv", &here));
    running.push(each("cp", &copied));
    if has("rsync") {
        running.push(spawn("rsync", &["-rt", &inside(&synced), &to]));
        running.push(spawn("rsync", &["-r", "--inplace", "--bwlimit=1000", &inside(&in_place), &to]));
    } else {
        running.extend([each("cp", &synced), each("cp", &in_place)]);
    }
    match &other {
        Some(other) => {
            let copy = spawn("cp", &["-r", &inside(&away), other.path().join("away").to_str().unwrap()]);
            finish(copy);
            running.push(each("mv", &other.path().join("away")));
        }
        None => running.push(each("mv", &away)),
    }
    running.into_iter().for_each(finish);
    daemon.wait_for("file_ingested", sent.len());
    stop(daemon);
    assert!(place.staged_names().is_empty());
    assert_eq!(place.check_consistent(), sent.len());
    assert_contents(&place, sent);
}

/// An upstream appends to a file that it sent before, under the same name: the new content is a new file; the first file
/// keeps its name in the warehouse.
#[test]
fn a_name_that_is_sent_again_with_other_content() {
    let place = Place::new();
    let source = source(&place, "again", &contents(0, 1, 50_000));
    let file = source.join("again0.csv");
    let mut sent = contents(0, 1, 50_000);
    let daemon = place.start(QUICK);
    daemon.wait_started();
    for round in 0..3 {
        sh("cp", &[file.as_ref(), place.staging.as_ref()]);
        daemon.wait_for("file_ingested", round + 1);
        let longer = [std::fs::read(&file).unwrap(), csv(round as u64 + 10, 1000)].concat();
        std::fs::write(&file, &longer).unwrap();
        sent.push(longer);
    }
    stop(daemon);
    sent.pop();
    assert_contents(&place, sent);
    assert_eq!(place.check_consistent(), 3);
    let output = place.once_ok(&[]);
    assert!(events(&output, "file_ingested").is_empty());
}
