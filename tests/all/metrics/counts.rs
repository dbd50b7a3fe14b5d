//! Each metric changes as it should.

use std::time::{Duration, SystemTime};

use super::{Client, LISTENING, a_moment, listening};
use crate::bad_input::full::Disk;
use crate::bad_input::{as_nobody, chmod};
use crate::harness::{Place, csv, has, is_root, sha256_hex, skip, wait_until};

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Why: a dashboard shows these metrics on a normal day.
#[test]
fn files_bytes_and_durations_are_counted() {
    let place = Place::new();
    let began = now();
    let (daemon, client) = listening(&place, &[]);
    let before = client.metrics();
    assert_eq!(before.of("files_processed_total"), 0.0);
    assert_eq!(before.get("last_ingest_timestamp_seconds"), None, "1970 would set off every alert");
    assert!(before.of("start_time_seconds") >= began - 1.0 && before.of("start_time_seconds") <= now());
    assert_eq!(before.of("start_time_seconds"), before.of("process_start_time_seconds"));
    assert_eq!(before.of(&format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);

    let contents: Vec<Vec<u8>> = (1..=7).map(|seed| csv(seed, 2000)).collect();
    (1..).zip(&contents).for_each(|(seed, content)| drop(place.stage(format!("{seed}.csv"), content)));
    daemon.wait_for("file_ingested", 7);
    client.wait_until("nothing is under way", |samples| {
        samples.of("queue_depth{stage=\"hashing\"}") + samples.of("queue_depth{stage=\"committing\"}") == 0.0
    });
    let after = client.metrics();
    assert_eq!(after.of("files_processed_total"), 7.0);
    assert_eq!(after.of("bytes_processed_total"), contents.iter().map(Vec::len).sum::<usize>() as f64);
    assert_eq!(after.of("remembered_files"), 7.0);
    assert!((began - 1.0..=now()).contains(&after.of("last_ingest_timestamp_seconds")));
    assert!((began - 1.0..=now()).contains(&after.of("last_scan_timestamp_seconds")));
    assert!((0.0..60.0).contains(&after.of("last_scan_duration_seconds")));
    assert_eq!(after.of("complete_to_manifest_seconds_count"), 7.0);
    assert_eq!(after.of("complete_to_manifest_seconds_bucket{le=\"+Inf\"}"), 7.0);
    let batches = after.of("commit_seconds_count");
    assert!((1.0..=7.0).contains(&batches), "{batches}");
    // Two frames of the journal, a manifest and the directories, for each batch that ingests something. Only one such batch
    // is certain: on a busy machine, a file may first be refused because its writer has not closed it yet.
    for (call, at_least) in [("fdatasync", 3.0), ("fsync", 1.0)] {
        let count = after.of(&format!("fsync_seconds_count{{call=\"{call}\"}}"));
        let sum = after.of(&format!("fsync_seconds_sum{{call=\"{call}\"}}"));
        assert!(count >= at_least && sum > 0.0, "{call}: {count} in {sum} s for {batches} batches");
    }
    assert_eq!(after.of("oldest_waiting_seconds"), 0.0);
    assert_eq!(after.of("recovered_files{outcome=\"completed\"}"), 0.0);
    assert!(after.get("recovery_seconds").is_some());
    assert!(daemon.stop().success());
}

/// Why: a histogram whose buckets do not add up to its count gives nonsense quantiles.
#[test]
fn buckets_add_up() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    (1..=20).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 200))));
    daemon.wait_for("file_ingested", 20);
    let samples = client.metrics();
    for name in ["commit_seconds", "complete_to_manifest_seconds", "fsync_seconds"] {
        let of_it = samples.0.iter().filter(|(series, _)| series.starts_with(&format!("{name}_bucket")));
        let mut before = 0.0;
        for (series, count) in of_it {
            assert!(*count >= before, "{series}");
            before = if series.contains("+Inf") { 0.0 } else { *count };
        }
    }
    assert!(daemon.stop().success());
}

/// Why: a sudden wave of duplicates is a broken upstream.
#[test]
fn duplicates_are_counted_by_what_becomes_of_them() {
    for (action, index) in [("keep", 0), ("remove", 1), ("move", 2)] {
        let place = Place::new();
        let elsewhere = place.root.path().join("duplicates");
        let mut options = vec!["--duplicates", action];
        if action == "move" {
            options.extend(["--duplicates-dir", elsewhere.to_str().unwrap()]);
        }
        let (daemon, client) = listening(&place, &options);
        place.stage("a.csv", csv(1, 100));
        daemon.wait_for("file_ingested", 1);
        place.stage("b.csv", csv(1, 100));
        place.stage("c.csv", csv(1, 100));
        daemon.wait_for("duplicate_skipped", 2);
        let counts = ["keep", "remove", "move"].map(|action| format!("duplicates_total{{action=\"{action}\"}}"));
        let samples = client.metrics();
        for (at, series) in counts.iter().enumerate() {
            assert_eq!(samples.of(series), if at == index { 2.0 } else { 0.0 }, "{action}: {series}");
        }
        assert_eq!(samples.of("files_processed_total"), 1.0);
        // A kept duplicate does not count as waiting.
        client.wait_for("oldest_waiting_seconds", 0.0);
        assert!(daemon.stop().success());
    }
}

/// Why: the kind of failure decides who is alerted.
#[test]
fn failures_are_counted_by_reason() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &["--mode", "sidecar"]);
    place.stage("wrong.csv", csv(1, 100));
    place.stage("wrong.csv.ok", "0".repeat(64));
    client.wait_for("failures_total{reason=\"checksum\"}", 1.0);
    client.wait_for("queue_depth{stage=\"held\"}", 1.0);
    let taken = csv(2, 100);
    place.block();
    place.stage("taken.csv", &taken);
    place.stage("taken.csv.ok", "");
    client.wait_until("not_moved", |samples| samples.of("failures_total{reason=\"not_moved\"}") >= 1.0);
    client.wait_until("abandoned", |samples| samples.of("abandoned_total{reason=\"failed\"}") >= 1.0);
    client.wait_for("queue_depth{stage=\"held\"}", 2.0);
    assert_eq!(client.metrics().of("failures_total{reason=\"unreadable\"}"), 0.0);
    // A file that is removed is no longer counted as held.
    std::fs::remove_file(place.staging.join("wrong.csv")).unwrap();
    client.wait_for("queue_depth{stage=\"held\"}", 1.0);
    let failures = daemon.events("file_failed").len();
    assert!(failures >= 2 && daemon.events("metrics").pop().unwrap()["failures"].as_u64().unwrap() >= 2);
    assert!(daemon.stop().success());
}

/// Why: wrong permissions are the commonest mistake, and cannot be seen from outside.
#[test]
fn a_file_that_cannot_be_read_is_counted() {
    let place = Place::new();
    let mut command = place.command();
    command.args(LISTENING);
    let Some(command) = as_nobody(&place, &command) else { return };
    chmod(&place.stage("secret.csv", csv(1, 100)), 0o000);
    let daemon = place.spawn(command);
    daemon.wait_started();
    let client = Client::of(&daemon);
    client.wait_until("unreadable", |samples| samples.of("failures_total{reason=\"unreadable\"}") >= 1.0);
    client.wait_for("queue_depth{stage=\"held\"}", 1.0);
    assert!(daemon.stop().success());
}

/// Why: a source that stays after its content was ingested fills staging, and nobody notices.
#[test]
fn a_sidecar_that_cannot_be_removed_is_counted() {
    if !is_root() || !has("chattr") {
        return;
    }
    let place = Place::new();
    let (daemon, client) = listening(&place, &["--mode", "sidecar"]);
    // The file must be older than its sidecar: an older sidecar is orphaned.
    let file = place.root.path().join("a.csv");
    std::fs::write(&file, csv(1, 100)).unwrap();
    let sidecar = place.stage("a.csv.ok", "");
    let set = |flag: &str| std::process::Command::new("chattr").arg(flag).arg(&sidecar).status().unwrap().success();
    if !set("+i") {
        skip("no immutable files here");
        return;
    }
    std::fs::rename(file, place.staging.join("a.csv")).unwrap();
    client.wait_for("failures_total{reason=\"not_removed\"}", 1.0);
    assert!(set("-i"));
    client.wait_for("files_processed_total", 1.0);
    assert!(daemon.stop().success());
}

/// Why: a file that an upstream removed while it was ingested was announced and not delivered.
#[test]
fn abandoned_files_are_counted_by_reason() {
    for seed in 0..20 {
        let place = Place::new();
        let (daemon, client) = listening(&place, &[]);
        let path = place.stage_large("large.csv", seed, 1 << 29);
        wait_until("it is being hashed", || !place.inspect().is_empty());
        // It may be ingested already; then the test tries again.
        if std::fs::remove_file(&path).is_ok() {
            // An open file that is removed gets another ctime; one that was not opened yet is not found.
            let counts = ["vanished", "changed"].map(|reason| format!("abandoned_total{{reason=\"{reason}\"}}"));
            client
                .wait_until("abandoned", |samples| counts.iter().map(|series| samples.of(series)).sum::<f64>() == 1.0);
            assert_eq!(daemon.events("file_abandoned").len(), 1);
            assert!(daemon.stop().success());
            return;
        }
    }
    panic!("never caught it while it was hashing");
}

/// Why: a file may wait for a sidecar that is never sent; without a metric, it is missed only a week later.
#[test]
fn the_oldest_waiting_file_is_known() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &["--mode", "sidecar"]);
    client.wait_for("oldest_waiting_seconds", 0.0);
    place.stage("first.csv", csv(1, 100));
    client.wait_for("queue_depth{stage=\"waiting\"}", 1.0);
    client.wait_until("it grows", |samples| samples.of("oldest_waiting_seconds") > 2.0);
    place.stage("second.csv", csv(2, 100));
    client.wait_for("queue_depth{stage=\"waiting\"}", 2.0);
    assert!(client.metrics().of("oldest_waiting_seconds") > 2.0);
    place.stage("first.csv.ok", "");
    daemon.wait_for("file_ingested", 1);
    // The second one is younger, and the metric changes without any event.
    client.wait_until("the second", |samples| samples.of("oldest_waiting_seconds") < 2.0);
    client.wait_until("it grows", |samples| samples.of("oldest_waiting_seconds") > 2.0);
    // Another file under the same name starts at zero.
    place.stage(".other", csv(3, 100));
    std::fs::rename(place.staging.join(".other"), place.staging.join("second.csv")).unwrap();
    client.wait_until("anew", |samples| samples.of("oldest_waiting_seconds") < 2.0);
    std::fs::remove_file(place.staging.join("second.csv")).unwrap();
    client.wait_for("oldest_waiting_seconds", 0.0);
    client.wait_for("queue_depth{stage=\"waiting\"}", 0.0);
    assert!(daemon.stop().success());
}

/// Why: a full disk is the commonest accident; it must be distinguished from a quiet day.
#[test]
fn a_full_disk_is_seen_and_so_is_its_end() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "2m") else { return };
    place.warehouse = disk.path("warehouse");
    let (daemon, client) = listening(&place, &[]);
    assert_eq!(client.metrics().of("disk_full"), 0.0);
    disk.fill();
    let path = place.stage("large.csv", csv(1, 600 << 10));
    client.wait_for("disk_full", 1.0);
    client.wait_for("failures_total{reason=\"disk_full\"}", 1.0);
    let ready = client.get("/readyz");
    assert_eq!((ready.code, ready.body.lines().count()), (503, 1), "{}", ready.body);
    assert!(ready.body.starts_with("paused: a disk is full"), "{}", ready.body);
    assert_eq!(client.get("/healthz").code, 200, "a restart would not make room");
    disk.make_room();
    client.wait_for("disk_full", 0.0);
    wait_until("ready", || client.get("/readyz").code == 200);
    daemon.wait_for("file_ingested", 1);
    assert!(!path.exists());
    assert_eq!(client.metrics().of("failures_total{reason=\"disk_full\"}"), 1.0);
    // The log's totals do not count it as a failure of a file.
    assert_eq!(daemon.events("metrics").pop().unwrap()["failures"], 0);
    assert!(daemon.stop().success());
}

/// Why: if the file that did not fit is removed, no more space is needed; an alert that stays on for ever gets switched off.
#[test]
fn a_full_disk_is_over_when_nobody_wants_room() {
    let mut place = Place::new();
    let Some(disk) = Disk::mount(&place, "2m") else { return };
    place.warehouse = disk.path("warehouse");
    let (daemon, client) = listening(&place, &[]);
    let huge = place.stage("huge.csv", csv(1, 20 << 20));
    client.wait_for("disk_full", 1.0);
    std::fs::remove_file(&huge).unwrap();
    client.wait_for("disk_full", 0.0);
    assert_eq!(client.get("/readyz").code, 200);
    assert_eq!(daemon.events("disk_has_room").len(), 1);
    assert!(daemon.stop().success());
}

/// Why: the journal grows on the local disk; its metric must agree with `du`.
#[test]
fn the_journal_is_measured() {
    let place = Place::new();
    (1..=50).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
    place.once_ok(&[]);
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    let (daemon, client) = listening(&place, &[]);
    let on_disk = |ending: &str| -> f64 {
        let files = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap());
        let ours = files.filter(|file| file.file_name().to_string_lossy().ends_with(ending));
        ours.map(|file| file.metadata().unwrap().len()).sum::<u64>() as f64
    };
    client.wait_until("it is measured", |samples| samples.get("journal_bytes").is_some());
    client.wait_for("journal_bytes", on_disk(".log") + on_disk(".snap"));
    let samples = client.metrics();
    assert!(samples.of("snapshot_bytes") > 0.0);
    assert_eq!(samples.of("snapshot_bytes"), on_disk(".snap"), "there is one snapshot");
    client.wait_for("remembered_files", 50.0);
    let samples = client.metrics();
    assert!(samples.of("journal_unfolded_bytes") < samples.of("journal_bytes"));
    assert!(daemon.stop().success());
}

/// Why: after a crash, operators ask about the unfinished files.
#[test]
fn recovery_is_shown() {
    for _ in 0..20 {
        let place = Place::new();
        place.stage_large("large.csv", 1, 1 << 29);
        let daemon = place.start(&["--stability-seconds", "0", "--scan-interval", "100ms"]);
        daemon.wait_started();
        wait_until("the file is in the journal", || !place.inspect().is_empty());
        daemon.kill();
        if place.inspect()[0]["state"] != "DISCOVERED" {
            continue;
        }
        let daemon = place.start(LISTENING);
        daemon.wait_for("started", 2);
        let client = Client::of(&daemon);
        client.wait_for("recovered_files{outcome=\"resumed\"}", 1.0);
        daemon.wait_for("file_ingested", 1);
        // It was complete before the crash.
        let took = client.metrics().of("complete_to_manifest_seconds_sum");
        assert!(took > 0.0, "{took}");
        assert!(daemon.stop().success());
        return;
    }
    panic!("never caught it while it was hashing");
}

/// Why: a scrape must not access the disk.
#[test]
fn scrapes_leave_an_idle_ingestor_idle() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let (daemon, client) = listening(&place, &[]);
    daemon.wait_for("file_ingested", 1);
    std::thread::sleep(Duration::from_millis(200));
    let syncs = |samples: &super::Samples| -> f64 {
        ["fsync", "fdatasync", "syncfs"]
            .map(|call| samples.of(&format!("fsync_seconds_count{{call=\"{call}\"}}")))
            .iter()
            .sum()
    };
    let before = client.metrics();
    (0..200).for_each(|_| drop(client.metrics()));
    let after = client.metrics();
    assert_eq!(syncs(&before), syncs(&after));
    assert_eq!(before.of("commit_seconds_count"), after.of("commit_seconds_count"));
    assert!(daemon.stop().success());
}

/// Why: an alert watches the groups that do not become complete. Each is told once, and counts until it is complete or its
/// group file is withdrawn.
#[test]
fn overdue_groups_are_counted_until_they_are_complete() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &["--mode", "group", "--group-timeout", "300ms"]);
    assert_eq!(client.metrics().of("groups_overdue"), 0.0);
    for (group, there, seed, missing) in [("one", "a.csv", 1, "late.csv"), ("two", "b.csv", 3, "never.csv")] {
        let line = |name: &str, seed| format!("{}  {name}\n", sha256_hex(&csv(seed, 300)));
        place.stage_whole(there, csv(seed, 300));
        place.stage_whole(format!("{group}.group"), line(there, seed) + &line(missing, seed + 1));
    }
    client.wait_for("groups_overdue", 2.0);
    daemon.wait_for("group_incomplete", 2);
    a_moment();
    assert_eq!(client.metrics().of("groups_overdue"), 2.0);
    assert_eq!(client.metrics().of("groups_total"), 0.0);
    place.stage_whole("late.csv", csv(2, 300));
    client.wait_for("groups_overdue", 1.0);
    daemon.wait_for("group_ingested", 1);
    std::fs::remove_file(place.staging.join("two.group")).unwrap();
    client.wait_for("groups_overdue", 0.0);
    a_moment();
    let metrics = client.metrics();
    assert_eq!((metrics.of("groups_overdue"), metrics.of("groups_total")), (0.0, 1.0));
    assert_eq!(daemon.events("group_incomplete").len(), 2, "each once");
    assert!(daemon.stop().success());
    assert_eq!(place.check_consistent(), 2);
    assert_eq!(place.staged_names(), ["b.csv"]);
}
