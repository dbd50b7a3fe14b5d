//! Compaction in the real ingestor. The journal must grow by 64 MiB first: with a very long path of the staging directory,
//! ten thousand small files suffice.

use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::{Error, Journal};

use super::super::harness::{Place, csv};
use super::{events, stop};

/// A place whose paths have nearly the greatest length.
fn long_paths() -> Place {
    let mut place = Place::new();
    let deep = |top: &std::path::Path| (0..13).fold(top.to_path_buf(), |path, _| path.join("d".repeat(250)));
    (place.staging, place.warehouse) = (deep(&place.staging), deep(&place.warehouse));
    std::fs::create_dir_all(&place.staging).unwrap();
    place
}

fn snapshots(place: &Place) -> usize {
    let names = std::fs::read_dir(&place.state).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".snap")).count()
}

/// The journal is compacted while files arrive; after that, the older contents are remembered from the snapshot.
#[test]
fn the_journal_is_compacted_while_files_come_in() {
    const FILES: u64 = 11_500;
    let place = long_paths();
    for seed in 0..FILES {
        place.stage(format!("{seed}.csv"), format!("{seed}\n"));
    }
    let textfile = place.root.path().join("x.prom");
    let output = place.once_ok(&["--metrics-textfile", textfile.to_str().unwrap()]);
    let written = events(&output, "snapshot_written");
    assert_eq!(written.len(), 1, "one compaction is due");
    let metrics = std::fs::read_to_string(textfile).unwrap();
    assert!(metrics.contains("\ncsv_ingestor_snapshots_total{ingestor=\"x\",result=\"written\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\ncsv_ingestor_last_snapshot_timestamp_seconds{ingestor=\"x\"} "), "{metrics}");
    let snapshot_bytes = format!("\ncsv_ingestor_snapshot_bytes{{ingestor=\"x\"}} {}\n", written[0]["bytes"]);
    assert!(metrics.contains(&snapshot_bytes), "{metrics}");
    let entries = written[0]["entries"].as_u64().unwrap();
    assert!(entries > FILES / 2 && entries <= FILES, "{}", written[0]);
    for field in ["lsn", "bytes", "seconds", "forgotten"] {
        assert!(written[0][field].is_number(), "{field}: {}", written[0]);
    }
    assert_eq!(snapshots(&place), 1);
    assert_eq!(place.check_consistent(), FILES as usize);

    // Some of the files that are sent again are in the snapshot, some are newer.
    for seed in (0..FILES).step_by(500) {
        place.stage(format!("again-{seed}.csv"), format!("{seed}\n"));
    }
    let output = place.once_ok(&["--duplicates", "remove"]);
    let skipped = events(&output, "duplicate_skipped");
    assert_eq!(skipped.len() as u64, FILES / 500);
    for event in skipped {
        let (path, original) = (event["path"].as_str().unwrap(), event["original"].as_str().unwrap());
        let name = path.rsplit_once("again-").unwrap().1;
        assert!(original.ends_with(&format!("/{name}")), "{event}");
        assert!(std::path::Path::new(original).exists());
    }
    assert_eq!(place.check_consistent(), FILES as usize);
}

/// A compaction that is due is not forgotten by a restart.
#[test]
fn a_journal_that_is_due_is_compacted_by_the_next_start() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    place.once_ok(&[]);
    let output = place.subcommand(&["journal", "compact"]);
    assert!(output.status.success());
    assert_eq!(snapshots(&place), 1);
    // Each start creates a segment of 256 KiB, and cron may start it every minute: the segments must not pile up.
    let segments = || std::fs::read_dir(&place.state).unwrap().count();
    while segments() < (64 << 20) / (256 << 10) + 4 {
        match Journal::open(&RealFs::default(), &place.state, &mut Index::default()) {
            Ok(journal) => drop(journal),
            // A child of another test has a copy of the lock's descriptor until it executes its program.
            Err(error) => assert!(matches!(error, Error::Locked { .. }), "{error}"),
        }
    }
    let before = segments();
    let daemon = place.start(&["--stability-seconds", "0"]);
    let written = daemon.wait_for("snapshot_written", 1);
    assert_eq!(written[0]["entries"], 1);
    stop(daemon);
    // These are now the generation before; the next compaction removes them.
    place.subcommand(&["journal", "compact"]);
    assert!(segments() < 10, "{before} files before, {} after", segments());
    assert_eq!(place.check_consistent(), 1);
    // The content is still known.
    place.stage("again.csv", csv(1, 100));
    assert_eq!(events(&place.once_ok(&[]), "duplicate_skipped").len(), 1);
}

/// A kept duplicate protects its original from expiry, however old that is: when it is examined again, it must still be a
/// duplicate. The DISCOVERED of a large file is written before its hash is known; that ended the protection too early, and
/// the file was ingested a second time.
#[test]
fn a_large_kept_duplicate_of_an_old_file_stays_a_duplicate() {
    let place = Place::new();
    let content = csv(1, 17 << 20);
    place.stage("first.csv", &content);
    place.once_ok(&[]);
    let copy = place.stage("copy.csv", &content);
    assert_eq!(events(&place.once_ok(&[]), "duplicate_skipped").len(), 1);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let output = place.subcommand(&["journal", "compact", "--remember", "1s"]);
    assert!(output.status.success());
    // The ctime changes, so it is hashed again.
    std::fs::File::options().write(true).open(&copy).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let output = place.once_ok(&["--duplicates", "remove"]);
    assert_eq!(events(&output, "duplicate_skipped").len(), 1);
    assert_eq!(place.check_consistent(), 1);
    assert!(!copy.exists());
}
