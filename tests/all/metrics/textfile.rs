//! `--metrics-textfile`: whole at every moment, usable from cron, and never a reason to stop.

use std::path::Path;

use super::{Samples, a_moment};
use crate::bad_input::chmod;
use crate::harness::{Place, bare, csv, err, json_lines, snapshot, wait_until};

const QUICK: &[&str] = &["--stability-seconds", "0", "--scan-interval", "50ms", "--metrics-interval", "10ms"];

#[track_caller]
fn read(path: &Path) -> Samples {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.lines().last().unwrap().starts_with("csv_ingestor_build_info{"), "half a file: {text}");
    // node_exporter adds these itself.
    assert!(!text.contains("process_start_time_seconds") && !text.contains("# EOF"), "{text}");
    Samples::parse(&text)
}

/// Why: a cron job cannot be scraped; the result of its last run must be readable after it.
#[test]
fn once_leaves_it_behind() {
    let place = Place::new();
    let path = place.root.path().join("orders.prom");
    let option = ["--metrics-textfile", path.to_str().unwrap()];
    (0..3).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
    place.once_ok(&option);
    let samples = read(&path);
    assert_eq!(samples.of("files_processed_total{ingestor=\"orders\"}"), 3.0);
    assert_eq!(samples.of("state{ingestor=\"orders\",state=\"stopped\"}"), 1.0);
    assert_eq!(samples.of("queue_depth{ingestor=\"orders\",stage=\"waiting\"}"), 0.0);
    assert!(samples.of("journal_bytes{ingestor=\"orders\"}") > 0.0);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "the collector needs access");

    // With its environment variable, and replacing the previous file.
    let mut command = place.command();
    command.args(["--once", "--stability-seconds", "0"]).env("CSV_INGESTOR_METRICS_TEXTFILE", &path);
    place.stage("3.csv", csv(3, 100));
    assert!(command.output().unwrap().status.success());
    assert_eq!(read(&path).of("files_processed_total{ingestor=\"orders\"}"), 1.0);
}

/// Why: a collector reads at any time, and takes half a file for a broken one; an unfinished file must not have a name that
/// the collector reads.
#[test]
fn a_reader_never_sees_half_of_it() {
    let place = Place::new();
    let dir = place.root.path().join("textfiles");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("x.prom");
    // A temporary file of an earlier run that was killed does no harm.
    std::fs::write(dir.join("x.prom.tmp"), "half").unwrap();
    let daemon = place.start(&[QUICK, &["--metrics-textfile", path.to_str().unwrap()]].concat());
    daemon.wait_started();
    wait_until("the first one", || path.exists());
    for seed in 0..300 {
        place.stage(format!("{seed}.csv"), csv(seed, 100));
        read(&path);
        for entry in std::fs::read_dir(&dir).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(name == "x.prom" || name == "x.prom.tmp", "{}", name.display());
        }
    }
    daemon.wait_for("file_ingested", 300);
    wait_until("all are counted", || read(&path).of("files_processed_total{ingestor=\"x\"}") == 300.0);
    assert!(daemon.stop().success());
    assert_eq!(read(&path).of("state{ingestor=\"x\",state=\"stopped\"}"), 1.0);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "something was left behind");
}

/// Why: a gap in a graph is no reason to stop ingesting, nor to fill the log.
#[test]
fn a_failure_to_write_it_is_said_once_and_stops_nothing() {
    let place = Place::new();
    let dir = place.root.path().join("textfiles");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("x.prom");
    let daemon = place.start(&[QUICK, &["--metrics-textfile", path.to_str().unwrap()]].concat());
    daemon.wait_started();
    wait_until("the first one", || path.exists());
    let gone = place.root.path().join("gone");
    std::fs::rename(&dir, &gone).unwrap();
    let failed = daemon.wait_for("metrics_textfile_failed", 1);
    assert_eq!(failed[0]["level"], "warn");
    assert_eq!(failed[0]["path"], path.to_str().unwrap());
    assert!(failed[0]["error"].as_str().unwrap().contains("No such file"), "{}", failed[0]);
    a_moment();
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    assert_eq!(daemon.events("metrics_textfile_failed").len(), 1, "reported more than once");
    // It continues by itself, and the next failure is reported again.
    std::fs::rename(&gone, &dir).unwrap();
    wait_until("it is written again", || read(&path).of("files_processed_total{ingestor=\"x\"}") == 1.0);
    std::fs::rename(&dir, &gone).unwrap();
    daemon.wait_for("metrics_textfile_failed", 2);
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 1);
}

/// Why: a job that fails before it has begun would otherwise go unnoticed.
#[test]
fn a_run_that_failed_says_so() {
    let place = Place::new();
    let path = place.root.path().join("x.prom");
    let option = ["--metrics-textfile", path.to_str().unwrap()];
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&option);
    assert_eq!(read(&path).of("state{ingestor=\"x\",state=\"stopped\"}"), 1.0);
    let segment = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|ending| ending == "log")).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(place.once(&option).status.code(), Some(3));
    assert_eq!(read(&path).of("state{ingestor=\"x\",state=\"failed\"}"), 1.0);
}

/// Why: cron may start a job while the last one is still running; the second ends at once, and must not report that the
/// first has failed.
#[test]
fn a_second_ingestor_leaves_the_firsts_alone() {
    let place = Place::new();
    let path = place.root.path().join("x.prom");
    let options = ["--metrics-textfile", path.to_str().unwrap(), "--metrics-interval", "1h"];
    let daemon = place.start(&[&["--stability-seconds", "0"], &options[..]].concat());
    daemon.wait_started();
    wait_until("the first one", || path.exists());
    let before = std::fs::read(&path).unwrap();
    assert_eq!(place.once(&options).status.code(), Some(4));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(daemon.stop().success());
}

/// Why: a dry run writes nothing at all, anywhere.
#[test]
fn a_dry_run_writes_none() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let before = snapshot(place.root.path());
    let path = place.root.path().join("x.prom");
    let output = place.once(&["--dry-run", "--metrics-textfile", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(snapshot(place.root.path()), before);
}

/// Why: in staging it would be ingested, in the state directory it would count as damage, and in the others their readers
/// would find it; and with a name that the collector does not read, nobody would notice.
#[test]
fn it_may_not_lie_where_it_does_harm() {
    let place = Place::new();
    place.once_ok(&[]);
    let duplicates = place.root.path().join("duplicates");
    std::fs::create_dir(&duplicates).unwrap();
    let before = snapshot(place.root.path());
    let inside = [&place.staging, &place.warehouse, &place.manifests, &place.state, &duplicates];
    let moving = ["--duplicates", "move", "--duplicates-dir", duplicates.to_str().unwrap()];
    let refused = |path: &Path, word: &str| {
        let output = place.once(&[&moving[..], &["--metrics-textfile", path.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(2), "{}: {}", path.display(), err(&output));
        assert!(err(&output).contains("--metrics-textfile") && err(&output).contains(word), "{}", err(&output));
        assert_eq!(snapshot(place.root.path()), before, "{}", path.display());
    };
    inside.iter().for_each(|dir| refused(&dir.join("x.prom"), "is inside"));
    let link = place.root.path().parent().unwrap().join(format!("csv-ingestor-link-{}", std::process::id()));
    std::os::unix::fs::symlink(&place.state, &link).unwrap();
    refused(&link.join("x.prom"), "is inside");
    std::fs::remove_file(&link).unwrap();
    refused(&place.root.path().join("x.txt"), "must end in .prom");
    refused(&place.root.path().join("missing/x.prom"), "No such file");
    let dir = tempfile::Builder::new().suffix(".prom").tempdir().unwrap();
    refused(dir.path(), "is a directory");
}

/// Why: the end of the process must not depend on whether a directory can be written to.
#[test]
fn it_ends_well_where_nothing_can_be_written() {
    let place = Place::new();
    let dir = place.root.path().join("textfiles");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("x.prom");
    let mut command = bare(&[]);
    command
        .args(place.command().get_args())
        .args(["--once", "--stability-seconds", "0", "--metrics-textfile"])
        .arg(&path);
    place.stage("a.csv", csv(1, 100));
    let Some(mut command) = crate::bad_input::as_nobody(&place, &command) else { return };
    chmod(&dir, 0o555);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let failed = json_lines(&err(&output)).into_iter().filter(|line| line["event"] == "metrics_textfile_failed");
    assert_eq!(failed.count(), 1, "{}", err(&output));
    chmod(&dir, 0o755);
}
