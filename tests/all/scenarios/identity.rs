//! By what two files are the same (`--identity`), with the real program.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::Value;

use super::super::harness::{BINARY, Place, bare, csv, err, json_lines, out, sha256_hex};
use super::events;

const BY_NAME: &[&str] = &["--identity", "name+content"];
const HEADER: &[u8] = b"day,count\n";

/// The names and contents in the manifests, each once.
#[track_caller]
fn listed(place: &Place) -> BTreeSet<(String, String)> {
    let lines = place.manifest_lines();
    let of = |line: &Value| {
        let path = line["path"].as_str().unwrap();
        (path.rsplit('/').next().unwrap().to_owned(), line["sha256"].as_str().unwrap().to_owned())
    };
    let all: BTreeSet<_> = lines.iter().map(of).collect();
    assert_eq!(all.len(), lines.len(), "listed twice: {lines:?}");
    let files = place.warehouse_files();
    assert_eq!(files.len(), lines.len(), "{:?}", files.keys());
    for line in &lines {
        let there = &files[std::path::Path::new(line["warehouse_path"].as_str().unwrap())];
        assert_eq!(sha256_hex(there), line["sha256"].as_str().unwrap(), "{line}");
    }
    all
}

fn expected(files: &[(&str, &[u8])]) -> BTreeSet<(String, String)> {
    files.iter().map(|(name, content)| ((*name).to_owned(), sha256_hex(content))).collect()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", out(output), err(output));
    out(output)
}

fn audit(place: &Place) -> Output {
    let mut command = bare(&["audit", "--json", "--grace", "0s"]);
    command.arg("--state-path").arg(&place.state).output().unwrap()
}

fn explained(place: &Place, name: &str) -> Value {
    let path = place.staging.join(name);
    json_lines(&succeeds(&place.subcommand(&["explain", "--json", path.to_str().unwrap()]))).remove(0)
}

/// The purpose: a report of a header only is ingested each day, under its name; and a name that is sent again with the same
/// content is a duplicate, also after a compaction.
#[test]
fn equal_contents_are_ingested_under_each_name() {
    let place = Place::new();
    place.stage("monday.csv", HEADER);
    place.stage("tuesday.csv", HEADER);
    place.stage("tuesday-2.csv", csv(1, 100));
    let started = place.once_ok(BY_NAME);
    let started = events(&started, "started").remove(0);
    assert_eq!((&started["identity"], &started["empty"]), (&"name+content".into(), &"ingest".into()));
    let mut all = vec![("monday.csv", HEADER), ("tuesday.csv", HEADER)];
    let other = csv(1, 100);
    all.push(("tuesday-2.csv", &other));
    assert_eq!(listed(&place), expected(&all));
    succeeds(&place.subcommand(&["journal", "compact"]));
    // One by one, after a start from a snapshot.
    place.stage("wednesday.csv", HEADER);
    place.stage("monday.csv", HEADER);
    let output = place.once_ok(&[BY_NAME, &["--duplicates", "remove"]].concat());
    assert_eq!(events(&output, "duplicate_skipped").len(), 1);
    all.push(("wednesday.csv", HEADER));
    assert_eq!(listed(&place), expected(&all));
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    let names: BTreeSet<&str> = ["monday.csv", "tuesday.csv", "tuesday-2.csv", "wednesday.csv"].into();
    let lines = place.manifest_lines();
    assert_eq!(lines.iter().map(|line| line["name"].as_str().unwrap()).collect::<BTreeSet<_>>(), names);
    let inspected = place.inspect();
    assert!(
        inspected.iter().all(|file| file["identity"] == "name+content" || file["state"] == "SKIPPED_DUPLICATE"),
        "{inspected:?}"
    );
    let status = succeeds(&place.subcommand(&["status", "--json"]));
    assert_eq!(json_lines(&status)[0]["identity"], "name+content");
    succeeds(&place.subcommand(&["journal", "verify"]));
}

/// Why: the audit must neither report lines of one content as doubled, nor miss a line that really is.
#[test]
fn an_audit_compares_names() {
    let place = Place::new();
    place.stage("a.csv", HEADER);
    place.stage("b.csv", HEADER);
    place.once_ok(BY_NAME);
    succeeds(&audit(&place));
    succeeds(&place.subcommand(&["journal", "compact"]));
    succeeds(&audit(&place));
    // The same line again.
    let manifest = std::path::PathBuf::from(
        succeeds(
            &std::process::Command::new("find")
                .arg(&place.manifests)
                .args(["-name", "manifest.jsonl"])
                .output()
                .unwrap(),
        )
        .trim(),
    );
    let text = std::fs::read_to_string(&manifest).unwrap();
    let first = text.lines().next().unwrap();
    std::fs::write(&manifest, format!("{text}{first}\n")).unwrap();
    let output = audit(&place);
    assert_eq!(output.status.code(), Some(5), "{}", out(&output));
    assert!(out(&output).contains("this name and content is in 2 lines"), "{}", out(&output));
}

/// Why: a change doubles what is sent again, so it must not come from a forgotten option; and the message must say so.
#[test]
fn a_change_needs_the_operators_consent() {
    let place = Place::new();
    place.stage("a.csv", HEADER);
    place.once_ok(&[]);
    place.stage("b.csv", HEADER);
    for more in [&[][..], &["--dry-run"]] {
        let refused = place.once(&[BY_NAME, more].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        let text = err(&refused);
        assert!(text.contains("--new-identity") && text.contains("is ingested again under each name"), "{text}");
    }
    assert_eq!(listed(&place), expected(&[("a.csv", HEADER)]), "a refused start changes nothing");
    place.once_ok(&[BY_NAME, &["--new-identity"]].concat());
    assert_eq!(listed(&place), expected(&[("a.csv", HEADER), ("b.csv", HEADER)]));
    // It is remembered, and the way back needs consent as well.
    place.once_ok(BY_NAME);
    let refused = place.once(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).contains("ingested once more if it is sent again, under whatever name"), "{}", err(&refused));
    // What was ingested by content before is still known by it.
    place.stage("c.csv", HEADER);
    let output = place.once_ok(&["--new-identity"]);
    assert_eq!(events(&output, "duplicate_skipped").len(), 1);
    assert_eq!(listed(&place).len(), 2);
    succeeds(&audit(&place));
}

/// Decided: kept duplicates were decided under the rule of their time, and stay; one that is written again is decided anew.
#[test]
fn kept_duplicates_stay_until_they_are_sent_again() {
    let place = Place::new();
    place.stage("a.csv", HEADER);
    place.once_ok(&[]);
    place.stage("b.csv", HEADER);
    place.once_ok(&[]);
    place.once_ok(&[BY_NAME, &["--new-identity"]].concat());
    assert_eq!((listed(&place).len(), place.staged_names()), (1, vec!["b.csv".to_owned()]));
    assert_eq!(explained(&place, "b.csv")["status"], "DUPLICATE");
    std::fs::remove_file(place.staging.join("b.csv")).unwrap();
    place.stage("b.csv", HEADER);
    assert_eq!(explained(&place, "b.csv")["status"], "READY");
    place.once_ok(BY_NAME);
    assert_eq!(listed(&place), expected(&[("a.csv", HEADER), ("b.csv", HEADER)]));
}

/// Why: each entry is forgotten by itself, and a content no longer says which one is meant.
#[test]
fn one_of_several_names_is_forgotten() {
    let place = Place::new();
    place.stage("a.csv", HEADER);
    place.stage("b.csv", HEADER);
    place.once_ok(BY_NAME);
    let ambiguous = place.subcommand(&["forget", &sha256_hex(HEADER)]);
    assert_eq!(ambiguous.status.code(), Some(2), "{}", err(&ambiguous));
    assert!(err(&ambiguous).contains("a.csv") && err(&ambiguous).contains("b.csv"), "{}", err(&ambiguous));
    let path = place.staging.join("a.csv");
    succeeds(&place.subcommand(&["forget", path.to_str().unwrap()]));
    place.stage("a.csv", HEADER);
    place.stage("b.csv", HEADER);
    let output = place.once_ok(BY_NAME);
    assert_eq!((events(&output, "file_ingested").len(), events(&output, "duplicate_skipped").len()), (1, 1));
    succeeds(&audit(&place));
}

/// Why: a rebuilt journal that knew the contents only would skip or double files; each line says its name.
#[test]
fn a_rebuilt_journal_knows_the_names() {
    let place = Place::new();
    for name in ["a.csv", "b.csv"] {
        place.stage(name, HEADER);
    }
    place.once_ok(BY_NAME);
    std::fs::remove_dir_all(&place.state).unwrap();
    let mut command = bare(&["journal", "rebuild", "--grace", "0s"]);
    command.arg("--state-path").arg(&place.state).arg("--manifests").arg(&place.manifests);
    let text = succeeds(&command.arg("--warehouse").arg(&place.warehouse).output().unwrap());
    assert!(text.starts_with("2 lines: 2 contents are remembered\n"), "{text}");
    for name in ["a.csv", "b.csv", "c.csv"] {
        place.stage(name, HEADER);
    }
    let output = place.once_ok(&[BY_NAME, &["--duplicates", "remove"]].concat());
    assert_eq!(events(&output, "duplicate_skipped").len(), 2);
    assert_eq!(listed(&place), expected(&[("a.csv", HEADER), ("b.csv", HEADER), ("c.csv", HEADER)]));
    succeeds(&audit(&place));
    assert_eq!(place.once(&[]).status.code(), Some(2), "the lines say what the lost journal has worked with");
}

/// Why: a dry run that compared contents only would announce duplicates that a run ingests.
#[test]
fn a_dry_run_knows_the_names() {
    let place = Place::new();
    place.stage("a.csv", HEADER);
    place.once_ok(BY_NAME);
    place.stage("a.csv", HEADER);
    place.stage("b.csv", HEADER);
    place.stage("c.csv", HEADER);
    let output = place.command().args(["--dry-run", "--stability-seconds", "0"]).args(BY_NAME).output().unwrap();
    let text = succeeds(&output);
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("READY"), count("DUPLICATE")), (2, 1), "{text}");
    assert!(BINARY.ends_with("csv-ingestor"));
}
