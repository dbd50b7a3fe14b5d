//! Faults in the manifests' lines.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use super::{AT_ONCE, Audited, at, audit, audit_without_journal, ingest, ingested};
use crate::harness::{Place, csv};

/// A place with one manifest, and its path. If the hour ends meanwhile, it starts again.
pub(super) fn one_manifest(files: u64) -> (Place, PathBuf) {
    for _ in 0..3 {
        let place = ingested(files);
        let mut found = Vec::new();
        let mut pending = vec![place.manifests.clone()];
        while let Some(path) = pending.pop() {
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue; // the lock's directory
            }
            if path.is_dir() {
                pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                found.push(path);
            }
        }
        if let [manifest] = &found[..] {
            return (place, manifest.clone());
        }
    }
    panic!("three hours ended");
}

fn append(manifest: &PathBuf, text: &str) {
    File::options().append(true).open(manifest).unwrap().write_all(text.as_bytes()).unwrap();
}

fn line_of(manifest: &PathBuf, name: &str) -> String {
    let text = std::fs::read_to_string(manifest).unwrap();
    text.lines().find(|line| line.contains(&format!("/{name}\""))).unwrap().to_owned()
}

pub(super) fn edit(manifest: &PathBuf, name: &str, change: impl Fn(&mut Value)) {
    let text = std::fs::read_to_string(manifest).unwrap();
    let lines = text.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        if line.contains(&format!("/{name}\"")) {
            change(&mut value);
        }
        format!("{value}\n")
    });
    let text: String = lines.collect();
    std::fs::write(manifest, text).unwrap();
}

fn numbers(audited: &Audited) -> Vec<u64> {
    audited.findings[0]["lines"].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()).collect()
}

#[test]
fn a_line_that_stands_there_twice_is_told_once_with_both_places() {
    let (place, manifest) = one_manifest(3);
    append(&manifest, &format!("{}\n", line_of(&manifest, "2.csv")));
    let audited = audit(&place, &[]);
    assert!(audited.found(&["listed_twice"])["detail"].as_str().unwrap().contains("content"));
    let text = std::fs::read_to_string(&manifest).unwrap();
    let expected: Vec<u64> =
        text.lines().zip(1..).filter(|(line, _)| line.contains("/2.csv\"")).map(|(_, number)| number).collect();
    assert_eq!(numbers(&audited), expected);
    audit_without_journal(&place, &[]).found(&["listed_twice"]);
}

/// Why: nothing is ever overwritten, so if two contents have the same path, one of them is lost.
#[test]
fn one_place_or_one_id_in_two_lines_is_a_finding() {
    let (place, manifest) = one_manifest(2);
    let mut line: Value = serde_json::from_str(&line_of(&manifest, "2.csv")).unwrap();
    line["sha256"] = "ab".repeat(32).into();
    line["ingest_id"] = 999_999.into();
    line["seq"] = 3.into();
    append(&manifest, &format!("{line}\n"));
    let audited = audit_without_journal(&place, &[]);
    assert!(audited.found(&["listed_twice"])["detail"].as_str().unwrap().contains("place"));

    let (place, manifest) = one_manifest(2);
    let mut line: Value = serde_json::from_str(&line_of(&manifest, "2.csv")).unwrap();
    line["sha256"] = crate::harness::sha256_hex(&csv(5, 300)).into();
    line["size"] = csv(5, 300).len().into();
    let there = at(&place, "2.csv").with_file_name("5.csv");
    std::fs::write(&there, csv(5, 300)).unwrap();
    line["warehouse_path"] = there.to_str().unwrap().into();
    append(&manifest, &format!("{line}\n"));
    let audited = audit_without_journal(&place, &[]);
    assert!(audited.found(&["listed_twice"])["detail"].as_str().unwrap().contains("ingest id"));
}

#[test]
fn what_is_no_line_is_told_with_its_number() {
    let (place, manifest) = one_manifest(2);
    append(&manifest, "not JSON\n{\"path\":1}\n");
    let again = line_of(&manifest, "1.csv").replace("/1.csv", "/x.csv");
    // A newer version may add keys; no version writes a line of hundreds of kilobytes.
    edit_text(&manifest, |text| text.replacen("\"device\"", "\"rows\":7,\"header\":[\"id\"],\"device\"", 1));
    append(&manifest, &format!("{}\n", "x".repeat(600_000)));
    append(&manifest, &again[..again.len() - 20]);
    let audited = audit(&place, &AT_ONCE);
    audited.found(&["malformed_line", "malformed_line", "malformed_line", "torn_line"]);
    let lines: Vec<&Value> = audited.findings.iter().map(|finding| &finding["lines"][0]["line"]).collect();
    assert_eq!(lines, [3, 4, 5, 6]);
    assert_eq!(audited.findings[0]["path"], manifest.to_str().unwrap());
    assert_eq!(audited.summary["lines"], 2);
}

fn edit_text(manifest: &PathBuf, change: impl Fn(String) -> String) {
    std::fs::write(manifest, change(std::fs::read_to_string(manifest).unwrap())).unwrap();
}

/// Why: a consumer that remembers the largest number rests on these: none is missing, and none is there twice.
#[test]
fn numbers_that_are_missing_or_there_twice_are_findings() {
    let (place, manifest) = one_manifest(5);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let lines: Vec<String> = text.lines().skip(1).take(2).map(str::to_owned).collect();
    edit_text(&manifest, |text| text.replace(&format!("{}\n{}\n", lines[0], lines[1]), ""));
    let audited = audit_without_journal(&place, &AT_ONCE);
    audited.found(&["extra", "extra", "gap"]);
    let gap = audited.findings.iter().find(|finding| finding["finding"] == "gap").unwrap();
    assert!(gap["detail"].as_str().unwrap().starts_with("lines 2 to 3 of journal "), "{gap}");
    // Not in the order of the numbers: nothing is missing.
    append(&manifest, &format!("{}\n", lines.join("\n")));
    audit(&place, &AT_ONCE).clean();
    edit_text(&manifest, |text| text.replace("\"seq\":2", "\"seq\":1"));
    let audited = audit_without_journal(&place, &AT_ONCE);
    audited.found(&["gap", "listed_twice"]);
    assert!(audited.findings.iter().any(|finding| finding["detail"].as_str().unwrap().ends_with("have the number 1")));
}

#[test]
fn a_manifested_file_without_its_line_is_not_listed() {
    let (place, manifest) = one_manifest(3);
    let line = line_of(&manifest, "2.csv");
    edit_text(&manifest, |text| text.replace(&format!("{line}\n"), ""));
    let audited = audit(&place, &AT_ONCE);
    audited.found(&["gap", "not_listed"]);
    let finding = audited.findings.iter().find(|finding| finding["finding"] == "not_listed").unwrap();
    assert_eq!(finding["path"], at(&place, "2.csv").to_str().unwrap());
    assert!(finding["lines"].as_array().unwrap().is_empty());
    // Without a journal, the file is unknown.
    audit_without_journal(&place, &AT_ONCE).found(&["extra", "gap"]);
    std::fs::remove_file(at(&place, "2.csv")).unwrap();
    audit(&place, &AT_ONCE).found(&["gap", "missing", "not_listed"]);
    // All manifests are lost.
    std::fs::remove_dir_all(&place.manifests).unwrap();
    std::fs::create_dir(&place.manifests).unwrap();
    audit(&place, &AT_ONCE).found(&["missing", "not_listed", "not_listed", "not_listed"]);
}

#[test]
fn a_line_that_says_something_else_than_the_journal_is_a_contradiction() {
    let other = "cd".repeat(32);
    for (key, value, said) in [
        ("ingested_at", Value::from("2026-01-01T00:00:00.000Z"), "found complete at"),
        ("ingest_id", 777_777.into(), "ingest id is"),
        ("sha256", other.as_str().into(), "SHA-256 is"),
        ("size", 5.into(), "size is"),
    ] {
        let (place, manifest) = one_manifest(3);
        edit(&manifest, "2.csv", |line| line[key] = value.clone());
        let audited = audit(&place, &[]);
        let contradiction = audited.findings.iter().find(|finding| finding["finding"] == "contradiction");
        let detail =
            contradiction.unwrap_or_else(|| panic!("{key}: {:?}", audited.findings))["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
        // The file does not match such a line.
        let file =
            if key == "sha256" || key == "size" { vec!["altered", "contradiction"] } else { vec!["contradiction"] };
        assert_eq!(audited.kinds(), if key == "size" { vec!["contradiction"] } else { file }, "{key}");
    }
    let (place, manifest) = one_manifest(3);
    edit(&manifest, "2.csv", |line| {
        let path = line["warehouse_path"].as_str().unwrap().replace("/2.csv", "/renamed.csv");
        line["warehouse_path"] = path.into();
    });
    std::fs::rename(at(&place, "2.csv"), at(&place, "1.csv").with_file_name("renamed.csv")).unwrap();
    audit(&place, &[]).found(&["contradiction"]);
}

/// Why: if old manifests are pruned, or an audit runs each night, only some days matter.
#[test]
fn since_leaves_older_days_out() {
    let (place, manifest) = one_manifest(1);
    let mut line: Value = serde_json::from_str(&line_of(&manifest, "1.csv")).unwrap();
    let hour = place.manifests.join("2020/02/03/04");
    std::fs::create_dir_all(&hour).unwrap();
    line["sha256"] = "ab".repeat(32).into();
    line["ingest_id"] = 1_000_000.into();
    line["seq"] = 2.into();
    line["path"] = "/elsewhere/old.csv".into();
    line["ingested_at"] = "2020-02-03T04:05:06.789Z".into();
    line["warehouse_path"] = place.warehouse.join("ingest_date=2020-02-03/old.csv").to_str().unwrap().into();
    std::fs::write(hour.join("manifest.jsonl"), format!("{line}\n")).unwrap();
    std::fs::create_dir(place.warehouse.join("ingest_date=2020-02-02")).unwrap();
    std::fs::write(place.warehouse.join("ingest_date=2020-02-02/x.csv"), "x").unwrap();
    audit(&place, &AT_ONCE).found(&["extra", "missing"]);
    audit(&place, &["--since", "2020-02-03"]).found(&["missing"]);
    let audited = audit(&place, &["--since", "2020-02-04"]);
    audited.clean();
    assert_eq!((&audited.summary["lines"], &audited.summary["since"]), (&1.into(), &"2020-02-04T00:00:00.000Z".into()));
    audit(&place, &["--since", "2d"]).clean();
    // The journal's files are older than that day.
    ingest(&place, 2..=2);
    audit(&place, &["--since", "9999-01-01"]).clean();
}
