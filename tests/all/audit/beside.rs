//! Beside a daemon under load: files, lines and records appear at any moment, and none of them is a finding.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{AT_ONCE, audit, audit_without_journal};
use crate::harness::{Place, csv, wait_until};

/// How long the load lasts.
const LOAD: Duration = Duration::from_secs(8);
/// How long an ingestor waits for its line: more than a disk takes that is not busy.
const SLOW: Duration = Duration::from_secs(7);

/// Why: with a slow disk, or while it waits for the lock, an ingestor takes long from a file's arrival to its line. The
/// audit of another one, or without a journal, called the file extra after five seconds.
#[test]
fn a_file_of_another_ingestor_that_waits_long_for_its_line_is_no_finding() {
    let (one, mut other) = (Place::new(), Place::new());
    (other.warehouse, other.manifests) = (one.warehouse.clone(), one.manifests.clone());
    one.stage("one.csv", csv(1, 100));
    one.once_ok(&[]);
    let daemon = other.start(&["--stability-seconds", "0", "--scan-interval", "50ms"]);
    daemon.wait_started();
    let lock = std::fs::File::open(one.manifests.join(".csv-ingestor/lock")).unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    other.stage("other.csv", csv(2, 100));
    wait_until("it is in the warehouse", || one.warehouse_files().len() == 2);
    thread::scope(|scope| {
        let hasty = scope.spawn(|| audit_without_journal(&one, &AT_ONCE));
        let without = scope.spawn(|| audit_without_journal(&one, &[]));
        let with = scope.spawn(|| audit(&one, &[]));
        hasty.join().unwrap().found(&["extra"]);
        thread::sleep(SLOW);
        assert!(!without.is_finished() && !with.is_finished());
        drop(lock);
        without.join().unwrap().clean();
        with.join().unwrap().clean();
    });
    assert!(daemon.stop().success());
}

#[test]
fn nothing_is_found_beside_daemons_under_load() {
    let one = Place::new();
    let mut other = Place::new();
    (other.warehouse, other.manifests) = (one.warehouse.clone(), one.manifests.clone());
    let quick = ["--stability-seconds", "0", "--scan-interval", "50ms", "--duplicates", "remove"];
    let daemons = [one.start(&quick), other.start(&quick)];
    daemons.iter().for_each(|daemon| daemon.wait_started());
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut audits = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let seed = sent.fetch_add(1, Ordering::Relaxed);
                let place = if seed.is_multiple_of(3) { &other } else { &one };
                // One file in ten was sent before.
                let content = csv(if seed.is_multiple_of(10) { seed / 2 } else { seed }, 200);
                place.stage(format!(".{seed}"), content);
                std::fs::rename(place.staging.join(format!(".{seed}")), place.staging.join(format!("{seed}.csv")))
                    .unwrap();
                thread::sleep(Duration::from_micros(200));
            }
        });
        let begun = Instant::now();
        let audited = std::panic::catch_unwind(|| {
            let mut audits = 0;
            while begun.elapsed() < LOAD {
                audit(&one, &[]).clean();
                audit(&other, &["--sample", "10%"]).clean();
                audit_without_journal(&one, &["--since", "1d"]).clean();
                audits += 3;
                eprintln!("{audits} audits after {:.1} s", begun.elapsed().as_secs_f64());
            }
            audits
        });
        is_over.store(true, Ordering::Relaxed);
        audits = audited.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    for daemon in daemons {
        assert!(daemon.stop().success());
    }
    let last = audit(&one, &[]);
    last.clean();
    assert!(last.summary["of_others"].as_u64().unwrap() > 0);
    let (sent, lines) = (sent.into_inner(), last.summary["lines"].as_u64().unwrap());
    eprintln!("{audits} audits beside two daemons that took {lines} of {sent} files");
    assert!(audits >= 3 && lines > 200, "{audits} audits, {lines} lines");
}
