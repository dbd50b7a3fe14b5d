//! `--layout` and `--name-pattern`: where files get in the warehouse, and every command that has to know.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::harness::{Place, bare, csv, err, json_lines, out, sh};
use super::{events, stop};

const TEMPLATE: &str = "source={source}/event_date={day:%Y%m%d}";
const PATTERN: &str = r"^(?<source>[^_]+)_(?<day>\d{8})";
const TWO_LEVELS: &[&str] = &["--layout", TEMPLATE, "--name-pattern", PATTERN];

/// Paths in the warehouse, without its own.
fn found(place: &Place) -> Vec<String> {
    let below = |path: &PathBuf| path.strip_prefix(&place.warehouse).unwrap().to_str().unwrap().to_owned();
    place.warehouse_files().keys().map(below).collect()
}

#[track_caller]
fn audit(place: &Place, more: &[&str]) -> Vec<Value> {
    let output = place.subcommand(&[&["audit", "--grace", "0s"], more].concat());
    let mut lines = json_lines(&out(&output));
    lines.pop().unwrap_or_else(|| panic!("{}", err(&output)));
    lines
}

fn explain(place: &Place, path: &Path) -> Value {
    let output = place.subcommand(&["explain", "--json", path.to_str().unwrap()]);
    json_lines(&out(&output)).pop().unwrap_or_else(|| panic!("{}", err(&output)))
}

/// The purpose: partitions that say where a file is from and of which day it is. A value that could be mistaken for a part
/// of the path is escaped.
#[test]
fn a_file_gets_into_the_directory_that_its_name_says() {
    let place = Place::new();
    for (seed, name) in
        ["crm_20260102.csv", "crm_20260103.csv", "a=b c:50%_20260102.csv", "größe_20240229.csv"].iter().enumerate()
    {
        place.stage(name, csv(seed as u64, 500));
    }
    place.once_ok(TWO_LEVELS);
    let mut expected = [
        "source=crm/event_date=2026-01-02/crm_20260102.csv",
        "source=crm/event_date=2026-01-03/crm_20260103.csv",
        "source=a%3Db c%3A50%25/event_date=2026-01-02/a=b c:50%_20260102.csv",
        "source=größe/event_date=2024-02-29/größe_20240229.csv",
    ];
    expected.sort_unstable();
    assert_eq!(found(&place), expected);
    assert_eq!(place.check_consistent(), 4);
    assert_eq!(audit(&place, &[]), [Value::Null; 0]);
    // The times are those of the manifest's line.
    place.stage("later.csv", csv(9, 500));
    place.once_ok(&["--layout", "d={ingest_date}/h={ingest_hour}/{subdir}"]);
    let line = place.manifest_lines().into_iter().find(|line| line["path"].as_str().unwrap().ends_with("later.csv"));
    let at = line.unwrap()["ingested_at"].as_str().unwrap().to_owned();
    assert!(found(&place).contains(&format!("d={}/h={}/later.csv", &at[..10], &at[11..13])), "{:?}", found(&place));
}

/// Why: an operator who changes the template expects that new files go by the new one, that the old ones stay where they
/// are, and that nothing is ingested twice.
#[test]
fn the_layout_may_be_another_one_at_each_start() {
    let place = Place::new();
    let layouts: [&[&str]; 4] = [&[], TWO_LEVELS, &["--layout", "all/{ingest_date}"], &[]];
    for (seed, layout) in layouts.into_iter().enumerate() {
        place.stage(format!("crm_2026010{}.csv", seed + 1), csv(seed as u64, 500));
        if seed > 0 {
            place.stage("again_20260101.csv", csv(seed as u64 - 1, 500));
        }
        place.once_ok(layout);
        assert_eq!(place.check_consistent(), seed + 1);
    }
    let all = found(&place);
    let of = |top: &str| all.iter().filter(|path| path.starts_with(top)).count();
    assert_eq!((of("ingest_date="), of("source=crm/event_date=2026-01-02/"), of("all/")), (2, 1, 1), "{all:?}");
    assert_eq!(audit(&place, &[]), [Value::Null; 0]);
    for path in place.warehouse_files().keys() {
        assert_eq!(explain(&place, path)["status"], "INGESTED", "{}", path.display());
    }
    // The journal has each of them once, and compaction keeps the last.
    place.once_ok(TWO_LEVELS);
    place.subcommand(&["journal", "compact"]);
    place.stage("crm_20260109.csv", csv(9, 500));
    assert_eq!(explain(&place, &place.staging.join("crm_20260109.csv"))["status"], "READY");
    let dir = place.warehouse.join("source=crm/event_date=2026-01-09");
    assert_eq!(explain(&place, &place.staging.join("crm_20260109.csv"))["warehouse_dir"], dir.to_str().unwrap());
}

/// Without quarantine the file stays, and everything that an operator may ask says why. Its content is not read for that.
#[test]
fn a_name_that_does_not_match_fails() {
    let place = Place::new();
    place.stage("crm.csv", csv(1, 500));
    place.stage("crm_20260230.csv", csv(2, 500));
    place.stage("crm_20260102.csv", csv(7, 500));
    let dry = place.once(&[TWO_LEVELS, &["--dry-run"]].concat());
    assert!(out(&dry).contains("WAITING: ") && out(&dry).contains("does not match the name crm.csv"), "{}", out(&dry));
    assert!(out(&dry).contains("{day}: 20260230 is no date %Y%m%d"), "{}", out(&dry));
    assert!(
        out(&dry).contains("-> ") && out(&dry).contains("/source=crm/event_date=2026-01-02/crm_20260102.csv"),
        "{}",
        out(&dry)
    );
    let output = place.once_failing(TWO_LEVELS);
    let failed = events(&output, "file_failed");
    assert_eq!(failed.len(), 2, "{failed:?}");
    let text = out(&output);
    assert!(text.contains("(its name does not fit --layout and --name-pattern)"), "{text}");
    assert_eq!(found(&place), ["source=crm/event_date=2026-01-02/crm_20260102.csv"]);
    let told = explain(&place, &place.staging.join("crm_20260230.csv"));
    assert_eq!(
        (&told["status"], &told["summary"]),
        (&"WAITING".into(), &"its name does not fit --layout and --name-pattern".into())
    );
    assert_eq!(told["error"], "{day}: 20260230 is no date %Y%m%d");
    // A running ingestor says the same, and repeats it; with another layout the files are taken.
    let daemon = place.start(&[super::QUICK, TWO_LEVELS].concat());
    assert!(daemon.wait_for("file_failed", 2)[0]["retry_in"].is_string());
    assert_eq!(explain(&place, &place.staging.join("crm.csv"))["error"], unmatched());
    stop(daemon);
    place.once_ok(&[]);
    assert_eq!(place.check_consistent(), 3);
}

/// The error for `crm.csv`.
fn unmatched() -> String {
    format!("--name-pattern {PATTERN} does not match the name crm.csv")
}

#[test]
fn with_quarantine_a_name_that_does_not_match_goes_there_at_once() {
    let place = Place::new();
    let dir = place.root.path().join("quarantine");
    let textfile = place.root.path().join("metrics.prom");
    let path = place.stage("crm.csv", csv(1, 500));
    let more = ["--quarantine", dir.to_str().unwrap(), "--metrics-textfile", textfile.to_str().unwrap()];
    let dry = place.once(&[TWO_LEVELS, &more[..2], &["--dry-run"]].concat());
    assert!(out(&dry).contains("; goes to quarantine)"), "{}", out(&dry));
    let output = place.once_failing(&[TWO_LEVELS, &more[..]].concat());
    let event = events(&output, "file_quarantined").pop().unwrap();
    assert_eq!((&event["path"], &event["reason"]), (&path.to_str().unwrap().into(), &"no_match".into()));
    assert!(place.staged_names().is_empty() && found(&place).is_empty());
    let target = PathBuf::from(event["target"].as_str().unwrap());
    let reason = std::fs::read(format!("{}.reason.json", target.display())).unwrap();
    let reason: Value = serde_json::from_slice(&reason).unwrap();
    assert_eq!((&reason["reason"], &reason["error"]), (&"no_match".into(), &unmatched().into()));
    assert_eq!(explain(&place, &target)["status"], "QUARANTINED");
    let metrics = std::fs::read_to_string(textfile).unwrap();
    assert!(metrics.contains("reason=\"no_match\"} 1\n"), "{metrics}");
}

/// The walk of an audit knows partitions of any depth, by its lines and by the journal's layout, and takes no other
/// program's directories for them.
#[test]
fn an_audit_knows_partitions_of_any_depth() {
    let place = Place::new();
    place.stage("crm_20260102.csv", csv(1, 500));
    place.once_ok(TWO_LEVELS);
    let partition = place.warehouse.join("source=crm/event_date=2026-01-02");
    for (dir, name) in
        [("source=crm", "a.csv"), ("source=crm/event_date=2026-01-02", "b.csv"), ("source=erp/x", "c.csv")]
    {
        std::fs::create_dir_all(place.warehouse.join(dir)).unwrap();
        std::fs::write(place.warehouse.join(dir).join(name), "extra").unwrap();
    }
    for not_ours in ["other/x.csv", "source=crm/.hidden/x.csv"] {
        let path = place.warehouse.join(not_ours);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let mut paths: Vec<String> = audit(&place, &[])
        .iter()
        .map(|it| {
            assert_eq!(it["finding"], "extra", "{it}");
            Path::new(it["path"].as_str().unwrap()).strip_prefix(&place.warehouse).unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["source=crm/a.csv", "source=crm/event_date=2026-01-02/b.csv", "source=erp/x/c.csv"]);
    // Their lines may be older than what is looked at.
    assert_eq!(audit(&place, &["--since", "1d"]), [Value::Null; 0]);
    std::fs::remove_dir_all(&partition).unwrap();
    let kinds: Vec<Value> = audit(&place, &["--since", "1d"]).iter().map(|it| it["finding"].clone()).collect();
    assert_eq!(kinds, ["missing"]);
}

/// A lost journal is rebuilt from the lines, whatever the layout; and a warehouse that was moved is known at its new path,
/// with the journal and without it.
#[test]
fn a_journal_is_rebuilt_and_a_warehouse_may_be_moved() {
    let mut place = Place::new();
    place.stage("crm_20260102.csv", csv(1, 500));
    place.once_ok(TWO_LEVELS);
    place.stage("day.csv", csv(2, 500));
    place.once_ok(&["--layout", "{subdir}"]);
    assert_eq!(found(&place), ["day.csv", "source=crm/event_date=2026-01-02/crm_20260102.csv"]);
    std::fs::remove_dir_all(&place.state).unwrap();
    let dirs = ["--warehouse", place.warehouse.to_str().unwrap(), "--manifests", place.manifests.to_str().unwrap()];
    let rebuilt = place.subcommand(&[&["journal", "rebuild"], &dirs[..]].concat());
    assert!(rebuilt.status.success(), "{}{}", out(&rebuilt), err(&rebuilt));
    assert_eq!(place.check_consistent(), 2);
    place.stage("again_20260102.csv", csv(1, 500));
    place.once_ok(TWO_LEVELS);
    assert_eq!(place.check_consistent(), 2);

    let moved = place.root.path().join("moved");
    std::fs::rename(&place.warehouse, &moved).unwrap();
    let dirs = ["--warehouse", moved.to_str().unwrap(), "--manifests", place.manifests.to_str().unwrap()];
    let output = bare(&[&["audit"], &dirs[..]].concat()).output().unwrap();
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
    place.warehouse = moved;
    place.stage("more_20260102.csv", csv(3, 500));
    place.once_ok(TWO_LEVELS);
    assert_eq!(audit(&place, &[]), [Value::Null; 0]);
    assert_eq!(place.warehouse_files().len(), 3);
}

/// Warehouse and manifests may be one directory: no file gets in the manifests' way.
#[test]
fn no_file_gets_among_the_manifests() {
    let mut place = Place::new();
    place.manifests = place.warehouse.clone();
    place.stage("2026_a.csv", csv(1, 500));
    place.stage("x26_a.csv", csv(2, 500));
    let layout = ["--layout", "{source}", "--name-pattern", "^(?<source>[^_]*)"];
    let output = place.once_failing(&layout);
    assert!(events(&output, "file_failed")[0]["error"].as_str().unwrap().contains("2026 is for manifests"));
    assert_eq!(place.staged_names(), ["2026_a.csv"]);
    // The same by another path.
    let link = place.root.path().join("link");
    sh("ln", &["-s".as_ref(), place.warehouse.as_ref(), link.as_ref()]);
    place.manifests = link;
    place.once_failing(&layout);
    assert_eq!(place.staged_names(), ["2026_a.csv"]);
}

/// A mistake is reported before anything is done, with its place; `config check` finds it too.
#[test]
fn a_bad_layout_is_refused_at_the_start() {
    let place = Place::new();
    place.stage("crm_20260102.csv", csv(1, 500));
    let dir = place.root.path().join("orders.toml");
    for (options, message) in [
        (["--layout", "a//b"], "--layout, character 3: a directory without a name"),
        (["--layout", "{day}"], "--layout, character 2: {day} is none of"),
        (["--layout", "../{ingest_date}"], "--layout, character 1: a directory's name cannot begin"),
        (["--name-pattern", "(a"], "--name-pattern, character 1: unclosed group"),
        (["--name-pattern", "(?<ingest_date>a)"], "--name-pattern: a group cannot have the name ingest_date"),
    ] {
        let output = place.once(&options);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains(message), "{}", err(&output));
        std::fs::write(&dir, format!("input = 'in'\n{} = '{}'\n", &options[0][2..], options[1])).unwrap();
        let checked = bare(&["config", "check", dir.to_str().unwrap()]).output().unwrap();
        assert_eq!(checked.status.code(), Some(2), "{options:?}: {}", out(&checked));
        assert!(out(&checked).contains("--layout") || out(&checked).contains("--name-pattern"), "{}", out(&checked));
    }
    assert!(!place.state.exists() && !place.warehouse.exists());
    let started = place.once_ok(TWO_LEVELS);
    let started = events(&started, "started").pop().unwrap();
    assert_eq!((&started["layout"], &started["name_pattern"]), (&TEMPLATE.into(), &PATTERN.into()));
}
