//! `tests/read_manifest.py`, a strict reader written from `docs/manifest-format.md` alone, reads the manifests that the
//! program writes: while it writes, after it was killed, and after it was started again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::super::harness::{Place, csv, err, has, json_lines, out, sha256_hex, wait_until};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_manifest.py");

/// The number of times that the ingestor is started and killed, and the greatest number of files for each time.
const LIVES: u64 = 4;
const FILES_A_LIFE_MAX: u64 = 5000;

fn reader(words: &[&OsStr]) -> Output {
    Command::new("python3").arg(READER).args(words).output().unwrap()
}

/// Reads all manifests; it fails if lines that were read before are missing.
#[track_caller]
fn check(place: &Place) -> Vec<Value> {
    let seen = place.root.path().join("seen.json");
    let output = reader(&["check".as_ref(), place.manifests.as_os_str(), seen.as_os_str()]);
    assert!(output.status.success(), "{}", err(&output));
    json_lines(&out(&output))
}

fn by_id(mut lines: Vec<Value>) -> Vec<Value> {
    lines.sort_by_key(|line| line["ingest_id"].as_u64().unwrap());
    lines
}

/// Why: a reader that accepts everything proves nothing.
#[test]
fn wrong_lines_are_refused() {
    if !has("python3") {
        return;
    }
    let output = reader(&["self-test".as_ref()]);
    assert!(output.status.success(), "{}", err(&output));
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let line = check(&place).remove(0);
    let hour = &line["ingested_at"].as_str().unwrap()[..13].replace(['-', 'T'], "/");
    let manifest = place.manifests.join(hour).join("manifest.jsonl");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let size = format!("\"size\":{}", line["size"]);
    let as_text = text.replace(&size, "\"size\":\"7\"");
    for wrong in [as_text, text.replace(':', ": "), "\n".to_owned(), text.repeat(2)] {
        assert_ne!(wrong, text);
        std::fs::write(&manifest, &wrong).unwrap();
        let output = reader(&["check".as_ref(), place.manifests.as_os_str()]);
        assert_eq!(output.status.code(), Some(1), "{wrong}");
    }
}

/// Why: the page must describe every kind of line.
#[test]
fn every_kind_of_line_is_as_the_page_says() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    place.stage("plain.csv", csv(1, 100));
    place.stage("empty.csv", "");
    place.stage("two\nlines \u{1b} \"quoted\" \\ \u{7f} \u{2028} \u{fffd} ünïcödé.csv", csv(2, 300));
    place.stage(OsStr::from_bytes(b"not utf-8 \xff\xc3(\xe2\x82\xed\xa0\x80\xf0\x9f.csv"), csv(3, 5000));
    place.once_ok(&[]);
    place.stage("rows.csv", "id,name\n1,Ada\n");
    place.stage("bad.csv", "id,name\n1\n");
    place.stage("no-record.csv", "\n\n");
    place.stage("wrong.csv", b"\xff");
    place.stage("packed.csv.gz", "no gzip");
    place.stage("packed.csv.zst", "no csv");
    place.stage("names.csv", "id,,id\n");
    place.stage("header.csv", format!("{}\n", "x".repeat(2000)));
    place.once_ok(&["--validate", "csv"]);
    let content = csv(4, 200);
    place.stage("summed.csv", &content);
    place.stage("summed.csv.ok", sha256_hex(&content));
    place.once_ok(&["--mode", "sidecar"]);
    let lines = check(&place);
    assert_eq!(by_id(lines.clone()), by_id(place.manifest_lines()));
    let with = |key: &str| lines.iter().filter(|line| line.get(key).is_some()).count();
    assert_eq!((lines.len(), with("path_base64"), with("warehouse_path_base64")), (13, 1, 1));
    assert_eq!((with("rows"), with("header"), with("malformed_reason"), with("verified_by")), (7, 7, 3, 1));
    assert_eq!(with("header_faults"), 1);
    let null = |key: &str| lines.iter().filter(|line| line.get(key) == Some(&Value::Null)).count();
    assert_eq!((null("rows"), null("columns"), null("header")), (3, 3, 4));
}

/// Why: readers follow manifests while they are written, and must not notice a crash.
#[test]
fn no_line_is_changed_or_withdrawn_by_a_crash() {
    if !has("python3") {
        return;
    }
    let place = Place::new();
    let staged = AtomicU64::new(0);
    for life in 1..=LIVES {
        let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "50ms", "--validate", "csv"]);
        std::thread::scope(|scope| {
            let is_over = Over::default();
            let (over, place, staged) = (is_over.0.clone(), &place, &staged);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) && staged.load(Ordering::Relaxed) < life * FILES_A_LIFE_MAX {
                    let number = staged.fetch_add(1, Ordering::Relaxed);
                    place.stage_whole(format!("{number}.csv"), csv(number, 300));
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            // It is read three times while it works, and then killed.
            let (mut growths, mut before) = (0, 0);
            wait_until("lines that come while others are read", || {
                let lines = if place.manifests.join(".csv-ingestor").exists() { check(place).len() } else { 0 };
                growths += usize::from(lines > before);
                before = lines;
                growths > 3
            });
            daemon.kill();
        });
        check(&place);
    }
    place.once_ok(&["--validate", "csv"]);
    let staged = staged.into_inner() as usize;
    assert_eq!(check(&place).len(), staged);
    assert_eq!(place.check_consistent(), staged);
}

/// Set when it is dropped, also by a panic: otherwise the thread that waits for it would never end.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
