//! A clock that is years wrong, in either direction, for a moment or for a while.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::Journal;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::record::Record;
use csv_ingestor::types::{IngestId, Lsn, UnixMillis};

use super::{audit, events, forget_older, lines_of};
use crate::harness::{BINARY, Place, csv, err, out, skip};
use crate::journal_replay::util::{digest, discovered, hashed, moved, settings};

/// The library that gives a program another time. It does not change the monotonic clock, since a wrong clock does not
/// either.
fn faketime() -> Option<PathBuf> {
    let found = ["x86_64", "aarch64"]
        .map(|machine| PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1")));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        skip("libfaketime is not installed");
    }
    found
}

fn at(command: &mut Command, library: &PathBuf, time: &str) {
    command.env("LD_PRELOAD", library).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

fn once_at(place: &Place, library: &PathBuf, time: &str) -> std::process::Output {
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0"]);
    at(&mut command, library, time);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    output
}

fn compact_at(place: &Place, library: &PathBuf, time: &str, remember: &str) -> std::process::Output {
    let mut command = Command::new(BINARY);
    command.args(["journal", "compact", "--remember", remember, "--state-path"]).arg(&place.state);
    at(&mut command, library, time);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    output
}

/// Sends a content again under another name; true if it is still known.
fn is_known(place: &Place, seed: u64, name: &str) -> bool {
    place.stage(name, csv(seed, 100));
    let output = place.once_ok(&["--duplicates", "remove"]);
    !events(&output, "duplicate_skipped").is_empty()
}

/// Why: one compaction while the clock was 20 years ahead (a dead battery, a wrong NTP answer) forgot every content, and for
/// the next 20 years each new content at once.
#[test]
fn one_compaction_with_the_clock_years_ahead_forgets_nothing() {
    let Some(library) = faketime() else { return };
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let output = compact_at(&place, &library, "+20y", "90d");
    assert!(out(&output).contains("forgotten: 0 now, 0 in all"), "{}", out(&output));
    assert!(err(&output).contains("clock_jumped"), "{}", err(&output));
    place.stage("a.csv", csv(1, 100));
    let output = place.once_ok(&["--duplicates", "remove"]);
    let jumped = events(&output, "clock_jumped");
    assert_eq!((jumped.len(), jumped[0]["direction"].as_str()), (1, Some("back")));
    assert!(jumped[0]["newest_record"].as_str() > jumped[0]["now"].as_str(), "{jumped:?}");
    assert_eq!(lines_of(&place, "a.csv"), 1);
    for name in ["b1.csv", "b2.csv", "b3.csv"] {
        place.stage(name, csv(2, 100));
        let output = place.once_ok(&["--duplicates", "remove"]);
        assert!(events(&output, "clock_jumped").is_empty(), "the clock is right, and was");
    }
    assert_eq!(place.check_consistent(), 2);
    assert_eq!(audit(&place).1, Some(0));
    // A right clock is trusted again.
    assert!(forget_older(&place).contains("\n0 contents in "));
    assert!(!is_known(&place, 1, "again.csv"));
    let (summary, code) = audit(&place);
    assert_eq!((summary["forgotten"].as_u64(), code), (Some(2), Some(0)), "{summary}");
}

/// Why: files are also ingested while the clock is ahead; their contents must be known, then and later.
#[test]
fn what_is_ingested_while_the_clock_is_ahead_is_known() {
    let Some(library) = faketime() else { return };
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    place.stage("b.csv", csv(2, 100));
    once_at(&place, &library, "+20y");
    compact_at(&place, &library, "+20y", "90d");
    place.stage("c.csv", csv(3, 100));
    once_at(&place, &library, "+20y");
    compact_at(&place, &library, "+40y", "90d");
    for (seed, name) in [(1, "a2.csv"), (2, "b2.csv"), (3, "c2.csv")] {
        assert!(is_known(&place, seed, name), "{name}");
    }
    compact_at(&place, &library, "+0", "90d");
    for (seed, name) in [(1, "a3.csv"), (2, "b3.csv"), (3, "c3.csv")] {
        assert!(is_known(&place, seed, name), "{name}, with the right clock");
    }
    assert_eq!(place.check_consistent(), 3);
    assert_eq!(audit(&place).1, Some(0));
    // It counts as no older than it is.
    assert!(forget_older(&place).contains("\n0 contents in "));
}

/// Why: a machine without a battery starts in 1970 and gets the time later. The first compaction forgot everything that was
/// ingested until then.
#[test]
fn a_file_that_was_ingested_in_1970_is_as_old_as_it_is() {
    let Some(library) = faketime() else { return };
    for begins_right in [true, false] {
        let place = Place::new();
        if begins_right {
            place.stage("a.csv", csv(1, 100));
            place.once_ok(&[]);
        }
        place.stage("b.csv", csv(2, 100));
        let output = once_at(&place, &library, "@1970-01-02 00:00:00");
        assert_eq!(events(&output, "clock_jumped").len(), usize::from(begins_right));
        assert!(place.manifest_lines().iter().any(|line| line["ingested_at"].as_str().unwrap().starts_with("1970")));
        compact_at(&place, &library, "+0", "90d");
        assert!(is_known(&place, 2, "b2.csv"), "begun with the right time: {begins_right}");
        assert_eq!(audit(&place).1, Some(0));
        assert!(forget_older(&place).contains("\n0 contents in "), "begun with the right time: {begins_right}");
        assert!(!is_known(&place, 2, "b3.csv"));
    }
}

/// Why: an operator may set the clock while the daemon runs, and compacts its journal. The jump is logged once; and the test
/// checks the time of its record.
#[test]
fn a_clock_that_is_set_while_it_runs_is_noticed() {
    let Some(library) = faketime() else { return };
    let place = Place::new();
    let clock = place.root.path().join("clock");
    let set = |time: &str| std::fs::write(&clock, time).unwrap();
    set("+0");
    let mut command = place.command();
    command.args(["--stability-seconds", "0", "--scan-interval", "50ms"]);
    command.env("LD_PRELOAD", &library).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
    let daemon = place.spawn(command);
    daemon.wait_started();
    for (index, time) in ["+0", "+20y", "+20y", "-30y", "+0", "+3d", "+0"].into_iter().enumerate() {
        set(time);
        place.stage(format!("{index}.csv"), csv(index as u64, 100));
        daemon.wait_for("file_ingested", index + 1);
    }
    let jumped = daemon.wait_for("clock_jumped", 5);
    let directions: Vec<&str> = jumped.iter().map(|event| event["direction"].as_str().unwrap()).collect();
    assert_eq!(directions, ["forward", "back", "forward", "forward", "back"]);
    assert!(daemon.stop().success());
    compact_at(&place, &library, "+0", "90d");
    assert_eq!(place.inspect().len(), 7);
    assert_eq!(audit(&place).1, Some(0));
    assert!(forget_older(&place).contains("\n0 contents in "));
}

/// A journal as earlier versions wrote it, after a compaction with the clock years ahead.
fn expired_in_the_old_way(place: &Place) {
    let (mut state, year) = (Index::default(), 365 * 24 * 3_600_000);
    let (mut journal, _) = Journal::open(&RealFs::default(), &place.state, &mut state).unwrap();
    let ahead = UnixMillis(RealFs::default().now().0 + 20 * year);
    journal.append(&[Record::Expired(ahead)]).unwrap();
    journal.shut_down().unwrap();
}

/// Why: such journals exist. The contents that they forgot stay forgotten, but the next start ends the expiry, whatever is
/// read again later.
#[test]
fn an_expiry_without_end_ends_at_the_next_start() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    expired_in_the_old_way(&place);
    // As it was read: an expired content may have been ingested again, and its records must not count as damage.
    place.stage("a2.csv", csv(1, 100));
    place.once_ok(&[]);
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);
    assert_eq!((lines_of(&place, "a2.csv"), lines_of(&place, "b.csv")), (1, 1));
    for round in 0..2 {
        assert!(is_known(&place, 1, "a3.csv") && is_known(&place, 2, "b2.csv"), "round {round}");
        let output = place.subcommand(&["journal", "compact"]);
        assert!(output.status.success(), "{}", err(&output));
    }
    assert_eq!(place.subcommand(&["journal", "verify"]).status.code(), Some(0));
    assert_eq!(audit(&place).1, Some(0), "what was forgotten by the record, and came again, is excused");
}

/// Why: a content that was listed twice because of such an expiry counted as forgotten, so no finding reported it.
#[test]
fn an_audit_finds_what_a_wrong_clock_let_in_twice() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    expired_in_the_old_way(&place);
    place.stage("b.csv", csv(2, 100));
    place.once_ok(&[]);
    assert_eq!(audit(&place).1, Some(0));
    // An earlier version ingested b once more.
    let mut line =
        place.manifest_lines().into_iter().find(|line| line["path"].as_str().unwrap().ends_with("/b.csv")).unwrap();
    let there = PathBuf::from(line["warehouse_path"].as_str().unwrap());
    let second = there.with_file_name("b2.csv");
    std::fs::copy(&there, &second).unwrap();
    let mut files = Vec::new();
    files.extend(walk(&place.manifests));
    let manifest = files.pop().unwrap();
    line["warehouse_path"] = second.to_str().unwrap().into();
    line["ingest_id"] = (line["ingest_id"].as_u64().unwrap() + 1).into();
    line.as_object_mut().unwrap().remove("seq");
    let before = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{before}{line}\n")).unwrap();
    let (summary, code) = audit(&place);
    assert_eq!((summary["findings"]["listed_twice"].as_u64(), code), (Some(1), Some(5)), "{summary}");
}

/// Every manifest below a directory.
fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

/// Why: a quiet weekend of a running process is elapsed time; the same between two processes may be a wrong clock. And once
/// records show that time passes, it counts again, so that `--remember` forgets in the end.
#[test]
fn time_that_a_process_has_seen_pass_counts() {
    let fs = SimFs::new(5);
    let dir = std::path::Path::new("/state");
    let [hour, day] = [3_600, 24 * 3_600].map(Duration::from_secs);
    let open = |state: &mut Index| {
        let (mut journal, _) = Journal::open(&fs, dir, state).unwrap();
        let (records, jumped) = journal.opening(state.clock(), state.expired());
        journal.append_all(state, &records).unwrap();
        (journal, jumped)
    };
    let mut state = Index::default();
    let (mut journal, _) = open(&mut state);
    let records = [settings(), discovered(1, "/in/a"), hashed(Lsn(2), "/warehouse/a"), moved(Lsn(2))];
    journal.append_all(&mut state, &records).unwrap();
    journal.append_all(&mut state, &[Record::Manifested(IngestId(2))]).unwrap();
    let is_known = |state: &Index| state.original(&digest(2).into()).unwrap().is_some();
    let forget = |journal: &mut Journal<SimFs>, state: &mut Index| {
        assert_eq!(journal.look_at_clock(), None);
        let expiry = journal.expiry(state.clock(), state.expired(), 2 * day);
        journal.append_all(state, expiry.as_slice()).unwrap();
    };
    fs.advance(day + 20 * hour);
    forget(&mut journal, &mut state);
    assert!(is_known(&state));
    drop(journal);
    fs.kill();
    fs.advance(3 * day);
    // Another process: it may have been a weekend, or a wrong clock.
    let mut state = Index::default();
    let (mut journal, jumped) = open(&mut state);
    assert_eq!(jumped.map(|jumped| jumped.by_ms / 3_600_000), Some(72));
    forget(&mut journal, &mut state);
    assert!(is_known(&state), "it remembers longer");
    for _ in 0..4 {
        drop(journal);
        fs.kill();
        fs.advance(5 * hour);
        state = Index::default();
        (journal, _) = open(&mut state);
        forget(&mut journal, &mut state);
    }
    assert!(!is_known(&state), "44 and 20 hours are more than two days");
}

/// Why: the same, within one process.
#[test]
fn a_quiet_weekend_counts() {
    let fs = SimFs::new(6);
    let mut state = Index::default();
    let (mut journal, _) = Journal::open(&fs, std::path::Path::new("/state"), &mut state).unwrap();
    let records = [settings(), discovered(1, "/in/a"), hashed(Lsn(2), "/warehouse/a"), moved(Lsn(2))];
    journal.append_all(&mut state, &records).unwrap();
    journal.append_all(&mut state, &[Record::Manifested(IngestId(2))]).unwrap();
    let day = Duration::from_secs(24 * 3_600);
    fs.advance(3 * day);
    assert_eq!(journal.look_at_clock(), None);
    let expiry = journal.expiry(state.clock(), state.expired(), 2 * day).unwrap();
    journal.append_all(&mut state, &[expiry]).unwrap();
    assert_eq!(state.original(&digest(2).into()).unwrap(), None);
    // A jump of the clock within one process is recognized.
    fs.set_clock(UnixMillis(fs.now().0 + 400 * 24 * 3_600_000));
    assert_eq!(journal.look_at_clock().map(|jumped| jumped.by_ms / 3_600_000), Some(400 * 24));
}
