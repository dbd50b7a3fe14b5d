//! Locks of other programs, and those of ingestors.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use csv_ingestor::fs::sim::{Op, SimFs};
use csv_ingestor::pipeline::manifest::{AppendProgress, Manifests};
use rustix::process::Signal;

use crate::harness::{Daemon, PATIENCE, Place, csv, err, has, json_lines, wait_until};

const QUICK: [&str; 4] = ["--stability-seconds", "0", "--scan-interval", "50ms"];

fn flock(path: &Path) -> std::fs::File {
    let file = std::fs::File::open(path).unwrap();
    fs2::FileExt::try_lock_exclusive(&file).unwrap();
    file
}

fn manifests(place: &Place) -> Vec<PathBuf> {
    let found = std::process::Command::new("find").arg(&place.manifests).args(["-name", "manifest.jsonl"]).output();
    String::from_utf8(found.unwrap().stdout).unwrap().lines().map(PathBuf::from).collect()
}

fn lock_of(place: &Place) -> PathBuf {
    place.manifests.join(".csv-ingestor/lock")
}

#[track_caller]
fn started(place: &Place) -> Daemon {
    let daemon = place.start(&QUICK);
    daemon.wait_started();
    place.stage("first.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    daemon
}

/// Why: any reader of a manifest could hold an flock on it, for example to get no half lines. That stopped the ingestion,
/// and SIGTERM.
#[test]
fn a_reader_that_locks_a_manifest_stops_nothing() {
    let place = Place::new();
    let daemon = started(&place);
    let held: Vec<_> = manifests(&place).iter().map(|path| flock(path)).collect();
    assert!(!held.is_empty());
    place.stage("second.csv", csv(2, 100));
    daemon.wait_for("file_ingested", 2);
    // Nor does it stop a recovery.
    daemon.kill();
    place.stage("third.csv", csv(3, 100));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 3);
}

/// Why: an NFS or SMB server holds a lease on a manifest for a client that reads it, and releases it when another process
/// opens the file. That open failed with EAGAIN, which ended the process.
#[test]
fn a_lease_on_a_manifest_is_waited_for() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    place.stage("first.csv", csv(1, 100));
    place.once_ok(&[]);
    let holder = "import fcntl, os, signal, sys\n\
        fd = os.open(sys.argv[1], os.O_RDONLY)\n\
        signal.signal(signal.SIGIO, lambda *_: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK))\n\
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)\n\
        print('leased', flush=True)\n\
        signal.pause()\n\
        sys.stdin.read()\n";
    let manifest = manifests(&place).pop().unwrap();
    let mut command = std::process::Command::new("python3");
    command.args(["-c", holder]).arg(manifest).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(&said, b"leased");
    place.stage("second.csv", csv(2, 100));
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 2);
    drop(child.stdin.take());
    let _ = child.kill();
    child.wait().unwrap();
}

/// Why: upstreams exclude each other with `flock /data/staging command`. It stopped every start with "held by another
/// csv-ingestor".
#[test]
fn a_script_that_locks_a_directory_stops_nothing() {
    let place = Place::new();
    let daemon = started(&place);
    assert!(daemon.stop().success());
    let held = [&place.staging, &place.warehouse, &place.manifests, &place.state].map(|path| flock(path));
    place.stage("second.csv", csv(2, 100));
    place.once_ok(&[]);
    drop(held);
    assert_eq!(place.check_consistent(), 2);
}

/// Why: in a directory that upstreams can write to, they can create any name, also that of a lock file.
#[test]
fn a_name_in_staging_is_no_lock() {
    let place = Place::new();
    for name in [".csv-ingestor", ".csv-ingestor.lock", ".csv-ingestor-lock", "LOCK", ".lock"] {
        std::os::unix::fs::symlink("/nowhere", place.staging.join(name)).unwrap();
    }
    let daemon = started(&place);
    let other = {
        let mut other = Place::new();
        other.staging.clone_from(&place.staging);
        other
    };
    let output = other.once(&[]);
    assert_eq!(output.status.code(), Some(4), "{}", err(&output));
    assert!(err(&output).contains(&format!("pid {})", daemon.child.id())), "{}", err(&output));
    assert!(daemon.stop().success());
}

/// Why: the lock keeps two ingestors from writing into each other's lines, so no other program may be able to hold it.
#[test]
fn the_lock_is_for_those_who_may_write_manifests() {
    for (mode, expected) in [(0o755, 0o600), (0o2775, 0o640)] {
        let place = Place::new();
        std::fs::create_dir(&place.manifests).unwrap();
        std::fs::set_permissions(&place.manifests, std::fs::Permissions::from_mode(mode)).unwrap();
        place.stage("a.csv", csv(1, 100));
        // Under the usual umask.
        let mut command = std::process::Command::new("sh");
        let plain = place.command();
        command.args(["-c", "umask 022; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
        assert!(command.args(["--once", "--stability-seconds", "0"]).status().unwrap().success());
        let lock = std::fs::symlink_metadata(lock_of(&place)).unwrap();
        assert_eq!(lock.permissions().mode() & 0o777, expected);
    }
}

/// Why: whatever process holds the lock, and however long: it is reported, nothing is lost, and the first SIGTERM ends the
/// ingestor.
#[test]
fn a_lock_that_does_not_come_is_told_and_ended_by_sigterm() {
    let place = Place::new();
    let mut daemon = started(&place);
    let held = flock(&lock_of(&place));
    place.stage("second.csv", csv(2, 100));
    let told = daemon.wait_for("manifests_locked", 1);
    assert_eq!(told[0]["pid"], std::process::id());
    assert_eq!(told[0]["path"], lock_of(&place).to_str().unwrap());
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
    assert!(began.elapsed() < PATIENCE / 4);
    let failed = daemon.events("failed").pop().unwrap();
    let pid = format!("(pid {})", std::process::id());
    assert!(failed["error"].as_str().unwrap().contains(&pid), "{failed}");
    // Recovery waits in the same way.
    let mut again = place.start(&QUICK);
    again.wait_for("manifests_locked", 2);
    again.signal(Signal::TERM);
    assert_eq!(again.child.wait().unwrap().code(), Some(1));
    drop(held);
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 2);
}

/// Why: if another ingestor has the lock for a moment, even during a stop, that costs only a moment.
#[test]
fn a_lock_that_comes_is_waited_for() {
    let place = Place::new();
    let mut daemon = started(&place);
    let held = flock(&lock_of(&place));
    place.stage("second.csv", csv(2, 100));
    wait_until("it is in the warehouse", || place.warehouse_files().len() == 2);
    daemon.signal(Signal::TERM);
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(held);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "{:?}", daemon.log());
    assert_eq!(place.check_consistent(), 2);
}

/// Why: if the hidden lock file is deleted, two ingestors must not lock two different files, and neither may wait for ever.
#[test]
fn a_lock_file_that_is_removed_is_made_again() {
    let place = Place::new();
    let daemon = started(&place);
    for seed in 2..6 {
        std::fs::remove_file(lock_of(&place)).unwrap();
        place.stage(format!("{seed}.csv"), csv(seed, 100));
        daemon.wait_for("file_ingested", seed as usize);
        assert!(lock_of(&place).exists());
    }
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 5);
}

/// Why: an ingestor may wait for hours on a full disk, and held the lock for that time, against all other ingestors.
#[test]
fn the_lock_is_not_held_while_a_disk_is_full() {
    let fs = SimFs::new(1);
    let (root, hour) = (Path::new("/manifests"), Path::new("/manifests/2026/01/02/03"));
    fs.upstream().mkdir_all(hour).unwrap();
    fs.upstream().sync();
    let mut manifests = Manifests::new(fs.clone());
    let lines: Vec<Vec<u8>> = (0..40).map(|number| format!("{{\"a\":{number}}}\n").into_bytes()).collect();
    let theirs = b"{\"c\":3}\n";
    fs.inject(csv_ingestor::fs::sim::Fault::short().only(&[Op::WriteAt]).nth(1));
    fs.inject(csv_ingestor::fs::sim::Fault::errno(libc::ENOSPC).only(&[Op::WriteAt]).nth(2));
    let mut progress = AppendProgress::default();
    assert!(manifests.append(root, hour, &lines.concat(), &mut progress).unwrap_err().is_no_space());
    let stopped = Arc::new(AtomicBool::new(false));
    let mut neighbour = Manifests::stopped_by(fs.clone(), stopped.clone());
    stopped.store(true, Ordering::Relaxed);
    neighbour.append(root, hour, theirs, &mut AppendProgress::default()).expect("the lock is free");
    manifests.append(root, hour, &lines.concat(), &mut progress).unwrap();
    let text = fs.upstream().read(hour.join("manifest.jsonl")).unwrap();
    let count = |line: &[u8]| text.split_inclusive(|byte| *byte == b'\n').filter(|found| *found == line).count();
    assert!(lines.iter().all(|line| count(line) == 1) && count(theirs) == 1, "{}", String::from_utf8_lossy(&text));
}

/// Why: it was taken for a lock of an ingestor, and the start was refused with exit code 4.
#[test]
fn two_ingestors_on_one_staging_directory_are_refused_whoever_locks_it_besides() {
    let place = Place::new();
    let daemon = started(&place);
    let held = flock(&place.staging);
    let mut other = Place::new();
    other.staging.clone_from(&place.staging);
    let output = other.once(&[]);
    assert_eq!(output.status.code(), Some(4));
    let failed = json_lines(&err(&output)).pop().unwrap();
    let pid = format!("(pid {})", daemon.child.id());
    assert!(failed["error"].as_str().unwrap().contains(&pid), "the ingestor's, and not the other process's: {failed}");
    drop(held);
    assert!(daemon.stop().success());
}
