//! Files that cannot be ingested as they are: with `--quarantine`, and without it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::bad_input::{as_nobody, chmod};
use super::super::harness::{BINARY, Place, csv, err, has, json_lines, sha256_hex, wait_until};
use super::{assert_contents, count_syncs, events, stdout, stop, traced};

const SIDECAR: &[&str] = &["--mode", "sidecar", "--scan-interval", "50ms"];

fn quarantine(place: &Place) -> PathBuf {
    place.root.path().join("quarantine")
}

/// The files in quarantine, in order of names: each file's name, its content, and its reason.
fn quarantined(place: &Place) -> Vec<(String, Vec<u8>, Value)> {
    let dir = quarantine(place);
    let entries = std::fs::read_dir(&dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let mut paths: Vec<PathBuf> = entries.unwrap_or_default();
    paths.sort();
    let is_reason = |path: &Path| path.to_str().unwrap().ends_with(".reason.json");
    let (reasons, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| is_reason(path));
    assert_eq!(reasons.len(), files.len(), "{files:?}, {reasons:?}");
    let with_reason = |path: PathBuf| {
        let reason = std::fs::read(format!("{}.reason.json", path.display())).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(path).unwrap(), serde_json::from_slice(&reason).unwrap())
    };
    files.into_iter().map(with_reason).collect()
}

/// The purpose of quarantine: a wrong file must not block the name under which a right one is expected, and its reason must
/// be found beside it. The sidecar is removed, so that it does not release the next file.
#[test]
fn a_wrong_checksum_leads_to_quarantine() {
    let place = Place::new();
    let dir = quarantine(&place);
    let daemon = place.start(&[SIDECAR, &["--quarantine", dir.to_str().unwrap()]].concat());
    daemon.wait_started();
    let path = place.stage("a.csv", csv(1, 5_000));
    place.stage("a.csv.ok", sha256_hex(&csv(2, 5_000)));
    let event = daemon.wait_for("file_quarantined", 1).remove(0);
    assert_eq!((&event["path"], &event["reason"]), (&path.to_str().unwrap().into(), &"checksum_differs".into()));
    assert_eq!(event["level"], "error");
    // The right one, under the same name.
    place.stage("a.csv", csv(2, 5_000));
    place.stage("a.csv.ok", sha256_hex(&csv(2, 5_000)));
    daemon.wait_for("file_ingested", 1);
    stop(daemon);
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    assert_contents(&place, [csv(2, 5_000)]);
    let [(name, content, reason)] = &quarantined(&place)[..] else { panic!("{:?}", quarantined(&place)) };
    assert_eq!((Some(dir.join(name).to_str().unwrap()), content), (event["target"].as_str(), &csv(1, 5_000)));
    let end = format!("-{}.csv", reason["ingest_id"]);
    assert!(name.starts_with("a-") && name.ends_with(&end) && name.len() == "a-12345678".len() + end.len(), "{name}");
    assert_eq!((&reason["path"], &reason["reason"]), (&path.to_str().unwrap().into(), &"checksum_differs".into()));
    assert_eq!((&reason["size"], &reason["line"]), (&csv(1, 5_000).len().into(), &Value::Null));
    let error = reason["error"].as_str().unwrap();
    assert!(error.contains(&sha256_hex(&csv(1, 5_000))) && error.contains(&sha256_hex(&csv(2, 5_000))), "{error}");
    let states: Vec<Value> = place.inspect().iter().map(|file| file["state"].clone()).collect();
    assert_eq!(states, ["QUARANTINED", "MANIFESTED"]);
    assert_eq!(place.check_consistent(), 1);
}

/// Without it the file is not moved: it stays, and the log repeats that, with growing delays, for operators who look later.
#[test]
fn without_quarantine_it_stays_and_is_reported_again() {
    let place = Place::new();
    let daemon = place.start(SIDECAR);
    place.stage("a.csv", csv(1, 5_000));
    place.stage("a.csv.ok", sha256_hex(b"something else"));
    let failed = daemon.wait_for("file_failed", 4);
    let delays: Vec<&str> = failed.iter().take(4).map(|event| event["retry_in"].as_str().unwrap()).collect();
    assert_eq!(delays, ["50ms", "100ms", "200ms", "400ms"]);
    // Once corrected, it is ingested without waiting for that delay.
    place.stage("a.csv.ok", sha256_hex(&csv(1, 5_000)));
    daemon.wait_for("file_ingested", 1);
    stop(daemon);
    assert_eq!(place.check_consistent(), 1);
}

/// As from cron: with `--once` there is no second attempt to wait for.
#[test]
fn once_moves_at_the_first_finding() {
    let place = Place::new();
    let dir = quarantine(&place);
    place.stage("a.csv", csv(1, 100));
    place.stage("a.csv.ok", sha256_hex(b"something else"));
    let output = place.once_failing(&["--mode", "sidecar", "--quarantine", dir.to_str().unwrap()]);
    assert_eq!(events(&output, "file_quarantined").len(), 1);
    assert_eq!(quarantined(&place).len(), 1);
    assert!(place.staged_names().is_empty());
}

/// Why: otherwise an unreadable file is retried for ever; but its permissions may be corrected soon, so not at once.
#[test]
fn what_cannot_be_read_goes_after_some_attempts() {
    let place = Place::new();
    let dir = quarantine(&place);
    let mut command = place.command();
    command.args(["--stability-seconds", "0", "--scan-interval", "50ms", "--quarantine"]).arg(&dir);
    let Some(command) = as_nobody(&place, &command) else { return };
    let secret = place.stage("secret.csv", csv(1, 100));
    chmod(&secret, 0o000);
    place.stage("other.csv", csv(2, 100));
    let daemon = place.spawn(command);
    daemon.wait_for("file_ingested", 1);
    daemon.wait_for("file_quarantined", 1);
    assert_eq!(daemon.events("file_failed").len(), 5, "so many attempts come before");
    stop(daemon);
    let [(_, content, reason)] = &quarantined(&place)[..] else { panic!("{:?}", quarantined(&place)) };
    assert_eq!((content, &reason["reason"]), (&csv(1, 100), &"unreadable".into()));
    assert!(reason["error"].as_str().unwrap().contains("Permission denied"), "{reason}");
}

/// Found in a review: an unwritable directory ended the process, and every later start, with `--quarantine` and without; a
/// missing one ended it, too. The file stays, and the others are ingested.
#[test]
fn a_quarantine_that_cannot_be_used_is_no_reason_to_stop() {
    let place = Place::new();
    let dir = quarantine(&place);
    std::fs::create_dir(&dir).unwrap();
    let mut command = place.command();
    command
        .args(["--stability-seconds", "0", "--scan-interval", "50ms", "--validate", "csv", "--quarantine"])
        .arg(&dir);
    let Some(command) = as_nobody(&place, &command) else { return };
    chmod(&dir, 0o555);
    place.stage("bad.csv", "a,b\n1\n");
    let daemon = place.spawn(command);
    let event = daemon.wait_for("file_failed", 2).remove(0);
    let error = event["error"].as_str().unwrap();
    assert!(error.contains("it has 1 columns") && error.contains("Permission denied"), "{error}");
    place.stage_whole("good.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    // Nor may it be searched.
    chmod(&dir, 0o000);
    let before = daemon.events("file_failed").len();
    daemon.wait_for("file_failed", before + 1);
    std::fs::remove_dir(&dir).unwrap();
    daemon.wait_for("file_quarantined", 1);
    stop(daemon);
    assert_eq!((place.staged_names().len(), quarantined(&place).len()), (0, 1));
}

/// Found in a review: the failure of a read had another reason than the rule for quarantine expects.
#[test]
fn a_file_that_the_disk_cannot_read_goes_too() {
    if !has("strace") {
        return;
    }
    let place = Place::new();
    let dir = quarantine(&place);
    let bad = place.stage("bad.csv", csv(1, 1_000));
    place.stage("good.csv", csv(2, 1_000));
    let mut command = place.command();
    command.args(["--stability-seconds", "0", "--scan-interval", "50ms", "--quarantine"]).arg(&dir);
    let options = ["-D", "-qq", "-o", "/dev/null", "-P", bad.to_str().unwrap(), "-e", "inject=pread64:error=EIO"];
    let daemon = place.spawn(traced(&command, &options));
    let event = daemon.wait_for("file_quarantined", 1).remove(0);
    assert_eq!(event["reason"], "unreadable");
    assert_eq!(daemon.events("file_failed").len(), 5);
    stop(daemon);
    assert_eq!((quarantined(&place).len(), place.check_consistent()), (1, 1));
}

/// A program that holds a write lease on a file until its input ends, as Samba does for its clients.
const HOLDER: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";

/// Found in a review: a file with another program's write lease (Samba and NFS servers hold them for their clients) was
/// taken for an unreadable one, and was moved while it was being written.
#[test]
fn somebody_elses_lease_for_writing_is_a_writer() {
    let place = Place::new();
    let dir = quarantine(&place);
    let path = place.stage("a.csv", csv(1, 1_000));
    let mut holder = Command::new("python3")
        .args(["-c", HOLDER])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    let options = ["--stability-seconds", "0", "--scan-interval", "50ms", "--quarantine", dir.to_str().unwrap()];
    let daemon = place.start(&options);
    daemon.wait_started();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(daemon.events("file_failed").len() + daemon.events("file_ingested").len(), 0);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    daemon.wait_for("file_ingested", 1);
    stop(daemon);
}

/// Found in a review: after a crash, `replay` ingested a file that the ingestor would have refused.
#[test]
fn replay_goes_by_what_the_ingestor_was_started_with() {
    let place = Place::new();
    if !killed_while_it_hashes_a_malformed_file(&place, Some) {
        return;
    }
    let output = place.subcommand(&["replay"]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!((place.manifest_lines().len(), quarantined(&place).len()), (0, 1));
}

/// Found in a review: a replay did not begin if the quarantine directory could not be searched. That is no reason not to
/// finish the unfinished files; the file stays, as with a running ingestor.
#[test]
fn replay_goes_on_without_a_quarantine_that_cannot_be_used() {
    let place = Place::new();
    let dir = quarantine(&place);
    std::fs::create_dir(&dir).unwrap();
    if !killed_while_it_hashes_a_malformed_file(&place, |command| as_nobody(&place, &command)) {
        return;
    }
    chmod(&dir, 0o000);
    let mut replay = Command::new(BINARY);
    replay.arg("replay").arg("--state-path").arg(&place.state);
    let output = as_nobody(&place, &replay).unwrap().output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    chmod(&dir, 0o755);
    assert_eq!((place.manifest_lines().len(), quarantined(&place).len()), (0, 0));
    assert_eq!(place.staged_names(), ["large.csv"]);
}

/// Starts an ingestor with `by`, and kills it while it hashes a malformed file; false if that is not possible here.
fn killed_while_it_hashes_a_malformed_file(place: &Place, by: impl FnOnce(Command) -> Option<Command>) -> bool {
    if !has("strace") {
        return false;
    }
    let mut content = csv(1, 20 << 20);
    content.extend_from_slice(b"1,2,3\n");
    let path = place.stage("large.csv", &content);
    let mut command = place.command();
    command
        .args(["--stability-seconds", "0", "--scan-interval", "50ms", "--validate", "csv", "--quarantine"])
        .arg(quarantine(place));
    let Some(command) = by(command) else { return false };
    let slow = "inject=pread64:delay_enter=200000";
    let options = ["-D", "-qq", "-o", "/dev/null", "-P", path.to_str().unwrap(), "-e", slow];
    let daemon = place.spawn(traced(&command, &options));
    daemon.wait_started();
    wait_until("it is being hashed", || place.inspect().iter().any(|file| file["state"] == "DISCOVERED"));
    daemon.kill();
    true
}

/// A malformed file is quarantined with the line of the fault, in both modes of completeness and across file systems.
#[test]
fn malformed_files_go_with_their_line() {
    let place = Place::new();
    let dir = quarantine(&place);
    let options = ["--validate", "csv", "--quarantine", dir.to_str().unwrap()];
    place.stage("a.csv", "id,name\n1,Ada\n2\n3,Cy\n");
    place.stage("b.csv", b"id\n\xff\n");
    place.stage("c.csv", "id\n\"1\n");
    place.stage("good.csv", "id,name\n1,Ada\n");
    let forecast = stdout(&place.once_ok(&[&options[..], &["--dry-run"]].concat()));
    let goes = "malformed, line 3: it has 1 columns, the first record 2; goes to quarantine";
    assert!(forecast.contains(goes), "{forecast}");
    place.once_failing(&options);
    let found: Vec<(String, Value)> = quarantined(&place)
        .into_iter()
        .map(|(_, _, reason)| (reason["error"].as_str().unwrap().to_owned(), reason["line"].clone()))
        .collect();
    let expected = [
        ("it has 1 columns, the first record 2", 3),
        ("it is not UTF-8", 2),
        ("a quote that is opened in this record is never closed", 2),
    ];
    assert_eq!(found, expected.map(|(error, line)| (error.to_owned(), line.into())));
    assert_eq!(place.check_consistent(), 1);
}

/// Quarantine is a rename, as with `--duplicates-dir`: on another file system it would be a copy and a removal.
#[test]
fn quarantine_must_be_a_place_of_its_own() {
    let Some((place, other)) = Place::across_file_systems() else { return };
    place.stage("a.csv", csv(1, 100));
    let inside = place.staging.join("quarantine");
    let warehouse = place.warehouse.join("quarantine");
    for (dir, says) in [(other.path().join("q"), "file system"), (inside, "inside"), (warehouse, "inside")] {
        let output = place.once(&["--quarantine", dir.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("--quarantine") && text.contains(says), "{text}");
        assert!(!dir.exists());
    }
    let output = place.once(&["--validate", "csv", "--malformed", "quarantine"]);
    assert_eq!(output.status.code(), Some(2));
}

/// Many reason files share one sync: an upstream that sends thousands of malformed files must not delay those that send good
/// ones, and a sync of a few milliseconds for each file would.
#[test]
fn many_reasons_share_their_syncs() {
    const MALFORMED: u64 = 1000;
    if !has("strace") {
        return;
    }
    let place = Place::new();
    for seed in 0..MALFORMED {
        place.stage(format!("{seed}.csv"), format!("a,b\n{seed}\n"));
    }
    place.stage("good.csv", csv(1, 100));
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0", "--validate", "csv", "--log-level", "warn", "--quarantine"]);
    command.arg(quarantine(&place));
    let syncs = count_syncs(&place, &command);
    assert!(syncs < MALFORMED / 2, "{syncs} syncs");
    assert_eq!(quarantined(&place).len() as u64, MALFORMED);
    assert_contents(&place, [csv(1, 100)]);
}

/// Each start searches for leftovers: a file that could not be removed at the time must not stay for ever. Files of other
/// ingestors stay.
#[test]
fn unfinished_reasons_are_removed_at_the_start() {
    let place = Place::new();
    let dir = quarantine(&place);
    let options = ["--quarantine", dir.to_str().unwrap()];
    place.once_ok(&options);
    let frames = place.subcommand(&["journal", "inspect", "--frames", "--json"]);
    let segment = json_lines(&String::from_utf8(frames.stdout).unwrap()).remove(0);
    let store = segment["store"].as_str().unwrap_or_else(|| panic!("{segment}"));
    let ours = format!(".csv-ingestor-{store}-17-reason");
    let others = [format!(".csv-ingestor-{}-17-reason", "0".repeat(32)), format!(".csv-ingestor-{store}-x-reason")];
    // Also in the directories of those of staging, but not behind a link.
    let (below, outside) = (dir.join("north/2026"), place.root.path().join("outside"));
    [&below, &outside].iter().for_each(|dir| std::fs::create_dir_all(dir).unwrap());
    std::os::unix::fs::symlink(&outside, dir.join("link")).unwrap();
    for (dir, name) in
        [&dir, &below, &outside].iter().flat_map(|dir| others.iter().chain([&ours]).map(move |it| (dir, it)))
    {
        std::fs::write(dir.join(name), "{").unwrap();
    }
    place.once_ok(&options);
    let left = |dir: &Path| {
        let mut left: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.retain(|name| name.as_encoded_bytes().starts_with(b"."));
        left.sort();
        left
    };
    assert_eq!(
        [left(&dir), left(&below)],
        [&others, &others].map(|names| names.each_ref().map(OsString::from).to_vec())
    );
    assert_eq!(left(&outside).len(), 3, "a link was followed");
}
