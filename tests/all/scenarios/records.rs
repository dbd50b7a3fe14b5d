//! The data about each file: partitions, manifest lines, the journal's records.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::harness::{Place, csv, sha256_hex};
use super::stop;

const MANIFEST_KEYS: [&str; 11] = [
    "path",
    "sha256",
    "device",
    "inode",
    "size",
    "mtime",
    "warehouse_path",
    "ingest_id",
    "journal",
    "seq",
    "ingested_at",
];
const RECORD_KEYS: [&str; 13] = [
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

fn keys(line: &Value) -> Vec<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Readers parse these lines, and derive both partitions from the time in them; it is UTC, whatever the machine's time zone.
#[test]
fn manifest_lines_and_partitions_tell_the_truth() {
    let place = Place::new();
    let mut staged = Vec::new();
    for seed in 0..5 {
        let path = place.stage(format!("{seed}.csv"), csv(seed, 1000));
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seed);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        staged.push((path, metadata));
    }
    let before = SystemTime::now() - Duration::from_millis(1);
    let mut command = place.command();
    // UTC+14: for most of the day it is already tomorrow there.
    command.env("TZ", "Pacific/Kiritimati").args(["--once", "--stability-seconds", "0.2"]);
    assert!(command.output().unwrap().status.success());
    let after = SystemTime::now();

    let records = place.inspect();
    let lines = place.manifest_lines();
    assert_eq!((lines.len(), records.len()), (5, 5));
    for line in &lines {
        assert_eq!(keys(line), MANIFEST_KEYS);
        let path = line["path"].as_str().unwrap();
        let (_, metadata) = staged.iter().find(|(staged, _)| staged == Path::new(path)).unwrap();
        assert_eq!(line["device"], metadata.dev());
        assert_eq!(line["inode"], metadata.ino());
        assert_eq!(line["size"], metadata.size());
        assert_eq!(line["mtime"], metadata.mtime());

        let at = line["ingested_at"].as_str().unwrap();
        assert!(at.len() == "2026-01-01T00:00:00.000Z".len() && at.ends_with('Z'), "{at}");
        let instant = humantime::parse_rfc3339(at).unwrap();
        assert!(before + Duration::from_millis(200) <= instant && instant <= after, "{at}");
        let name = Path::new(path).file_name().unwrap();
        let warehouse_path = place.warehouse.join(format!("ingest_date={}", &at[..10])).join(name);
        assert_eq!(Path::new(line["warehouse_path"].as_str().unwrap()), warehouse_path);
        assert_eq!(line["sha256"], sha256_hex(&std::fs::read(&warehouse_path).unwrap()));
        let hour = place.manifests.join(at[..10].replace('-', "/")).join(&at[11..13]).join("manifest.jsonl");
        let raw = std::fs::read_to_string(&hour).unwrap();
        assert_eq!(raw.lines().filter(|raw| raw.contains(path)).count(), 1, "{}", hour.display());

        let record = records.iter().find(|record| record["ingest_id"] == line["ingest_id"]).unwrap();
        assert_eq!(keys(record), RECORD_KEYS);
        assert_eq!(record["state"], "MANIFESTED");
        assert_eq!(record["created_at"], line["ingested_at"], "one instant for all");
        assert_eq!(record["source_path"], line["path"]);
        for key in ["sha256", "device", "inode", "size", "mtime", "warehouse_path"] {
            assert_eq!(record[key], line[key], "{key}");
        }
        assert!(record["duplicate_of"].is_null());
        assert!(record["updated_at"].as_str() >= record["created_at"].as_str());
    }
    place.check_consistent();
}

/// Ids increase over restarts, and within a manifest: recovery relies on it, and readers may as well.
#[test]
fn ingest_ids_are_unique_and_increase() {
    let place = Place::new();
    let mut last = 0;
    for round in 0..4 {
        for seed in 0..20 {
            place.stage(format!("{round}-{seed}.csv"), csv(round * 100 + seed, 500));
        }
        place.stage(format!("{round}-duplicate.csv"), csv(0, 500));
        place.once_ok(&["--duplicates", "remove"]);
        let ids: Vec<u64> = place.inspect().iter().map(|record| record["ingest_id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len() as u64, (round + 1) * 21);
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        let new = &ids[usize::try_from(round * 21).unwrap()..];
        assert!(new.iter().all(|id| *id > last));
        last = new[new.len() - 1];
    }
    let mut files: Vec<String> = Vec::new();
    let lines = place.manifest_lines();
    for line in &lines {
        let hour = line["ingested_at"].as_str().unwrap()[..13].to_owned();
        if !files.contains(&hour) {
            files.push(hour);
        }
    }
    for hour in files {
        let of_hour = lines.iter().filter(|line| line["ingested_at"].as_str().unwrap().starts_with(&hour));
        let ids: Vec<u64> = of_hour.map(|line| line["ingest_id"].as_u64().unwrap()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    }
    assert_eq!(place.check_consistent(), 80);
}

/// The events that operators' dashboards use.
#[test]
fn log_events_have_their_fields() {
    let place = Place::new();
    let daemon = place.start(&[
        "--stability-seconds",
        "0.2",
        "--scan-interval",
        "50ms",
        "--metrics-interval",
        "100ms",
        "--log-level",
        "debug",
    ]);
    daemon.wait_started();
    let path = place.stage("a.csv", csv(1, 1000));
    daemon.wait_for("file_ingested", 1);
    let seen = daemon.events("metrics").len();
    daemon.wait_for("metrics", seen + 2);
    let log_of = daemon.log();
    let last = |name: &str| log_of.iter().rfind(|line| line["event"] == name).unwrap().clone();
    let ready = last("file_ready");
    assert_eq!((&ready["level"], ready["path"].as_str().unwrap()), (&"debug".into(), path.to_str().unwrap()));
    assert!(ready["bytes"].is_u64());
    let ingested = last("file_ingested");
    assert_eq!(ingested["level"], "info");
    assert_eq!(keys(&ingested)[..3], ["timestamp", "level", "event"]);
    for (key, expected) in [
        ("path", "path"),
        ("warehouse_path", "warehouse_path"),
        ("sha256", "sha256"),
        ("bytes", "size"),
        ("ingest_id", "ingest_id"),
    ] {
        assert_eq!(ingested[key], place.manifest_lines()[0][expected], "{key}");
    }
    assert!(ingested["seconds"].is_f64());
    let metrics = last("metrics");
    assert_eq!((&metrics["files_processed"], &metrics["queue_depth"]), (&1.into(), &0.into()));
    assert_eq!(metrics["bytes_processed"], ingested["bytes"]);
    for key in ["files_per_sec", "bytes_per_sec", "duplicates_skipped", "failures"] {
        assert!(metrics[key].is_number(), "{key}: {metrics}");
    }
    let finished = last("recovery_finished");
    for key in ["completed", "abandoned", "torn_bytes", "seconds"] {
        assert!(finished[key].is_number(), "{key}: {finished}");
    }
    for line in &log_of {
        humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    }
    stop(daemon);
}
