//! `csv-ingestor journal inspect`.

use serde_json::Value;

use super::killed_while_hashing;
use crate::harness::{Place, bare, csv, err, json_lines, out, sha256_hex, snapshot};

const KEYS: [&str; 13] = [
    "ingest_id",
    "lsn",
    "state",
    "device",
    "inode",
    "size",
    "mtime",
    "sha256",
    "source_path",
    "warehouse_path",
    "duplicate_of",
    "created_at",
    "updated_at",
];

fn inspect(place: &Place, words: &[&str]) -> String {
    let output = place.subcommand(&[&["journal", "inspect"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", err(&output));
    out(&output)
}

/// One file in each of three final states: a.csv MANIFESTED, b.csv SKIPPED_DUPLICATE, taken.csv ABANDONED.
fn three_files() -> Place {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    place.stage("b.csv", csv(1, 100));
    place.once_ok(&[]);
    place.block();
    place.stage("taken.csv", csv(2, 100));
    place.once_failing(&[]);
    place.unblock();
    place
}

fn by_state(lines: &[Value], state: &str) -> Value {
    let of_state: Vec<_> = lines.iter().filter(|line| line["state"] == state).collect();
    assert_eq!(of_state.len(), 1, "{state}: {lines:?}");
    of_state[0].clone()
}

/// Why: scripts read these lines; every key is always present, in the documented order, null if its value is unknown.
#[test]
fn json_lines_have_the_contracts_keys() {
    use std::os::unix::fs::MetadataExt;
    let place = three_files();
    let lines = json_lines(&inspect(&place, &["--json"]));
    for line in &lines {
        assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), KEYS, "{line}");
        for key in ["created_at", "updated_at"] {
            humantime::parse_rfc3339(line[key].as_str().unwrap()).unwrap();
        }
        assert!(line["lsn"].as_u64() >= line["ingest_id"].as_u64(), "{line}");
    }
    let (first, second) = (by_state(&lines, "MANIFESTED"), by_state(&lines, "SKIPPED_DUPLICATE"));
    let manifest = place.manifest_lines().remove(0);
    for (key, in_manifest) in [("source_path", "path"), ("created_at", "ingested_at")] {
        assert_eq!(first[key], manifest[in_manifest], "{key}");
    }
    for key in ["ingest_id", "device", "inode", "size", "mtime", "sha256", "warehouse_path"] {
        assert_eq!(first[key], manifest[key], "{key}");
    }
    assert!(first["duplicate_of"].is_null(), "{first}");
    assert_eq!(second["duplicate_of"], first["ingest_id"]);
    assert_eq!(second["sha256"], first["sha256"]);
    assert!(second["warehouse_path"].is_null(), "{second}");
    assert_eq!(second["inode"], std::fs::metadata(place.staging.join("b.csv")).unwrap().ino());
    assert_eq!(by_state(&lines, "ABANDONED")["source_path"], place.staging.join("taken.csv").to_str().unwrap());
}

/// Why: as above, for a file that was only discovered.
#[test]
fn what_is_not_known_yet_is_null() {
    let place = killed_while_hashing();
    let lines = json_lines(&inspect(&place, &["--json"]));
    let line = by_state(&lines, "DISCOVERED");
    assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), KEYS, "{line}");
    for key in ["sha256", "warehouse_path", "duplicate_of"] {
        assert!(line[key].is_null(), "{key}: {line}");
    }
    assert_eq!((&line["lsn"], &line["created_at"]), (&line["ingest_id"], &line["created_at"]));
    assert!(inspect(&place, &[]).contains("DISCOVERED"));
}

/// Why: nobody reads a million lines; each filter must reduce them, and several filters must combine.
#[test]
fn filters_narrow() {
    let place = three_files();
    let count = |words: &[&str]| {
        let lines = json_lines(&inspect(&place, &[words, &["--json"]].concat()));
        assert_eq!(inspect(&place, words).lines().count(), lines.len(), "{words:?}");
        lines.len()
    };
    let sha256 = sha256_hex(&csv(1, 100));
    let upper = sha256[..10].to_uppercase();
    let all = count(&[]);
    assert_eq!(all, 3);
    assert_eq!(count(&["--state", "MANIFESTED"]), 1);
    assert_eq!(count(&["--state", "SKIPPED_DUPLICATE"]), 1);
    assert_eq!(count(&["--state", "ABANDONED"]), 1);
    assert_eq!(count(&["--state", "DISCOVERED"]), 0);
    assert_eq!(count(&["--state", "HASHED"]) + count(&["--state", "MOVED"]), 0);
    assert_eq!(count(&["--sha256", &sha256]), 2);
    assert_eq!(count(&["--sha256", &sha256[..8]]), 2);
    assert_eq!(count(&["--sha256", &upper]), 2);
    assert_eq!(count(&["--sha256", &"f".repeat(64)]), 0);
    assert_eq!(count(&["--path", "*/b.csv"]), 1);
    assert_eq!(count(&["--path", "**/?.csv"]), 2);
    assert_eq!(count(&["--path", place.staging.join("a.csv").to_str().unwrap()]), 1);
    assert_eq!(count(&["--path", "*/a.csv", "--state", "ABANDONED"]), 0);
    assert_eq!(count(&["--sha256", &sha256, "--state", "MANIFESTED", "--path", "*/a.csv"]), 1);
    assert_eq!(count(&["--limit", "0"]), 0);
    assert_eq!(count(&["--limit", "2"]), 2);
    assert_eq!(count(&["--limit", "99"]), 3);
    let newest = json_lines(&inspect(&place, &["--limit", "1", "--json"])).remove(0);
    let ids = json_lines(&inspect(&place, &["--json"])).into_iter().map(|line| line["ingest_id"].as_u64());
    assert_eq!(newest["ingest_id"].as_u64(), ids.max().unwrap());
}

/// Why: `grep` and `wc -l` need one line for each file, whatever the name.
#[test]
fn text_is_a_line_a_file() {
    let place = Place::new();
    place.stage("plain.csv", csv(1, 100));
    place.stage("new\nline \u{1b}[31mred.csv", csv(2, 100));
    place.once_ok(&[]);
    let text = inspect(&place, &[]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains(place.staging.join("plain.csv").to_str().unwrap()), "{text}");
    assert_eq!(text.matches("MANIFESTED").count(), 2, "{text}");
}

/// Why: an operator who doubts the journal needs to see its frames.
#[test]
fn frames_shows_segments_and_frames() {
    let place = three_files();
    let lines = json_lines(&inspect(&place, &["--frames", "--json"]));
    let segments = lines.iter().filter(|line| line.get("segment").is_some()).count();
    assert_eq!(segments, 3, "one for each start: {lines:?}");
    let kinds: Vec<_> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    for kind in ["data", "seal", "shutdown"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    assert_eq!(inspect(&place, &["--frames"]).lines().count(), lines.len());
    let records: u64 = lines.iter().filter_map(|line| line["records"].as_u64()).sum();
    let newest = place.inspect().iter().map(|line| line["lsn"].as_u64().unwrap()).max().unwrap();
    assert!(records >= newest, "{records} records, newest LSN {newest}");
    let output = place.subcommand(&["journal", "inspect", "--frames", "--state", "MOVED"]);
    assert_eq!(output.status.code(), Some(2), "--frames takes no filter for files");
}

/// Why: an operator inspects the journal when something seems wrong, and then the daemon runs.
#[test]
fn it_works_beside_a_running_daemon_and_changes_nothing() {
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
    daemon.wait_started();
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    crate::harness::wait_until("MANIFESTED is in the journal", || place.inspect()[0]["state"] == "MANIFESTED");
    place.stage("b.csv", csv(2, 100));
    daemon.wait_for("file_ingested", 2);
    assert!(daemon.stop().success());
    let before = snapshot(&place.state);
    assert_eq!(place.inspect().len(), 2);
    inspect(&place, &["--frames"]);
    assert_eq!(snapshot(&place.state), before);
    assert_eq!(place.check_consistent(), 2);
}

/// Why: "no file" and "no journal" are different answers, and inspecting must not create a journal.
#[test]
fn without_a_journal_it_refuses() {
    let place = Place::new();
    let empty = place.root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let before = snapshot(place.root.path());
    for path in [&place.state, &empty] {
        let output = bare(&["journal", "inspect", "--state-path"]).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", out(&output));
        assert!(err(&output).contains("--state-path"), "{}", err(&output));
    }
    assert_eq!(snapshot(place.root.path()), before);
}

/// Why: a filter whose form cannot match anything is a mistake, not an empty answer.
#[test]
fn bad_filters_are_refused_by_name() {
    let place = three_files();
    for (option, value) in
        [("--state", "NONSENSE"), ("--sha256", "xyz"), ("--path", "[a"), ("--limit", "many"), ("--limit", "-1")]
    {
        let output = place.subcommand(&["journal", "inspect", &format!("{option}={value}")]);
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {}", err(&output));
        assert!(err(&output).contains(option), "{option} {value}: {}", err(&output));
    }
}

/// Why: units set the state path with its variable; the other commands must read it there.
#[test]
fn the_state_path_can_come_from_the_environment() {
    let place = three_files();
    let mut command = bare(&["journal", "inspect", "--json"]);
    let output = command.env("CSV_INGESTOR_STATE_PATH", &place.state).output().unwrap();
    assert_eq!(json_lines(&out(&output)).len(), 3, "{}", err(&output));
    let output = bare(&["replay", "--json"]).env("CSV_INGESTOR_STATE_PATH", &place.state).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
}

/// Why: `inspect | head` must end quietly.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::io::{BufRead, BufReader};
    let place = Place::new();
    (0..800).for_each(|seed| drop(place.stage(format!("{seed}-{}.csv", "x".repeat(200)), csv(seed, 50))));
    place.once_ok(&[]);
    let mut command = bare(&["journal", "inspect", "--json", "--state-path"]);
    command.arg(&place.state).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(!first.is_empty());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", err(&output));
}
