//! `csv-ingestor journal verify`, and `journal inspect` on a journal with snapshots.

use super::snapshots::{ROWS, files, flip, newest_segments, newest_snapshot, ok, refused, two_generations};
use crate::harness::{Place, csv, json_lines, out, snapshot};

/// A journal whose daemon was killed when it had nothing to do.
fn killed() -> Place {
    let place = two_generations();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
    daemon.wait_started();
    place.stage("7.csv", csv(7, 100));
    daemon.wait_for("file_ingested", 1);
    daemon.kill();
    place
}

/// Why: the operator needs to know that the whole journal was read, both generations.
#[test]
fn an_intact_journal_is_said_to_be_intact() {
    let place = two_generations();
    let before = snapshot(place.root.path());
    let text = ok(&place.subcommand(&["journal", "verify"]));
    assert!(text.starts_with("intact; it was closed cleanly\na snapshot of 4 contents (0 forgotten), "), "{text}");
    assert!(text.contains("the generation before is intact: a snapshot of 2 contents"), "{text}");
    assert_eq!(snapshot(place.root.path()), before);
    let place = killed();
    let text = ok(&place.subcommand(&["journal", "verify"]));
    assert!(text.starts_with("intact; not closed: the ingestor is running, or was killed\n"), "{text}");
}

/// Why: the remains of a crash are normal; alarms about them would make operators ignore alarms.
#[test]
fn a_torn_tail_is_told_from_damage() {
    let place = killed();
    let last = newest_segments(&place).pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(4096);
    bytes[end + 5..end + 100].fill(b'x');
    std::fs::write(&last, bytes).unwrap();
    let text = ok(&place.subcommand(&["journal", "verify"]));
    assert!(text.starts_with("intact up to a torn tail of 100 bytes, the mark of a crash"), "{text}");
}

/// Why: a start does not read the rows, so only `verify` finds damage in them; it reports exit code, position and remedy.
#[test]
fn damage_is_told_with_its_place_and_what_a_repair_would_find() {
    for in_rows in [true, false] {
        let place = two_generations();
        let damaged = if in_rows { newest_snapshot(&place) } else { newest_segments(&place).remove(1) };
        flip(&damaged, if in_rows { ROWS + 40 } else { 4096 + 70 });
        let before = snapshot(place.root.path());
        let output = place.subcommand(&["journal", "verify"]);
        let name = damaged.file_name().unwrap().to_str().unwrap();
        let remedy = format!("csv-ingestor journal repair --state-path {}", place.state.display());
        let text = refused(&output, 3, &[name, "offset 4096", "LSN ", "nothing was modified", &remedy]);
        assert!(text.starts_with("corrupt; what a repair would find:\ndamaged: "), "{text}");
        assert_eq!(text.contains("lost: no LSN"), in_rows, "{text}");
        assert_eq!(snapshot(place.root.path()), before);
    }
}

/// Why: nothing is lost yet, but the next damage could not be repaired; that must not look like "intact".
#[test]
fn damage_in_the_generation_before_is_a_verdict_of_its_own() {
    let place = two_generations();
    let spare = files(&place, "snap").remove(0);
    flip(&spare, ROWS + 40);
    let output = place.subcommand(&["journal", "verify"]);
    let remedy = format!("csv-ingestor journal compact --state-path {}", place.state.display());
    let name = spare.file_name().unwrap().to_str().unwrap();
    let text = refused(&output, 3, &["the journal is intact, but not the generation before", name, &remedy]);
    assert!(text.starts_with("intact; it was closed cleanly\n"), "{text}");
    // A start is not affected, and the remedy works.
    assert_eq!(place.inspect().len(), 6);
    ok(&place.subcommand(&["journal", "compact"]));
    ok(&place.subcommand(&["journal", "verify"]));
    assert_eq!(place.check_consistent(), 6);
}

/// Why: an operator who doubts the journal needs to see its files; a journal begins with its snapshot.
#[test]
fn frames_begin_with_the_snapshot() {
    let place = two_generations();
    let lines = json_lines(&ok(&place.subcommand(&["journal", "inspect", "--frames", "--json"])));
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["snapshot", "bytes", "created_at", "store", "entries", "forgotten"]);
    assert_eq!(lines[0]["entries"], 4);
    assert_eq!(lines[0]["bytes"], std::fs::metadata(newest_snapshot(&place)).unwrap().len());
    assert_eq!(lines[1]["first_lsn"].as_u64().unwrap(), lines[0]["snapshot"].as_u64().unwrap() + 1);
    let segments = lines.iter().filter(|line| line.get("segment").is_some()).count();
    assert_eq!(segments, newest_segments(&place).len());
    let text = ok(&place.subcommand(&["journal", "inspect", "--frames"]));
    assert!(text.starts_with("snapshot=") && text.lines().count() == lines.len(), "{text}");
}

/// Why: the records before the damage are still known, and the operator needs them to decide.
#[test]
fn inspect_prints_the_snapshot_up_to_the_damage() {
    let place = two_generations();
    let whole = place.inspect();
    // The second frame of the first segment with files after the snapshot.
    let frames = json_lines(&ok(&place.subcommand(&["journal", "inspect", "--frames", "--json"])));
    let lsn = whole[4]["ingest_id"].as_u64().unwrap();
    let holds = |line: &serde_json::Value| {
        line.get("offset").is_some() && {
            let first = line["first_lsn"].as_u64().unwrap();
            (first..first + line["records"].as_u64().unwrap()).contains(&lsn)
        }
    };
    let at = frames.iter().position(holds).unwrap();
    let segment = frames[..at].iter().rev().find_map(|line| line.get("segment").and(line["first_lsn"].as_u64()));
    let path = place.state.join(format!("wal-{:020}.log", segment.unwrap()));
    flip(&path, frames[at]["offset"].as_u64().unwrap() + 64);
    let output = place.subcommand(&["journal", "inspect", "--json"]);
    let lines = json_lines(&refused(&output, 3, &[path.to_str().unwrap()]));
    assert_eq!(lines, whole[..4]);
    // Damage in the snapshot's rows: nothing is invented.
    flip(&newest_snapshot(&place), ROWS + 40);
    let output = place.subcommand(&["journal", "inspect", "--json"]);
    let text = refused(&output, 3, &["corrupt"]);
    assert!(json_lines(&text).iter().all(|line| whole.contains(line)), "{text}");
}

/// Why: an operator looks when something seems wrong, and then the daemon runs, and compacts.
#[test]
fn both_work_beside_a_running_daemon() {
    let place = two_generations();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    for seed in 10..14 {
        place.stage(format!("{seed}.csv"), csv(seed, 100));
        let text = ok(&place.subcommand(&["journal", "verify"]));
        assert!(text.contains("the generation before is intact"), "{text}");
        assert!(place.inspect().len() >= 6);
        assert!(out(&place.subcommand(&["journal", "inspect", "--frames"])).starts_with("snapshot="));
    }
    daemon.wait_for("file_ingested", 4);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 10);
}
