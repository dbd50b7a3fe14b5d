//! On the simulated disk, where reads can fail: a failure is reported for its file, and the other files are still audited.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::audit::{self, Finding, Kind, Plan, Progress, Reporter, Sample, Summary, Watch};
use csv_ingestor::fs::sim::{Fault, Op, SimFs};

use crate::harness::sha256_hex;

const HOUR: &str = "/mf/2026/01/02/03";
const DAY: &str = "/wh/ingest_date=2026-01-02";

/// A machine with this many files, listed correctly.
fn machine(files: u64) -> SimFs {
    let fs = SimFs::new(1);
    let mut upstream = fs.upstream();
    upstream.mkdir_all(HOUR).unwrap();
    upstream.mkdir_all(DAY).unwrap();
    let mut lines = String::new();
    for id in 1..=files {
        let content = format!("id\n{id}\n");
        upstream.write(format!("{DAY}/{id}.csv"), content.as_bytes()).unwrap();
        lines.push_str(&line(id, &content));
    }
    upstream.write(format!("{HOUR}/manifest.jsonl"), lines.as_bytes()).unwrap();
    upstream.sync();
    fs
}

fn line(id: u64, content: &str) -> String {
    format!(
        "{{\"path\":\"/in/{id}.csv\",\"sha256\":\"{}\",\"device\":1,\"inode\":{id},\"size\":{},\"mtime\":0,\
         \"warehouse_path\":\"{DAY}/{id}.csv\",\"ingest_id\":{id},\"ingested_at\":\"2026-01-02T03:04:05.006Z\"}}\n",
        sha256_hex(content.as_bytes()),
        content.len()
    )
}

fn run(fs: &SimFs) -> (Summary, Vec<Finding>) {
    let found = Arc::new(Mutex::new(Vec::new()));
    let sink = found.clone();
    let reporter = Reporter::new(Box::new(move |finding: &Finding| {
        sink.lock().unwrap().push(finding.clone());
        Ok(())
    }));
    let (stop, progress) = (AtomicBool::new(false), Progress::default());
    let plan = Plan {
        state: None,
        warehouse: "/wh".into(),
        manifests: "/mf".into(),
        since: None,
        sample: Sample::All,
        seed: 0,
        compare_lines: true,
        grace: Duration::ZERO,
        concurrency: 1,
        relocations: csv_ingestor::journal::relocations::Relocations::default(),
    };
    let summary =
        audit::run(fs, &plan, &Watch { stop: &stop, progress: &progress, reporter: &reporter }, None).unwrap();
    let found = std::mem::take(&mut *found.lock().unwrap());
    (summary, found)
}

fn writes(fs: &SimFs) -> u64 {
    let all = [
        Op::WriteAt,
        Op::SetLen,
        Op::SetMeta,
        Op::Rename,
        Op::Unlink,
        Op::CreateDir,
        Op::SyncDir,
        Op::SyncData,
        Op::SyncAll,
    ];
    all.iter().map(|op| fs.count(*op)).sum()
}

#[test]
fn nothing_is_written_and_nothing_found() {
    let fs = machine(9);
    let before = writes(&fs);
    let (summary, found) = run(&fs);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!((summary.lines, summary.files, writes(&fs) - before), (9, 9, 0));
}

/// Why: an audit is run to find files with EIO; it must name the file and continue.
#[test]
fn a_read_error_is_a_finding_and_the_others_are_looked_at() {
    let fs = machine(5);
    let path = format!("{DAY}/3.csv");
    fs.inject(Fault::errno(libc::EIO).only(&[Op::ReadAt]).under(&path));
    let (summary, found) = run(&fs);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].path.as_path()), (Kind::Unreadable, Path::new(&path)));
    assert_eq!(summary.files, 5);
}

/// Why: an audit may run as a user who can read everything, on lines that other users may have written.
#[test]
fn no_line_makes_it_open_or_list_anything_outside() {
    let fs = machine(2);
    let mut upstream = fs.upstream();
    upstream.mkdir_all("/away/ingest_date=2026-01-02").unwrap();
    upstream.write("/away/ingest_date=2026-01-02/9.csv", b"id\n9\n").unwrap();
    upstream.symlink("/away/ingest_date=2026-01-02", "/wh/ingest_date=2026-01-03").unwrap();
    let dirs =
        ["/away/ingest_date=2026-01-02", "/wh/ingest_date=2026-01-03", "/wh/../away/ingest_date=2026-01-02", "/away"];
    for (id, dir) in (9..).zip(dirs) {
        let line = line(id, "id\n9\n").replace(&format!("{DAY}/{id}.csv"), &format!("{dir}/9.csv"));
        upstream.append(format!("{HOUR}/manifest.jsonl"), line.as_bytes()).unwrap();
    }
    let before = fs.operations();
    let (summary, found) = run(&fs);
    assert_eq!(found.iter().filter(|finding| finding.kind == Kind::Outside).count(), 5, "{found:?}");
    assert_eq!((summary.lines, summary.bytes), (6, 10));
    let log = fs.log();
    assert!(log.first().is_some_and(|first| first.number == before + 1), "the log was too short");
    for call in log {
        let is_inside = [Path::new("/wh"), Path::new("/mf")].iter().any(|top| call.path.starts_with(top));
        let is_link = call.path.starts_with("/wh/ingest_date=2026-01-03");
        let may_be = is_inside && !call.path.ends_with("..") && !call.path.to_str().unwrap().contains("/../");
        let may_be = may_be && (!is_link || call.op == Op::Stat);
        assert!(may_be || matches!(call.op, Op::OpenDir | Op::StatDir), "{call:?}");
    }
}

/// A second hour, whose manifest lists the first hour's files and one that is missing.
fn second_hour(fs: &SimFs) -> String {
    let hour = "/mf/2026/01/02/04";
    fs.upstream().mkdir_all(hour).unwrap();
    let manifest = format!("{hour}/manifest.jsonl");
    fs.upstream().write(&manifest, line(9, "id\n9\n").as_bytes()).unwrap();
    manifest
}

fn kinds(found: &[Finding]) -> Vec<Kind> {
    found.iter().map(|finding| finding.kind).collect()
}

/// Why: nothing may be claimed about data that a failing disk did not return: neither that a file is not listed, nor that
/// everything is intact.
#[test]
fn a_manifest_with_a_read_error_is_a_finding_and_what_it_may_list_is_left_open() {
    for op in [Op::Open, Op::ReadAt] {
        let fs = machine(3);
        let manifest = second_hour(&fs);
        fs.upstream().write(format!("{DAY}/9.csv"), b"id\n9\n").unwrap();
        fs.advance(std::time::Duration::from_secs(60));
        fs.inject(Fault::errno(libc::EIO).only(&[op]).under(&manifest));
        let (summary, found) = run(&fs);
        assert_eq!(kinds(&found), [Kind::Unreadable], "{found:?}");
        assert_eq!(found[0].path, Path::new(&manifest));
        assert_eq!((summary.lines, summary.files, summary.undecided), (3, 3, 1));
        fs.clear_faults();
        assert_eq!(kinds(&run(&fs).1), []);
    }
}

/// Why: a disk that fails may return a file once and never again; the audit reports that and continues.
#[test]
fn a_manifest_that_fails_or_is_replaced_after_it_was_read_does_not_end_it() {
    for replaces in [false, true] {
        let fs = machine(3);
        let manifest = second_hour(&fs);
        let wanted = manifest.clone();
        let mut is_done = false;
        if replaces {
            fs.set_hook(Box::new(move |call, upstream| {
                // The warehouse is being listed, so the manifests have been read.
                if !is_done && call.op == Op::List && call.path == Path::new(DAY) {
                    is_done = true;
                    upstream.remove(&wanted).unwrap();
                    upstream.symlink("/mf/2026/01/02/03/manifest.jsonl", &wanted).unwrap();
                }
            }));
        } else {
            // Its first read, and the one that finds its end, succeed.
            (3..9).for_each(|n| fs.inject(Fault::errno(libc::EIO).only(&[Op::ReadAt]).under(&manifest).nth(n)));
        }
        let (summary, found) = run(&fs);
        // The path of the missing file is in the line, which has to be read again.
        assert_eq!(kinds(&found), [if replaces { Kind::IrregularManifest } else { Kind::Unreadable }], "{found:?}");
        assert_eq!((found[0].path.as_path(), summary.lines, summary.files), (Path::new(&manifest), 4, 3));
    }
}

/// Why: if memory flips a bit once, the file was not altered; restoring it from a backup would not help.
#[test]
fn a_file_that_reads_differently_each_time_is_not_called_altered() {
    let fs = machine(3);
    let path = format!("{DAY}/2.csv");
    let mut reads = 0;
    let wanted = path.clone();
    fs.set_hook(Box::new(move |call, upstream| {
        if call.op == Op::ReadAt && call.path == Path::new(&wanted) {
            reads += 1;
            // The first read returns other bytes than the later ones.
            let bytes: &[u8] = if reads == 1 { b"id\nX\n" } else { b"id\n2\n" };
            upstream.write(&wanted, bytes).unwrap();
        }
    }));
    let (_, found) = run(&fs);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].path.as_path()), (Kind::Unreadable, Path::new(&path)));
    assert!(found[0].detail.contains("differently"), "{}", found[0].detail);
}

/// A line that is completed between the two reads was being written; one that is not is torn. A file whose line is written
/// meanwhile is not extra.
#[test]
fn what_comes_between_the_two_looks_is_no_finding() {
    for completes in [true, false] {
        let fs = machine(2);
        let late = line(9, "id\n9\n");
        fs.upstream().append(format!("{HOUR}/manifest.jsonl"), &late.as_bytes()[..50]).unwrap();
        fs.upstream().write(format!("{DAY}/9.csv"), b"id\n9\n").unwrap();
        // Long enough ago that the audit waits for no writer.
        fs.advance(std::time::Duration::from_secs(60));
        let mut is_done = false;
        let rest = late.clone();
        fs.set_hook(Box::new(move |call, upstream| {
            // The warehouse is being listed, so the manifest has been read.
            if completes && !is_done && call.op == Op::List && call.path == Path::new(DAY) {
                is_done = true;
                upstream.append(format!("{HOUR}/manifest.jsonl"), &rest.as_bytes()[50..]).unwrap();
            }
        }));
        let (_, found) = run(&fs);
        let kinds: Vec<Kind> = found.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, if completes { vec![] } else { vec![Kind::TornLine, Kind::Extra] }, "{found:?}");
    }
}
