//! The log: the fields of every event, formats and levels.

use serde_json::Value;

use crate::harness::{Place, csv, err, json_lines, out, wait_until};

#[track_caller]
fn keys(event: &Value) -> Vec<&str> {
    event.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn check(event: &Value, level: &str, fields: &[&str]) {
    assert_eq!(event["level"], level, "{event}");
    let missing: Vec<_> = fields.iter().filter(|field| !keys(event).contains(field)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {event}");
}

/// Why: log pipelines depend on these names; they are documented, including the order of the first three.
#[test]
fn events_carry_what_the_contract_promises() {
    let place = Place::new();
    place.block();
    let options = ["--stability-seconds", "0", "--scan-interval", "100ms"];
    let daemon = place.start(&[&options[..], &["--log-level", "debug", "--metrics-interval", "100ms"]].concat());
    daemon.wait_started();
    let blocked = place.stage("blocked.csv", csv(9, 100));
    daemon.wait_for("file_failed", 1);
    std::fs::remove_file(blocked).unwrap();
    place.unblock();
    place.stage("a.csv", csv(1, 1000));
    daemon.wait_for("file_ingested", 1);
    place.stage("again.csv", csv(1, 1000));
    daemon.wait_for("duplicate_skipped", 1);
    let seen = daemon.events("metrics").len();
    daemon.wait_for("metrics", seen + 2);
    let log = daemon.log();
    let first = |name: &str| log.iter().find(|line| line["event"] == name).unwrap_or_else(|| panic!("no {name}"));

    for line in &log {
        assert_eq!(keys(line)[..3], ["timestamp", "level", "event"], "{line}");
        humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    check(first("recovery_finished"), "info", &["completed", "abandoned", "torn_bytes", "seconds"]);
    check(first("file_ready"), "debug", &["path", "bytes"]);
    check(first("file_ingested"), "info", &["path", "warehouse_path", "sha256", "bytes", "ingest_id", "seconds"]);
    check(first("duplicate_skipped"), "info", &["path", "sha256", "duplicate_of", "original", "action"]);
    check(first("file_failed"), "error", &["path", "error", "retry_in"]);
    check(first("file_abandoned"), "warn", &["path", "reason"]);
    let metrics = ["files_processed", "bytes_processed", "queue_depth", "files_per_sec", "bytes_per_sec"];
    check(first("metrics"), "info", &[&metrics[..], &["duplicates_skipped", "failures"]].concat());

    let (ingested, duplicate) = (first("file_ingested"), first("duplicate_skipped"));
    let bytes = csv(1, 1000).len();
    assert_eq!(ingested["path"], place.staging.join("a.csv").to_str().unwrap());
    assert_eq!(ingested["bytes"], bytes);
    assert_eq!(ingested["ingest_id"], place.manifest_lines()[0]["ingest_id"]);
    assert_eq!(duplicate["duplicate_of"], ingested["ingest_id"]);
    assert_eq!(duplicate["original"], ingested["warehouse_path"]);
    assert_eq!(duplicate["action"], "keep");
    let last = daemon.events("metrics").pop().unwrap();
    assert_eq!((&last["files_processed"], &last["bytes_processed"]), (&1.into(), &bytes.into()));
    assert_eq!(last["duplicates_skipped"], 1);
    assert!(last["failures"].as_u64().unwrap() >= 1, "{last}");
    assert!(daemon.stop().success());
    let text = std::fs::read_to_string(place.root.path().join("log.jsonl")).unwrap();
    let stopped = json_lines(&text).pop().unwrap();
    assert_eq!(stopped["event"], "stopped");
    check(&stopped, "info", &["files_processed", "bytes_processed", "duplicates_skipped", "failures"]);
}

/// Why: the first line of a log must have the version and the settings, or an incident cannot be reconstructed.
#[test]
fn started_tells_version_and_settings() {
    let place = Place::new();
    let output = place.once_ok(&["--include", "*.csv", "--duplicates", "remove", "--concurrency", "2"]);
    let log = json_lines(&err(&output));
    let event = log.iter().find(|line| line["event"] == "started").unwrap();
    check(event, "info", &["version", "input", "warehouse", "manifests", "state_path", "mode", "stability_seconds"]);
    check(event, "info", &["scan_interval", "concurrency", "once", "include", "duplicates", "metrics_interval"]);
    assert_eq!(event["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&event["mode"], &event["concurrency"]), (&"stability".into(), &2.into()));
    assert_eq!(event["duplicates"], "remove");
    assert!(keys(event).iter().any(|key| key.starts_with("recovered")), "{event}");
    let output = place.once_ok(&["--mode", "sidecar", "--sidecar-suffix", ".done"]);
    let log = json_lines(&err(&output));
    let event = log.iter().find(|line| line["event"] == "started").unwrap();
    check(event, "info", &["sidecar_suffix"]);
    assert_eq!((&event["mode"], &event["sidecar_suffix"]), (&"sidecar".into(), &".done".into()));
}

/// Why: a file that is ABANDONED in the journal was announced and not delivered; the log must report it.
#[test]
fn a_file_that_vanishes_while_it_is_hashed_is_logged_as_abandoned() {
    for seed in 0..20 {
        let place = Place::new();
        let path = place.stage_large("large.csv", seed, 1 << 29);
        let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
        wait_until("it is being hashed", || {
            daemon.wait_started();
            !place.inspect().is_empty()
        });
        // It may be ingested already; then the test tries again.
        if std::fs::remove_file(&path).is_err() {
            continue;
        }
        wait_until("it is abandoned", || place.inspect()[0]["state"] == "ABANDONED");
        assert!(daemon.stop().success());
        assert_eq!(place.check_consistent(), 0);
        let text = std::fs::read_to_string(place.root.path().join("log.jsonl")).unwrap();
        let log = json_lines(&text);
        let event = log.iter().find(|line| line["event"] == "file_abandoned");
        let event = event.unwrap_or_else(|| panic!("no file_abandoned in\n{text}"));
        check(event, "warn", &["path", "reason"]);
        assert_eq!(event["path"], path.to_str().unwrap());
        return;
    }
    panic!("never caught it while it was hashing");
}

/// Why: a level that logs too much floods the log; one that logs too little hides failures.
#[test]
fn levels_filter() {
    let events = |level: &str| -> Vec<String> {
        let place = Place::new();
        place.block();
        let blocked = place.stage("blocked.csv", csv(9, 100));
        let mut log = json_lines(&err(&place.once_failing(&["--log-level", level])));
        std::fs::remove_file(blocked).unwrap();
        place.unblock();
        place.stage("a.csv", csv(1, 100));
        log.extend(json_lines(&err(&place.once_ok(&["--log-level", level]))));
        log.iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    };
    let has = |events: &[String], name: &str| events.iter().any(|event| event == name);
    let error = events("error");
    assert!(
        has(&error, "file_failed") && error.iter().all(|event| event == "file_failed" || event == "failed"),
        "{error:?}"
    );
    let warn = events("warn");
    assert!(has(&warn, "file_failed") && has(&warn, "file_abandoned") && !has(&warn, "started"), "{warn:?}");
    let info = events("info");
    assert!(has(&info, "started") && has(&info, "file_ingested") && !has(&info, "file_ready"), "{info:?}");
    assert!(has(&events("debug"), "file_ready") && has(&events("trace"), "file_ready"));
}

/// Why: people read the text format, and search it by line: time, level, event, then the fields.
#[test]
fn text_lines_begin_with_time_level_and_event() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let output = place.once_ok(&["--log-format", "text"]);
    let text = err(&output);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        humantime::parse_rfc3339(words.next().unwrap()).unwrap();
        assert!(["error", "warn", "info"].contains(&words.next().unwrap()), "{line}");
        assert!(words.next().unwrap().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
    }
    let path = format!("path={}", place.staging.join("a.csv").display());
    assert!(text.lines().any(|line| line.contains(" file_ingested ") && line.contains(&path)), "{text}");
}

/// Why: scripts read stdout; a log line there would be taken for a result, and they would miss a result in the log.
#[test]
fn once_says_on_stdout_what_was_left_and_why() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.stage("b.csv", csv(1, 100));
    let output = place.once_ok(&[]);
    let [file] = &place.warehouse_files().into_keys().collect::<Vec<_>>()[..] else { panic!("not one file") };
    let left = place.staging.join(&place.staged_names()[0]);
    assert_eq!(out(&output), format!("DUPLICATE: {} = {}\n", left.display(), file.display()));
    assert!(json_lines(&err(&output)).len() >= 4);

    let place = Place::new();
    let path = place.stage("a.csv", csv(1, 100));
    let output = place.once_ok(&["--mode", "sidecar"]);
    assert_eq!(out(&output), format!("WAITING: {} (no sidecar)\n", path.display()));
}
