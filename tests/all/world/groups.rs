//! Groups: `--mode group`. Why: eleven of the twelve files of a month-end close were in the warehouse for an hour, and the
//! report that read them in that hour was wrong.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::audit::{AT_ONCE, audit};
use crate::harness::{Place, csv, err, json_lines, out, sha256_hex};

const GROUP: [&str; 2] = ["--mode", "group"];

/// The text of a group file that names these files with these contents.
fn sums(members: &[(&str, &[u8])]) -> String {
    members.iter().map(|(name, content)| format!("{}  {name}\n", sha256_hex(content))).collect()
}

/// Stages `count` files, and returns the text of their group file.
fn close(place: &Place, count: u64) -> String {
    let files: Vec<(String, Vec<u8>)> = (1..=count).map(|n| (format!("{n:02}.csv"), csv(n, 300))).collect();
    files.iter().for_each(|(name, content)| drop(place.stage_whole(name, content)));
    sums(&files.iter().map(|(name, content)| (&**name, &**content)).collect::<Vec<_>>())
}

fn once(place: &Place, more: &[&str]) -> std::process::Output {
    place.once(&[&GROUP, more].concat())
}

fn events(output: &std::process::Output, name: &str) -> Vec<Value> {
    json_lines(&err(output)).into_iter().filter(|line| line["event"] == name).collect()
}

fn manifest(place: &Place) -> PathBuf {
    let line = place.manifest_lines().remove(0);
    let at = line["ingested_at"].as_str().unwrap();
    place.manifests.join(at[..13].replace(['-', 'T'], "/")).join("manifest.jsonl")
}

#[test]
fn twelve_files_are_ingested_together_with_lines_next_to_each_other() {
    let place = Place::new();
    let text = close(&place, 12);
    place.stage_whole("close.group", &text);
    place.stage_whole("other.csv", csv(99, 100));
    let output = once(&place, &[]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(place.check_consistent(), 12);
    let lines = place.manifest_lines();
    assert!(lines.iter().all(|line| line["group"] == "close.group" && line["group_size"] == 12), "{lines:?}");
    assert!(lines.iter().all(|line| line["verified_by"] == "sha256" && line.get("group_known").is_none()), "{lines:?}");
    let ids: Vec<u64> = lines.iter().map(|line| line["ingest_id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(place.staged_names(), ["other.csv"]);
    assert!(out(&output).contains("other.csv (no group file names it)"), "{}", out(&output));
    let told = events(&output, "group_ingested");
    assert_eq!((told.len(), &told[0]["group_size"], &told[0]["moved"]), (1, &12.into(), &12.into()), "{told:?}");
    let explained = place.subcommand(&["explain", "--json", lines[0]["warehouse_path"].as_str().unwrap()]);
    let explained = json_lines(&out(&explained)).remove(0);
    assert_eq!((&explained["group"], &explained["manifest_line"]), (&"close.group".into(), &1.into()), "{explained}");
    audit(&place, &AT_ONCE).clean();
}

#[test]
fn a_group_that_lacks_a_member_or_a_sum_stays_as_a_whole() {
    let place = Place::new();
    let text = close(&place, 3);
    place.stage_whole("close.group", text.clone() + &sums(&[("04.csv", &csv(4, 300))]));
    let output = once(&place, &[]);
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    assert!(out(&output).contains("close.group (its group is not complete)"), "{}", out(&output));
    let told = events(&output, "group_incomplete");
    assert_eq!(told[0]["missing_members"], "04.csv (not there)", "{told:?}");
    assert!(place.warehouse_files().is_empty() && place.manifest_lines().is_empty());
    let explain = |name: &str| {
        let path = place.staging.join(name);
        let told = place.subcommand(&["explain", "--json", "--mode", "group", path.to_str().unwrap()]);
        json_lines(&out(&told)).remove(0)
    };
    let told = explain("01.csv");
    assert_eq!(told["summary"], "its group is not complete", "{told}");
    assert_eq!((&told["group"], &told["missing"][0]), (&"close.group".into(), &"04.csv (not there)".into()), "{told}");
    // With another content, it is there, and not the member.
    place.stage_whole("04.csv", csv(5, 300));
    let output = once(&place, &[]);
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    let failed = events(&output, "file_failed");
    assert!(failed[0]["error"].as_str().unwrap().contains("its group file says"), "{failed:?}");
    assert_eq!(explain("04.csv")["summary"], "its group file has another SHA-256");
    assert!(place.warehouse_files().is_empty() && place.manifest_lines().is_empty());
    place.stage_whole("04.csv", csv(4, 300));
    let output = once(&place, &[]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(place.check_consistent(), 4);
    assert!(place.staged_names().is_empty());
}

/// The member's content came before: in staging again, or not at all.
#[test]
fn known_contents_count_as_there_and_the_first_line_says_which() {
    let place = Place::new();
    place.stage_whole("old.csv", csv(1, 300));
    place.stage_whole("older.csv", csv(2, 300));
    place.once_ok(&[]);
    let of = |name: &str| {
        let ends = |line: &Value| line["path"].as_str().unwrap().ends_with(name);
        place.manifest_lines().into_iter().find(ends).unwrap()["ingest_id"].clone()
    };
    let (old, older) = (of("old.csv"), of("older.csv"));
    place.stage_whole("a.csv", csv(1, 300));
    place.stage_whole("b.csv", csv(3, 300));
    place.stage_whole("c.csv", csv(3, 300));
    let members = [("a.csv", csv(1, 300)), ("x.csv", csv(2, 300)), ("b.csv", csv(3, 300)), ("c.csv", csv(3, 300))];
    let members: Vec<(&str, &[u8])> = members.iter().map(|(name, content)| (*name, &**content)).collect();
    place.stage_whole("close.group", sums(&members));
    let output = once(&place, &["--duplicates", "remove"]);
    assert!(output.status.success(), "{}{}", err(&output), out(&output));
    assert_eq!(place.check_consistent(), 3);
    let line = place.manifest_lines().pop().unwrap();
    assert_eq!((&line["group"], &line["group_size"]), (&"close.group".into(), &4.into()), "{line}");
    let known = line["group_known"].as_array().unwrap();
    let told: Vec<_> = known.iter().map(|known| (known["name"].clone(), known["ingest_id"].clone())).collect();
    let expected = [("a.csv", old), ("x.csv", older), ("c.csv", line["ingest_id"].clone())];
    assert_eq!(told, expected.map(|(name, id)| (Value::from(name), id)), "{line}");
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    // The same group again: nothing is new, and no line is written.
    place.stage_whole("a.csv", csv(1, 300));
    place.stage_whole("close.group", sums(&members));
    let output = once(&place, &["--duplicates", "remove"]);
    assert!(output.status.success(), "{}{}", err(&output), out(&output));
    assert_eq!((place.check_consistent(), place.staged_names().len()), (3, 0), "{:?}", place.staged_names());
    assert_eq!(events(&output, "group_ingested")[0]["moved"], 0);
    audit(&place, &AT_ONCE).clean();
}

#[test]
fn a_group_file_that_cannot_be_used_is_told_and_stays() {
    let place = Place::new();
    let text = close(&place, 2);
    for (bad, why) in [
        (text.trim_end().to_owned(), "cut off"),
        (text.clone() + &sums(&[("../other.csv", b"x")]), "same directory"),
        (text.clone() + &sums(&[("/etc/passwd", b"x")]), "same directory"),
        (text.clone() + &sums(&[("01.csv", b"x")]), "twice"),
        (text.clone() + &sums(&[("part.tmp", b"x")]), "never ingested"),
        (text.clone() + "0123  x.csv\n", "line 3"),
    ] {
        place.stage_whole("close.group", bad);
        let output = once(&place, &[]);
        assert_eq!(output.status.code(), Some(6), "{why}: {}", err(&output));
        let failed = events(&output, "file_failed");
        assert!(failed[0]["error"].as_str().unwrap().contains(why), "{why}: {failed:?}");
        assert_eq!(place.staged_names(), ["01.csv", "02.csv", "close.group"], "{why}");
    }
    assert!(place.warehouse_files().is_empty());
}

/// Files of several directories, of which some have equal names: by a bag's manifest, and by a group in each directory.
#[test]
fn groups_in_directories_and_bags_are_whole() {
    let place = Place::new();
    let stage = |name: &str, content: &[u8]| {
        std::fs::create_dir_all(place.staging.join(name).parent().unwrap()).unwrap();
        place.stage(name, content);
    };
    let (a, b, c, d) = (csv(1, 300), csv(2, 300), csv(3, 300), csv(4, 300));
    stage("in/bag/data/a.csv", &a);
    stage("in/bag/bagit.txt", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n");
    stage("in/bag/manifest-sha256.txt", sums(&[("data/a.csv", &a), ("data/sub/100%25.csv", &b)]).as_bytes());
    stage("x/a.csv", &c);
    stage("x/close.group", sums(&[("a.csv", &c)]).as_bytes());
    stage("y/a.csv", &d);
    stage("y/close.group", sums(&[("a.csv", &d), ("b.csv", &b)]).as_bytes());
    // Without directories, their groups are not seen.
    assert!(once(&place, &[]).status.success());
    let output = once(&place, &["--recursive"]);
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    let mut lacking: Vec<_> = events(&output, "group_incomplete");
    lacking.sort_by_key(|told| told["path"].to_string());
    let lacking: Vec<_> = lacking.iter().map(|told| told["missing_members"].as_str().unwrap()).collect();
    assert_eq!(lacking, ["data/sub/100%.csv (not there)", "b.csv (not there)"], "{}", err(&output));
    assert_eq!(place.check_consistent(), 1);
    let asked = ["explain", "--json", "--mode", "group", "--recursive"];
    let path = place.staging.join("in/bag/data/a.csv");
    let told = json_lines(&out(&place.subcommand(&[&asked[..], &[path.to_str().unwrap()]].concat()))).remove(0);
    assert_eq!((&told["status"], &told["group"]), (&"WAITING".into(), &"in/bag/manifest-sha256.txt".into()), "{told}");
    assert_eq!(told["missing"][0], "data/sub/100%.csv (not there)", "{told}");
    // What the bag lacks is there for the other group afterwards, or the other way round.
    stage("in/bag/data/sub/100%.csv", &b);
    stage("y/b.csv", &b);
    let output = once(&place, &["--recursive", "--duplicates", "remove"]);
    assert!(output.status.success(), "{}{}", err(&output), out(&output));
    assert_eq!(place.check_consistent(), 4);
    let lines = place.manifest_lines();
    let count = |group: &str, size: u64| {
        lines.iter().filter(|line| line["group"] == group && line["group_size"] == size).count()
    };
    assert_eq!(count("x/close.group", 1), 1, "{lines:?}");
    assert_eq!(count("in/bag/manifest-sha256.txt", 2) + count("y/close.group", 2), 3, "{lines:?}");
    let left =
        ["in/bag/bagit.txt", "in/bag/manifest-sha256.txt", "x/close.group", "y/close.group", "y/a.csv", "y/b.csv"];
    let left: Vec<_> = left.into_iter().filter(|name| place.staging.join(name).exists()).collect();
    assert_eq!(left, ["in/bag/bagit.txt"]);
    audit(&place, &AT_ONCE).clean();
}

/// Why: what a bag names below `data` is not seen without `--recursive`; it must not seem to be late.
#[test]
fn a_bag_without_recursive_is_told() {
    let place = Place::new();
    place.stage_whole("manifest-sha256.txt", sums(&[("data/a.csv", b"a,b\n")]));
    let output = once(&place, &[]);
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    let failed = events(&output, "file_failed");
    assert!(failed[0]["error"].as_str().unwrap().contains("--recursive"), "{failed:?}");
}

#[test]
fn what_a_group_lacks_is_told_after_its_timeout() {
    let place = Place::new();
    let text = close(&place, 2) + &sums(&[("late.csv", &csv(7, 300))]);
    let options =
        ["--mode", "group", "--stability-seconds", "0", "--scan-interval", "100ms", "--group-timeout", "300ms"];
    let daemon = place.start(&options);
    daemon.wait_started();
    let path = place.stage_whole("close.group", text);
    let told = daemon.wait_for("group_incomplete", 1);
    assert_eq!((&told[0]["missing"], &told[0]["group_size"]), (&1.into(), &3.into()), "{told:?}");
    assert_eq!(told[0]["missing_members"], "late.csv (not there)", "{told:?}");
    let asked = json_lines(&out(&place.subcommand(&["explain", "--json", path.to_str().unwrap()]))).remove(0);
    assert_eq!(
        (&asked["status"], &asked["missing"][0]),
        (&"WAITING".into(), &"late.csv (not there)".into()),
        "{asked}"
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(daemon.events("group_incomplete").len(), 1, "once");
    assert!(place.warehouse_files().is_empty());
    place.stage_whole("late.csv", csv(7, 300));
    daemon.wait_for("group_ingested", 1);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 3);
    assert!(place.staged_names().is_empty());
}

#[test]
fn groups_go_to_another_file_system_and_a_dry_run_tells_all_or_none() {
    let Some((place, _other)) = Place::across_file_systems() else { return };
    let text = close(&place, 3);
    place.stage_whole("close.group", &text);
    place.stage_whole("half.group", sums(&[("04.csv", &csv(4, 300)), ("05.csv", &csv(5, 300))]));
    place.stage_whole("04.csv", csv(4, 300));
    let dry = place.command().args(["--dry-run", "--stability-seconds", "0"]).args(GROUP).output().unwrap();
    let told = out(&dry);
    assert_eq!(told.lines().filter(|line| line.starts_with("READY: ")).count(), 3, "{told}");
    assert!(told.contains("04.csv (its group is not complete)"), "{told}");
    let output = once(&place, &[]);
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    assert_eq!(place.check_consistent(), 3);
    assert_eq!(place.staged_names(), ["04.csv", "half.group"]);
    audit(&place, &AT_ONCE).clean();
}

/// A malformed member keeps the whole group in staging, and nothing goes to quarantine.
#[test]
fn a_malformed_member_holds_its_whole_group() {
    let place = Place::new();
    let bad = b"a,b\n1,2,3\n".to_vec();
    let text = close(&place, 2) + &sums(&[("bad.csv", &bad)]);
    place.stage_whole("bad.csv", bad);
    place.stage_whole("close.group", text);
    let quarantine = place.root.path().join("quarantine");
    let options = ["--validate", "csv", "--quarantine", quarantine.to_str().unwrap()];
    let output = once(&place, &options);
    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    assert!(events(&output, "file_failed")[0]["error"].as_str().unwrap().contains("malformed"), "{}", err(&output));
    assert_eq!((place.staged_names().len(), place.warehouse_files().len()), (4, 0));
    let output = once(&place, &[&options[..], &["--malformed", "mark"]].concat());
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(place.check_consistent(), 3);
}

#[test]
fn an_audit_finds_a_group_of_which_lines_are_missing() {
    let place = Place::new();
    let text = close(&place, 4);
    place.stage_whole("close.group", &text);
    assert!(once(&place, &[]).status.success());
    let path = manifest(&place);
    let lines = std::fs::read_to_string(&path).unwrap();
    let without: String =
        lines.lines().filter(|line| !line.contains("/03.csv")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, without).unwrap();
    let audited = audit(&place, &AT_ONCE);
    let kinds: Vec<_> = audited.findings.iter().map(|finding| finding["finding"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"group_incomplete") && kinds.contains(&"not_listed"), "{kinds:?}");
}

/// Why: with `--once` no scan followed that would have shown that the shared file is in the warehouse by now, and the second
/// group was reported as incomplete.
#[test]
fn two_groups_that_name_one_file_are_both_ingested() {
    let place = Place::new();
    close(&place, 3);
    for (name, members) in [("1.group", [1, 2]), ("2.group", [2, 3]), ("3.group", [3, 1])] {
        let members = members.map(|number| (format!("{number:02}.csv"), csv(number, 300)));
        place.stage_whole(name, sums(&members.each_ref().map(|(name, content)| (&**name, &**content))));
    }
    let output = once(&place, &[]);
    assert!(output.status.success(), "{}\n{}", out(&output), err(&output));
    assert_eq!(place.check_consistent(), 3);
    assert!(place.staged_names().is_empty(), "{:?}", place.staged_names());
    let known: Vec<Value> = place.manifest_lines().into_iter().map(|mut line| line["group_known"].take()).collect();
    assert_eq!(known.iter().filter(|known| !known.is_null()).count(), 1, "{known:?}");
}
