//! `csv-ingestor replay`.

use super::killed_while_hashing;
use crate::harness::{Place, bare, csv, err, json_lines, out, snapshot};

/// Why: mostly there is nothing to do, and then the output must say so plainly.
#[test]
fn nothing_to_do_is_said() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let output = place.subcommand(&["replay", "--dry-run"]);
    assert!(output.status.success() && out(&output).starts_with("nothing to do"), "{}", out(&output));
    let output = place.subcommand(&["replay", "--dry-run", "--json"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", out(&output));
    let output = place.subcommand(&["replay"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).contains("completed: 0\n"), "{}", out(&output));
    let output = place.subcommand(&["replay", "--json"]);
    let [summary] = &json_lines(&out(&output))[..] else { panic!("{}", out(&output)) };
    for (key, count) in [("completed", 0), ("abandoned", 0), ("cleared", 0), ("resumed", 0), ("torn_bytes", 0)] {
        assert_eq!(summary[key], count, "{key}: {summary}");
    }
    assert_eq!(summary["states"]["MANIFESTED"], 1, "{summary}");
    assert_eq!(place.check_consistent(), 1);
}

/// Why: a dry run must not take the lock or create a segment.
#[test]
fn a_dry_run_touches_nothing_and_says_what_it_would_do() {
    let place = killed_while_hashing();
    let before = snapshot(place.root.path());
    let text = out(&place.subcommand(&["replay", "--dry-run"]));
    let json = json_lines(&out(&place.subcommand(&["replay", "--dry-run", "--json"])));
    assert_eq!(snapshot(place.root.path()), before);
    let path = place.staging.join("large.csv");
    assert!(text.contains(path.to_str().unwrap()) && text.contains("DISCOVERED"), "{text}");
    assert_eq!(json.len(), 1);
    assert_eq!(json[0]["path"], path.to_str().unwrap());
    assert_eq!(json[0]["state"], "DISCOVERED");
    assert_eq!(json[0]["ingest_id"], place.inspect()[0]["ingest_id"]);
    assert!(json[0]["action"].is_string());
}

/// Why: after a crash the unfinished file must be finished without the daemon, with the recorded time.
#[test]
fn it_finishes_what_a_crash_left() {
    let place = killed_while_hashing();
    let found = place.inspect().remove(0);
    let output = place.subcommand(&["replay", "--json"]);
    assert!(output.status.success(), "{}", err(&output));
    let summary = json_lines(&out(&output)).remove(0);
    assert_eq!((&summary["completed"], &summary["resumed"]), (&1.into(), &1.into()), "{summary}");
    assert_eq!(summary["states"]["MANIFESTED"], 1, "{summary}");
    assert_eq!(summary["states"]["DISCOVERED"], 0, "something is still half done: {summary}");
    let line = place.manifest_lines().remove(0);
    assert_eq!((&line["ingested_at"], &line["ingest_id"]), (&found["created_at"], &found["ingest_id"]));
    assert!(place.staged_names().is_empty());
    // A second replay has nothing to do.
    let summary = json_lines(&out(&place.subcommand(&["replay", "--json"]))).remove(0);
    assert_eq!(summary["completed"], 0, "{summary}");
}

/// Why: a mistyped path must not look like a journal with nothing to do, and must not create one.
#[test]
fn without_a_journal_it_refuses() {
    let place = Place::new();
    let empty = place.root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let before = snapshot(place.root.path());
    for path in [&place.state, &empty] {
        for words in
            [&["replay"][..], &["replay", "--json"], &["replay", "--dry-run"], &["replay", "--dry-run", "--json"]]
        {
            let output = bare(words).arg("--state-path").arg(path).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{words:?} {}: {}", path.display(), out(&output));
            assert!(err(&output).contains("--state-path"), "{words:?}: {}", err(&output));
        }
    }
    assert_eq!(snapshot(place.root.path()), before);
}

/// Why: two writers would destroy the journal.
#[test]
fn beside_a_daemon_it_refuses_and_names_it() {
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
    daemon.wait_started();
    let output = place.subcommand(&["replay"]);
    assert_eq!(output.status.code(), Some(4), "{}", err(&output));
    assert!(err(&output).contains(&format!("pid {}", daemon.child.id())), "{}", err(&output));
    // Commands that only read are allowed.
    assert!(place.subcommand(&["replay", "--dry-run"]).status.success());
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}
