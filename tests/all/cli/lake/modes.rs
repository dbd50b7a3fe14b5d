//! `run` and its relatives with a lake in directories: what a dry run and `explain` say.

use std::path::PathBuf;

use serde_json::Value;

use super::{done, half_done};
use crate::harness::{Place, err, json_lines, out, snapshot};
use crate::lake::desk::{Desk, LAKE};
use crate::lake::on_disk::OnDisk;

/// Staging and a state directory of a host of this lake.
pub fn host_of(disk: &OnDisk) -> Place {
    let mut place = Place::new();
    place.warehouse = PathBuf::from(disk.url("warehouse"));
    place.manifests = PathBuf::from(disk.url("manifests"));
    place
}

/// The lines in the lake.
pub fn lines(disk: &OnDisk) -> Vec<Value> {
    let objects = disk.files("manifests").into_iter().filter(|name| name.ends_with(".jsonl"));
    let text = |name: String| String::from_utf8(disk.get(&format!("manifests/{name}")).unwrap()).unwrap();
    objects.flat_map(|name| text(name).lines().map(str::to_owned).collect::<Vec<_>>()).map(|line| json(&line)).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or(Value::Null)
}

/// Two runs on both sides of midnight say different dates.
fn without_dates(text: &str) -> String {
    let mut parts = text.split("ingest_date=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.get(10..).unwrap_or(part))
}

#[test]
fn a_dry_run_writes_nothing_to_a_lake_and_comes_true() {
    let (desk, _) = half_done();
    let disk = OnDisk::of(&desk.store, &LAKE);
    let place = host_of(&disk);
    let files = [("a.csv", "a"), ("c.csv", "c"), ("n.csv", "new"), ("o.csv", "new"), ("x.part", "x")];
    for (name, text) in files {
        place.stage(name, text);
    }
    let before = (snapshot(&disk.path("")), snapshot(place.root.path()));
    let said = out(&place.once_ok(&["--dry-run"]));
    assert_eq!((snapshot(&disk.path("")), snapshot(place.root.path())), before);
    assert!(!place.state.exists());
    let words: Vec<&str> = said.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(words, ["DUPLICATE", "WAITING", "READY", "DUPLICATE", "IGNORED"], "{said}");
    let url = disk.url("warehouse");
    assert!(said.lines().next().unwrap().contains(&format!("a.csv = {url}/ingest_date=2025-11-18/a-")), "{said}");
    let json = json_lines(&out(&place.once_ok(&["--dry-run", "--log-format", "json"])));
    assert_eq!(json[1]["reason"], "another host has claimed its content, and has not listed it yet");

    // Kept duplicates of other hosts' files have no original in this journal.
    let ran = out(&place.once_ok(&[]));
    let line = lines(&disk).into_iter().find(|line| line["path"].as_str().is_some_and(|it| it.ends_with("n.csv")));
    let object = line.as_ref().and_then(|line| line["warehouse_path"].as_str()).expect("the file was ingested");
    let staged = |name: &str| place.staging.join(name).display().to_string();
    assert_eq!(
        without_dates(said.lines().nth(2).unwrap()),
        without_dates(&format!("READY: {} -> {object}", staged("n.csv")))
    );
    assert_eq!(disk.get(object.strip_prefix(&disk.url("")).unwrap().trim_start_matches('/')).unwrap(), b"new");
    let left = [
        format!("DUPLICATE: {}", staged("a.csv")),
        said.lines().nth(1).unwrap().to_owned(),
        format!("DUPLICATE: {} = {object}", staged("o.csv")),
        said.lines().nth(4).unwrap().to_owned(),
    ];
    assert_eq!(ran.lines().collect::<Vec<_>>(), left);
    // Now the journal knows them, and their URLs are the same.
    let again = out(&place.once_ok(&["--dry-run"]));
    let of = |said: &str, at| without_dates(said.lines().nth(at).unwrap());
    assert_eq!((of(&again, 0), of(&again, 2)), (of(&said, 0), of(&said, 3)));
}

/// What would keep a host from its start is found without one.
#[test]
fn a_dry_run_makes_the_checks_of_a_start() {
    let disk = OnDisk::of(&Desk::new().store, &LAKE);
    let place = host_of(&disk);
    place.once_ok(&[]);
    std::fs::remove_file(disk.path("manifests/.csv-ingestor/lake.json")).unwrap();
    let output = place.once(&["--dry-run"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("these are not the manifests of lake"), "{}", err(&output));
    let mut elsewhere = host_of(&disk);
    elsewhere.warehouse = PathBuf::from(disk.url("manifests"));
    elsewhere.manifests = PathBuf::from(disk.url("warehouse"));
    assert_eq!(elsewhere.once(&["--dry-run"]).status.code(), Some(2));
}

#[test]
fn explain_knows_urls_and_says_what_it_has_not_looked_at() {
    let disk = OnDisk::of(&half_done().0.store, &LAKE);
    let place = host_of(&disk);
    place.stage("n.csv", "new");
    place.stage("a.csv", "a");
    place.once_ok(&["--duplicates", "remove"]);
    let object = lines(&disk).into_iter().find_map(|line| Some(line["warehouse_path"].as_str()?.to_owned())).unwrap();
    place.stage("m.csv", "more");
    let explain = |path: &str| {
        let output = place.subcommand(&["explain", "--json", path]);
        assert!(output.status.success(), "{}", err(&output));
        json_lines(&out(&output)).remove(0)
    };
    let staged = |name: &str| place.staging.join(name).display().to_string();
    let told = explain(&object);
    assert_eq!((&told["asked"], &told["status"]), (&object.as_str().into(), &"INGESTED".into()), "{told}");
    assert!(told["object"].as_str().unwrap().contains("lake audit"), "{told}");
    let manifest = told["manifest"].as_str().unwrap().strip_prefix(&disk.url("manifests")).unwrap();
    let hour = manifest.strip_suffix("/*.jsonl").unwrap();
    let name = disk.files("manifests").into_iter().find(|name| name.starts_with(&hour[1..])).expect(hour);
    assert!(String::from_utf8(disk.get(&format!("manifests/{name}")).unwrap()).unwrap().contains(&object));
    assert_eq!(explain(&staged("n.csv"))["manifest"], told["manifest"]);
    // A duplicate of another host's file is no duplicate of itself.
    let gone = explain(&staged("a.csv"));
    assert_eq!((&gone["status"], &gone["source_path"]), (&"GONE".into(), &Value::Null), "{gone}");
    assert_eq!(gone["summary"], "it was a duplicate, and was removed or moved away, or it was taken back");
    let ready = explain(&staged("m.csv"));
    assert_eq!(ready["status"], "READY");
    assert!(ready["lake"].as_str().unwrap().contains("run --dry-run"), "{ready}");
    assert!(ready["warehouse_dir"].as_str().unwrap().starts_with(&format!("{}/ingest_date=", disk.url("warehouse"))));
    let others = explain(&format!("{}/ingest_date=2025-11-18/a.csv", disk.url("warehouse")));
    assert!(others["summary"].as_str().unwrap().contains("another host of the lake"), "{others}");
    assert!(explain("s3://b/k")["summary"].as_str().unwrap().contains("not in this journal's warehouse"));

    let inspected = place.inspect();
    let skipped = inspected.iter().find(|file| file["state"] == "SKIPPED_DUPLICATE").unwrap();
    assert_eq!(skipped["duplicate_of"], Value::Null);
    let text = out(&place.subcommand(&["journal", "inspect"]));
    assert!(text.contains("a.csv = a file of another host"), "{text}");
    done(&["status", &disk.url("warehouse")]);
}
