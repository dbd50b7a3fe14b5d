//! Heap allocations for each file: counted, so they are the same on every machine.
//!
//! The pipeline runs on one thread, stage by stage, on real files. The first batch is not counted: it makes the directories,
//! opens the manifest, and sizes the buffers that later batches use again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod counting;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use csv_ingestor::engine::{self, Engine, Options};
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::record::{DuplicateAction, Identity, Settings};
use csv_ingestor::metrics::Metrics;
use csv_ingestor::pipeline::hash::Hasher;
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::pipeline::places::Accepts;
use csv_ingestor::pipeline::scan::{NameRules, Scanner};
use csv_ingestor::pipeline::settle::{Mode, Settle};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const BATCHES: usize = 9;
const BATCH_FILES: usize = 256;

fn options(root: &Path) -> Options {
    let settings = Settings {
        input: root.join("staging"),
        warehouse: root.join("warehouse"),
        manifests: root.join("manifests"),
        duplicates: DuplicateAction::Keep,
        duplicates_dir: None,
    };
    Options {
        state_path: root.join("state"),
        settings: Some(settings),
        names: NameRules::default(),
        validate: None,
        require_checksum: false,
        layout: Layout::default(),
        identity: Identity::default(),
        quarantine: None,
        accepts: Accepts::default(),
        metrics: Arc::new(Metrics::default()),
        reach: None,
        on_full: Box::new(|| false),
        stop: Arc::default(),
    }
}

/// Does it, and adds the allocations to the sum.
fn counted<T>(sum: &mut u64, work: impl FnOnce() -> T) -> T {
    let before = counting::count();
    let done = work();
    *sum += counting::count() - before;
    done
}

fn main() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("staging")).unwrap();
    let fs = RealFs::default();
    let Engine { mut committer, shared, .. } = engine::open(&fs, options(root.path())).unwrap().unwrap();
    let mut settle = Settle::new(Mode::Stability(Duration::ZERO), Duration::ZERO, std::iter::empty());
    let mut scanner = Scanner::new(fs, shared.staging.clone(), NameRules::default());
    let mut hasher = Hasher::new(shared);
    let (mut scanned, mut hashed, mut committed, mut reported) = (0, 0, 0, 0);
    for batch in 0..BATCHES {
        for file in 0..BATCH_FILES {
            let path = root.path().join(format!("staging/orders-{batch:04}-{file:04}.csv"));
            std::fs::write(path, format!("id,batch\n{file},{batch}\n").repeat(40)).unwrap();
        }
        if batch == 1 {
            (scanned, hashed, committed, reported) = (0, 0, 0, 0);
        }
        let now = Duration::from_secs(batch as u64 + 1);
        let ready = counted(&mut scanned, || {
            scanner.begin(&mut settle).unwrap();
            while scanner.is_scanning() {
                scanner.slice(&mut settle, now).unwrap();
            }
            let mut ready = Vec::with_capacity(BATCH_FILES);
            ready.extend(std::iter::from_fn(|| settle.take_ready(csv_ingestor::types::UnixMillis(1_763_458_200_000))));
            ready
        });
        assert_eq!(ready.len(), BATCH_FILES, "files that one scan finds");
        let files: Vec<_> = counted(&mut hashed, || ready.into_iter().map(|file| hasher.hash(file, false)).collect());
        let reports = counted(&mut committed, || {
            let reports = committer.commit(files).unwrap();
            committer.flush().unwrap();
            drop(committer.take_finished());
            reports
        });
        counted(&mut reported, || {
            reports.iter().for_each(|report| {
                let _ = settle.report(report, now);
            })
        });
    }
    let files = ((BATCHES - 1) * BATCH_FILES) as f64;
    println!("heap allocations for each file, {files} files in batches of {BATCH_FILES}, the log not counted:");
    for (stage, sum) in [("scan", scanned), ("hash", hashed), ("commit", committed), ("report", reported)] {
        println!("  {stage:<8}{:6.2}", sum as f64 / files);
    }
}
