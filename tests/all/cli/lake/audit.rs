//! `csv-ingestor lake audit`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::audit::lake::{LakeSummary, Plan, run};
use csv_ingestor::audit::{Finding, Kind, Progress, Reporter, Sample, Watch};
use csv_ingestor::lake::entry::Entry;
use csv_ingestor::lake::keys;
use csv_ingestor::lake::publish::{Stores, manifests};
use csv_ingestor::store::Store as _;
use csv_ingestor::store::location::Location;
use csv_ingestor::types::UnixMillis;
use serde_json::{Value, json};

use super::{bytes_of, done, fails, half_done, lake, stores};
use crate::harness::{err, json_lines, out};
use crate::lake::desk::{LAKE, day};
use crate::lake::files::Files;
use crate::lake::model::WAREHOUSE;
use crate::lake::on_disk::OnDisk;

/// A lake with three finished entries, of which the log says that of the first.
fn whole() -> (OnDisk, [Entry; 3]) {
    let (desk, mut entries) = half_done();
    let disk = OnDisk::of(&desk.store, &LAKE);
    // A host that has seen the first one finished would have written this floor.
    entries[2].header.floor = 1;
    disk.put(&slot(2), &entries[2].encode());
    done(&["roll-forward", &disk.url("warehouse")]);
    (disk, entries)
}

fn slot(number: u64) -> String {
    format!("warehouse/{}", keys::slot(0, number))
}

/// Findings by kind and object, and the summary.
#[track_caller]
fn audited(disk: &OnDisk, code: i32, options: &[&str]) -> (Vec<(String, String)>, Value) {
    let output = lake(&[&["audit", &disk.url("warehouse"), "--json"], options].concat());
    assert_eq!(output.status.code(), Some(code), "{}{}", out(&output), err(&output));
    let mut lines = json_lines(&out(&output));
    let summary = lines.pop().unwrap()["summary"].take();
    let top = disk.url("");
    let of = |line: &Value| {
        let path = line["path"].as_str().unwrap();
        (line["finding"].as_str().unwrap().to_owned(), path.strip_prefix(&top).unwrap().to_owned())
    };
    (lines.iter().map(of).collect(), summary)
}

/// One finding, of this kind and about this object.
#[track_caller]
fn finds(disk: &OnDisk, kind: &str, object: &str) -> Value {
    let (found, summary) = audited(disk, 5, &[]);
    assert_eq!(found, [(kind.to_owned(), object.to_owned())]);
    assert_eq!((&summary["findings"][kind], &summary["verdict"]), (&json!(1), &json!("findings")));
    summary
}

fn manifest_of(entry: &Entry) -> String {
    format!("manifests/{}", manifests(entry).into_keys().next().unwrap())
}

#[test]
fn a_lake_that_is_whole_has_no_findings() {
    let (disk, _) = whole();
    let before = disk.files("");
    let (found, summary) = audited(&disk, 0, &["--sample", "100%"]);
    assert_eq!((found.len(), &summary["verdict"]), (0, &json!("clean")));
    assert_eq!([&summary["entries"], &summary["lines"], &summary["files"]], [&json!(3), &json!(6), &json!(6)]);
    assert_eq!(summary["bytes_hashed"], 6);
    assert_eq!(disk.files(""), before, "it changes nothing");
    let (_, summary) = audited(&disk, 0, &["--sample", "4"]);
    assert_eq!(summary["bytes_hashed"], 4);
    assert_eq!(audited(&disk, 0, &[]).1["bytes_hashed"], 0);
    let text = done(&["audit", &disk.url("warehouse")]);
    assert!(text.contains("\"verdict\":\"clean\""), "no terminal, so JSON: {text}");
}

#[test]
fn objects_that_are_missing_or_altered_are_found() {
    let (disk, [first, _, third]) = whole();
    let data = format!("warehouse/{}", first.claims()[1].key);
    std::fs::remove_file(disk.path(&data)).unwrap();
    assert_eq!(finds(&disk, "missing", &data)["files"], 5);
    disk.put(&data, b"x");
    finds(&disk, "altered", &data);
    disk.put(&data, bytes_of(&first, 1));
    let lines = manifest_of(&third);
    let good = disk.get(&lines).unwrap();
    disk.put(&lines, &[good.as_slice(), b"\n"].concat());
    finds(&disk, "altered", &lines);
    disk.put(&lines, &good);
    audited(&disk, 0, &[]);
}

#[test]
fn lines_that_are_gone_and_objects_of_nobody_are_found() {
    let (disk, [first, second, _]) = whole();
    let lines = manifest_of(&first);
    let good = disk.get(&lines).unwrap();
    std::fs::remove_file(disk.path(&lines)).unwrap();
    finds(&disk, "not_listed", &lines);
    // Retention: what is older is not looked at.
    assert_eq!(audited(&disk, 0, &["--since", "2026-01-01"]).1["files"], 0);
    disk.put(&lines, &good);

    let extra = "warehouse/ingest_date=2025-11-18/extra.csv";
    disk.put(extra, b"x");
    finds(&disk, "extra", extra);
    std::fs::remove_file(disk.path(extra)).unwrap();
    let extra = "manifests/2025/11/18/09/0-extra.jsonl";
    disk.put(extra, b"{}\n");
    finds(&disk, "extra", extra);
    disk.put(extra, &disk.get(&manifest_of(&second)).unwrap());
    finds(&disk, "listed_twice", extra);
    std::fs::remove_file(disk.path(extra)).unwrap();
    audited(&disk, 0, &[]);
}

#[test]
fn an_entry_that_nobody_finishes_is_found() {
    let (disk, [_, second, _]) = whole();
    std::fs::remove_file(disk.path(&manifest_of(&second))).unwrap();
    let (found, summary) = audited(&disk, 5, &[]);
    assert_eq!(found, [("unfinished".to_owned(), slot(1))]);
    // Its data objects are there all the same.
    assert_eq!((&summary["files"], &summary["on_their_way"]), (&json!(6), &json!(0)));
    std::fs::remove_file(disk.path(&format!("warehouse/{}", second.claims()[0].key))).unwrap();
    assert_eq!(audited(&disk, 5, &[]).0, [("unfinished".to_owned(), slot(1))]);
}

#[test]
fn what_a_host_would_stop_at_is_found() {
    let (disk, [_, second, third]) = whole();
    let good = [disk.get(&slot(1)).unwrap(), disk.get(&slot(2)).unwrap()];
    let mut other = second.clone();
    other.header.serial += 1;
    disk.put(&slot(1), &other.encode());
    let summary = finds(&disk, "damaged_log", &slot(2));
    // The data object and the lines of an entry that cannot be read are no findings.
    assert_eq!((&summary["entries"], &summary["undecided"]), (&json!(2), &json!(2)));
    std::fs::remove_file(disk.path(&slot(1))).unwrap();
    finds(&disk, "damaged_log", &slot(1));
    disk.put(&slot(1), &good[0]);

    let mut again = third.clone();
    let csv_ingestor::lake::entry::Body::Claims(body) = &mut again.body else { panic!("it claims") };
    body.claims = second.claims().to_vec();
    body.packs = second.packs().to_vec();
    disk.put(&slot(2), &again.encode());
    finds(&disk, "damaged_log", &slot(2));
    done(&["skip", &disk.url("warehouse"), "0", "2"]);
    let (found, summary) = audited(&disk, 5, &[]);
    assert_eq!(summary["skipped"], 1);
    let data = format!("warehouse/{}", third.claims()[0].key);
    assert_eq!(found, [("extra".to_owned(), data), ("extra".to_owned(), manifest_of(&third))]);
    disk.put(&slot(2), &good[1]);
    audited(&disk, 0, &[]);
    assert!(fails(2, &["audit", &disk.url("warehouse"), "--sample", "0"]).contains("--sample"));
}

/// What an audit of these stores finds at this time.
pub fn audited_on(stores: &Stores, now: UnixMillis, sample: Sample) -> (LakeSummary, Vec<(Kind, PathBuf)>) {
    let found: Arc<Mutex<Vec<(Kind, PathBuf)>>> = Arc::default();
    let seen = found.clone();
    let reporter = Reporter::new(Box::new(move |finding: &Finding| {
        seen.lock().unwrap().push((finding.kind, finding.path.clone()));
        Ok(())
    }));
    let (stop, progress) = (AtomicBool::new(false), Progress::default());
    let watch = Watch { stop: &stop, progress: &progress, reporter: &reporter };
    let place = Location::parse("s3://bucket/lake").unwrap();
    let (lake, places, grace) = (&LAKE, [&place, &place], Duration::from_secs(60));
    let plan = Plan { lake, stores, places, since: None, sample, seed: 0, now, grace };
    let summary = run(&plan, &watch).unwrap();
    let found = found.lock().unwrap().clone();
    (summary, found)
}

#[test]
fn what_is_on_its_way_is_no_finding_until_the_grace_is_over() {
    let (desk, [_, second, _]) = half_done();
    let at = second.claims()[0].ingested_at;
    let (summary, found) = audited_on(&stores(&desk.store), UnixMillis(at.0 + 60_000), Sample::Nothing);
    assert_eq!((summary.all.on_their_way, summary.all.files, found.len()), (4, 2, 0));
    let (summary, found) = audited_on(&stores(&desk.store), UnixMillis(at.0 + 60_001), Sample::Nothing);
    assert_eq!(summary.all.on_their_way, 0);
    assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [Kind::Unfinished; 2]);
}

/// A store's metadata may be right, and the bytes wrong: only a sample that is read shows it.
#[test]
fn a_sample_shows_what_the_metadata_hides() {
    let (desk, [first, ..]) = half_done();
    let (claim, store) = (&first.claims()[0], desk.store.below(WAREHOUSE));
    store.remove_foreign(&claim.key);
    store.create(&claim.key, b"x", &claim.sha256).unwrap();
    let audited = |sample| audited_on(&stores(&desk.store), claim.ingested_at, sample).1;
    assert_eq!(audited(Sample::Nothing), []);
    for sample in [Sample::All, Sample::Percent(100.0), Sample::Count(2)] {
        let found = audited(sample);
        assert!(matches!(&found[..], [(Kind::Altered, path)] if path.ends_with(&claim.key)), "{sample:?}: {found:?}");
    }
}

/// A host claims a content before any request of an audit, and finishes it before any later one: that is no finding,
/// whichever of them the audit sees.
#[test]
fn hosts_that_work_meanwhile_cause_no_findings() {
    let requests = {
        let (desk, _) = half_done();
        let before = desk.store.requests();
        audited_on(&stores(&desk.store), day(0), Sample::All);
        desk.store.requests() - before
    };
    assert!((20..100).contains(&requests), "{requests} requests");
    let mut lines = BTreeSet::new();
    for (claimed, finished) in (0..requests).flat_map(|at| (at..requests).step_by(3).map(move |then| (at, then))) {
        let (desk, _) = half_done();
        let (host, files) = (Mutex::new(desk.host(9)), Files::of(&["from another host"]));
        let count = AtomicU64::new(0);
        let gate = move || {
            let now = count.fetch_add(1, Ordering::Relaxed);
            if now == claimed {
                host.lock().unwrap().ingest(&files.contents(day(0)), &files).unwrap();
            }
            if now == finished {
                host.lock().unwrap().help(&files).unwrap();
            }
        };
        let gated = desk.store.gated(Arc::new(gate));
        let (summary, found) = audited_on(&stores(&gated), day(0), Sample::All);
        assert_eq!(found, [], "claimed at {claimed}, finished at {finished}");
        lines.insert(summary.all.lines);
    }
    assert_eq!(lines, [6, 7].into(), "some audits have seen it, and some have not");
}
