//! `csv-ingestor explain`: each answer, from a real situation.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use super::super::bad_input::{as_nobody, chmod};
use crate::harness::{Place, csv, err, json_lines, out, sha256_hex, snapshot, wait_until};

#[track_caller]
fn ask(place: &Place, path: &Path, more: &[&str]) -> Value {
    let words = [&["explain", "--json", path.to_str().unwrap()], more].concat();
    let output = place.subcommand(&words);
    assert!(output.status.success(), "{}", err(&output));
    json_lines(&out(&output)).remove(0)
}

#[track_caller]
fn assert_says(told: &Value, status: &str, words: &[&str]) {
    assert_eq!(told["status"], status, "{told}");
    let text = told.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "{word}: {told}"));
}

/// The answer has the file's path in the warehouse, its source, its time and its line: for the file in the warehouse, for
/// its path in staging, and for a duplicate.
#[test]
fn what_was_ingested() {
    let place = Place::new();
    let sent = place.stage("a.csv", csv(1, 1_000));
    place.once_ok(&[]);
    let line = place.manifest_lines().remove(0);
    let there = Path::new(line["warehouse_path"].as_str().unwrap());
    let told = ask(&place, there, &[]);
    assert_says(&told, "INGESTED", &[sent.to_str().unwrap()]);
    for key in ["sha256", "ingest_id", "ingested_at", "warehouse_path"] {
        assert_eq!(told[key], line[key], "{key}");
    }
    let manifest = std::fs::read_to_string(told["manifest"].as_str().unwrap()).unwrap();
    let number = told["manifest_line"].as_u64().unwrap();
    assert_eq!(serde_json::from_str::<Value>(manifest.lines().nth(number as usize - 1).unwrap()).unwrap(), line);
    assert_says(&ask(&place, &sent, &[]), "GONE", &["it was ingested", there.to_str().unwrap()]);
    // A duplicate, before and after an ingestor has seen it.
    let duplicate = place.stage("again.csv", csv(1, 1_000));
    let words = [there.to_str().unwrap(), sent.to_str().unwrap(), "will keep it"];
    assert_says(&ask(&place, &duplicate, &[]), "DUPLICATE", &words);
    place.once_ok(&[]);
    assert_says(&ask(&place, &duplicate, &[]), "DUPLICATE", &[there.to_str().unwrap(), "stays here"]);
    std::fs::remove_file(there).unwrap();
    assert_says(&ask(&place, there, &[]), "MISSING", &["not there any more"]);
    let text = out(&place.subcommand(&["explain", duplicate.to_str().unwrap()]));
    assert!(text.starts_with(&format!("{}: DUPLICATE: ", duplicate.display())), "{text}");
    assert!(text.contains("\n  manifest line: 1"), "{text}");
}

/// Files that are never ingested, and the reason.
#[test]
fn what_is_ignored() {
    let place = Place::new();
    place.once_ok(&[]);
    let hidden = place.stage(".hidden.csv", "");
    assert_says(&ask(&place, &hidden, &[]), "IGNORED", &["hidden"]);
    let temporary = place.stage("a.csv.part", "");
    assert_says(&ask(&place, &temporary, &[]), "IGNORED", &["temporary"]);
    let other = place.stage("a.txt", "");
    assert_says(&ask(&place, &other, &["--include", "*.csv"]), "IGNORED", &["--include"]);
    let sidecar = place.stage("a.csv.ok", "");
    assert_says(&ask(&place, &sidecar, &["--mode", "sidecar"]), "IGNORED", &["sidecar of a.csv"]);
    let link = place.staging.join("link.csv");
    symlink(&other, &link).unwrap();
    assert_says(&ask(&place, &link, &[]), "IGNORED", &["symbolic link"]);
    std::fs::create_dir(place.staging.join("dir")).unwrap();
    assert_says(&ask(&place, &place.staging.join("dir"), &[]), "IGNORED", &["directory"]);
    let below = place.stage("dir/a.csv", "");
    assert_says(&ask(&place, &below, &[]), "UNKNOWN", &["below a directory"]);
    assert_says(&ask(&place, &place.staging.join("nothing.csv"), &[]), "GONE", &["knows of nothing"]);
    assert_says(&ask(&place, Path::new("/elsewhere/a.csv"), &[]), "UNKNOWN", &["nothing is there"]);
}

/// Without a running ingestor, explain examines the file itself. It changes nothing.
#[test]
fn why_it_waits_by_a_look() {
    let place = Place::new();
    place.once_ok(&[]);
    let path = place.stage("a.csv", csv(1, 1_000));
    let before = snapshot(place.root.path());
    assert_says(&ask(&place, &path, &[]), "READY", &["no ingestor answers", &sha256_hex(&csv(1, 1_000))]);
    let sidecar = ["--mode", "sidecar"];
    assert_says(&ask(&place, &path, &sidecar), "WAITING", &["sidecar is not there", "a.csv.ok"]);
    assert_eq!(snapshot(place.root.path()), before);
    place.stage("a.csv.ok", sha256_hex(b"something else"));
    let both = [sha256_hex(&csv(1, 1_000)), sha256_hex(b"something else")];
    assert_says(&ask(&place, &path, &sidecar), "WAITING", &["another SHA-256", &both[0], &both[1]]);
    let writer = std::fs::File::options().append(true).open(&path).unwrap();
    assert_says(&ask(&place, &path, &[]), "WAITING", &["open for writing"]);
    drop(writer);
    // An upstream that opens the file again for each piece.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write as _;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::File::options().append(true).open(&path).unwrap().write_all(b"1,2\n").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let told = ask(&place, &path, &[]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let is_at_work = ["growing", "open for writing"].iter().any(|word| told.to_string().contains(word));
        assert!(told["status"] == "WAITING" && is_at_work, "{told}");
    });
}

/// With a running ingestor, which knows how long the file has waited, how often it failed, and when the next attempt is.
#[test]
fn why_it_waits_by_the_ingestor() {
    let place = Place::new();
    let daemon = place.start(&["--mode", "sidecar", "--scan-interval", "100ms"]);
    daemon.wait_started();
    let sidecar = ["--mode", "sidecar"];
    let path = place.stage("a.csv", csv(1, 1_000));
    wait_until("it is seen", || ask(&place, &path, &sidecar).get("ingestor").is_none());
    assert_says(&ask(&place, &path, &sidecar), "WAITING", &["sidecar"]);
    place.stage("a.csv.ok", sha256_hex(b"something else"));
    daemon.wait_for("file_failed", 5);
    let told = ask(&place, &path, &sidecar);
    assert_says(&told, "WAITING", &["another SHA-256", &sha256_hex(b"something else")]);
    assert!(told["failures"].as_u64() >= Some(5) && told["retry_in_seconds"].as_f64() > Some(0.0), "{told}");
    daemon.stop();
    let daemon = place.start(&["--stability-seconds", "3600", "--scan-interval", "100ms"]);
    daemon.wait_started();
    wait_until("it is seen", || ask(&place, &path, &[]).get("ingestor").is_none());
    let told = ask(&place, &path, &[]);
    assert_says(&told, "WAITING", &["not stable yet"]);
    assert_eq!(told["window_seconds"], 3600.0);
    assert!(told["unchanged_seconds"].as_f64() > Some(0.0), "{told}");
    daemon.stop();
    assert!(!place.state.join("control").exists(), "the socket goes with the ingestor");
}

/// Why: a name that the running ingestor ignores was reported as READY, unless the operator repeated all of its options.
#[test]
fn a_running_ingestor_tells_its_rules() {
    let place = Place::new();
    let options = ["--mode", "sidecar", "--sidecar-suffix", ".done", "--include", "*.csv", "--exclude", "old*"];
    let daemon = place.start(&[&options[..], &["--require-checksum", "--scan-interval", "100ms"]].concat());
    daemon.wait_started();
    let paths = ["a.txt", "A.CSV", "old.csv", "old.csv.done", "alone.csv.done", "b.csv.done", "b.csv", "c.csv"]
        .map(|name| place.stage(name, csv(1, 100)));
    wait_until("they are seen", || paths[6..].iter().all(|path| ask(&place, path, &[]).get("ingestor").is_none()));
    let by_it = "the options that it was started with";
    for (path, words) in paths.iter().zip([
        &["does not match --include"][..],
        &["only the case differs"],
        &["matches --exclude"],
        &["sidecar of old.csv, which is ignored itself"],
        &["orphaned sidecar", "alone.csv is not there"],
        &["it is the sidecar of b.csv"],
    ]) {
        // Whatever options explain gets, and whatever is in the environment.
        for more in [&[][..], &["--include", "*"], &["--mode", "stability", "--exclude", "x"]] {
            assert_says(&ask(&place, path, more), "IGNORED", &[words, &[by_it]].concat());
        }
    }
    assert_says(&ask(&place, &paths[6], &[]), "WAITING", &["checksum"]);
    assert_says(&ask(&place, &paths[7], &[]), "WAITING", &["its sidecar is not there", "c.csv.done"]);
    // A name that the ingestor does not ignore, whatever options explain gets.
    assert_says(&ask(&place, &paths[7], &["--include", "*.txt"]), "WAITING", &["c.csv.done"]);
    daemon.stop();
    // Without the ingestor, explain uses its own options.
    let told = ask(&place, &paths[0], &[]);
    assert_says(&told, "READY", &["no ingestor answers"]);
    let told = ask(&place, &paths[0], &options);
    assert_says(&told, "IGNORED", &["does not match --include"]);
    assert_eq!(told.get("ingestor"), None, "{told}");
}

/// Why: an `explain` of another version sends the same questions.
#[test]
fn questions_and_answers_keep_their_form() {
    use std::io::{Read as _, Write as _};
    let place = Place::new();
    let daemon = place.start(&["--stability-seconds", "3600", "--scan-interval", "100ms"]);
    daemon.wait_started();
    let path = place.stage("a.csv", csv(1, 100));
    wait_until("it is seen", || ask(&place, &path, &[]).get("ingestor").is_none());
    let say = |question: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(place.state.join("control")).unwrap();
        stream.write_all(format!("{question}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let told: Value = serde_json::from_str(&say(r#"{"explain":"YS5jc3Y="}"#)).unwrap();
    assert_eq!((&told["phase"], &told["window_seconds"]), (&Value::from("waiting"), &Value::from(3600.0)), "{told}");
    assert_eq!(say(r#"{"explain":"Yi5jc3Y="}"#), "null\n");
    assert_eq!(
        say(r#""rules""#),
        "{\"include\":[],\"exclude\":[],\"sidecar_suffix\":null,\"require_checksum\":false,\"min_age_ms\":0,\"size_max\":null}\n"
    );
    assert_eq!(say(r#"{"other":1}"#), "");
    daemon.stop();
}

/// A killed ingestor leaves its socket: no process answers there, and the next ingestor replaces it.
#[test]
fn a_dead_ingestors_socket_is_in_nobodys_way() {
    let place = Place::new();
    let options = ["--stability-seconds", "3600", "--scan-interval", "100ms"];
    let daemon = place.start(&options);
    daemon.wait_started();
    wait_until("it listens", || place.state.join("control").exists());
    daemon.kill();
    let path = place.stage("a.csv", csv(1, 1_000));
    assert_says(&ask(&place, &path, &[]), "READY", &["no ingestor answers"]);
    let daemon = place.start(&options);
    wait_until("it is seen", || ask(&place, &path, &[]).get("ingestor").is_none());
    // A client that sends nonsense, or nothing, does not block the others.
    let silent = std::os::unix::net::UnixStream::connect(place.state.join("control")).unwrap();
    let told = ask(&place, &path, &[]);
    assert_eq!(told["status"], "WAITING", "{told}");
    drop(silent);
    daemon.stop();
}

/// Why: the keys of a reason file replaced the answer's own, so whoever could write to the quarantine directory could have
/// it say that a file is ingested, and send control characters to a terminal.
fn a_forged_reason_says_nothing_else(place: &Place, file: &Path) {
    let path = format!("{}.reason.json", file.to_str().unwrap());
    let mut reason: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for key in ["asked", "asked_base64", "status", "summary", "warehouse_path", "sha256", "\u{1b}[2J", "a\nb"] {
        reason[key] = "forged".into();
    }
    reason["size"] = serde_json::json!({ "status": "forged" });
    reason["mtime"] = serde_json::json!(["forged"]);
    std::fs::write(&path, reason.to_string()).unwrap();
    let said = ask(place, file, &[]);
    assert_says(&said, "QUARANTINED", &["checksum_differs"]);
    assert!(!said.to_string().contains("forged"), "{said}");
    let text = out(&place.subcommand(&["explain", file.to_str().unwrap()]));
    assert!(!text.contains("forged") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_cannot_be_read_and_what_is_in_quarantine() {
    let place = Place::new();
    let quarantine = place.root.path().join("quarantine");
    let options = ["--mode", "sidecar", "--quarantine", quarantine.to_str().unwrap()];
    let path = place.stage("a.csv", csv(1, 1_000));
    place.stage("a.csv.ok", sha256_hex(b"something else"));
    place.once_failing(&options);
    assert_says(&ask(&place, &path, &[]), "GONE", &["quarantine", "moved_to"]);
    let names = std::fs::read_dir(&quarantine).unwrap().map(|entry| entry.unwrap().path());
    let file = names.filter(|path| path.extension().is_some_and(|extension| extension == "csv")).min().unwrap();
    let words = ["checksum_differs", path.to_str().unwrap(), &sha256_hex(b"something else")];
    assert_says(&ask(&place, &file, &[]), "QUARANTINED", &words);
    a_forged_reason_says_nothing_else(&place, &file);
    // If the journal has forgotten the file, the reason beside it still gives the answer.
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    assert_says(&ask(&place, &file, &[]), "QUARANTINED", &words);
    a_forged_reason_says_nothing_else(&place, &file);
    // By another path to the same file; and after it was moved back.
    let around = place.staging.join("../quarantine").join(file.file_name().unwrap());
    assert_says(&ask(&place, &around, &[]), "QUARANTINED", &words);
    std::fs::rename(&file, &path).unwrap();
    assert_says(&ask(&place, &path, &[]), "READY", &[]);
    assert_says(&ask(&place, &place.staging.join("../staging/a.csv"), &[]), "READY", &[]);
    std::fs::remove_file(&path).unwrap();
    let secret = place.stage("secret.csv", "");
    let mut command = std::process::Command::new(crate::harness::BINARY);
    command.args(["explain", "--json", "--state-path"]).arg(&place.state).arg(&secret);
    let Some(mut command) = as_nobody(&place, &command) else { return };
    chmod(&secret, 0o000);
    let told = json_lines(&out(&command.output().unwrap())).remove(0);
    assert_says(&told, "WAITING", &["cannot be read", "Permission denied"]);
}
