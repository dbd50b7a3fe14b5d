//! What reviewers and sweeps found once, each with its why.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use csv_ingestor::engine::{self, Options};
use csv_ingestor::fs::sim::{Fault, Op, SimFs};
use csv_ingestor::journal::state::FileState;
use csv_ingestor::metrics::Metrics;
use csv_ingestor::pipeline::Refusal;
use csv_ingestor::pipeline::hash::Hasher;

use crate::harness::{Place, csv, sha256_hex};
use crate::recovery::{STAGING, STATE, Scenario, WAREHOUSE, files};

/// A machine on which the run was killed just before the first rename of a staged file into the warehouse: HASHED is
/// durable.
fn killed_when_hashed(scenario: &Scenario) -> SimFs {
    let fs = scenario.machine();
    fs.inject(Fault::crash().only(&[Op::Rename]).under(STAGING).nth(1));
    scenario.run(&fs).unwrap_err();
    fs.clear_faults();
    fs.kill();
    let state = engine::read_state(&fs, Path::new(STATE)).unwrap();
    assert!(state.open().any(|ingest| ingest.state == FileState::Hashed), "the test is about HASHED");
    fs
}

/// The lease ends with the process that held it. A writer that came since and is silent would go on writing into the
/// warehouse's file.
#[test]
fn recovery_asks_for_writers_again() {
    let scenario = Scenario::plain("a writer came after the crash");
    let fs = killed_when_hashed(&scenario);
    let writer = fs.upstream().open_writer(Path::new(STAGING).join("a.csv")).unwrap();
    scenario.run(&fs).unwrap();
    let published = files(&fs, Path::new(WAREHOUSE));
    assert!(!published.keys().any(|path| path.ends_with("a.csv")), "{:?}", published.keys());
    assert!(files(&fs, Path::new(STAGING)).contains_key(&Path::new(STAGING).join("a.csv")));
    fs.upstream().close_writer(writer);
    scenario.run(&fs).unwrap();
    scenario.check(&fs, "after the writer has closed it");
}

/// Device and inode numbers may be others after a reboot: a file that has arrived must be known by its content then,
/// or it stays in the warehouse without a line, and a second time when it is sent again.
#[test]
fn a_file_that_has_arrived_is_known_by_its_content() {
    let scenario = Scenario::plain("another inode number after the crash");
    let fs = scenario.machine();
    fs.inject(Fault::crash().only(&[Op::Rename]).under(STAGING).nth(1).happened());
    scenario.run(&fs).unwrap_err();
    fs.clear_faults();
    fs.kill();
    let (path, content) = files(&fs, Path::new(WAREHOUSE)).into_iter().next().unwrap();
    fs.upstream().write("/occupied", b"so that the inode number is not the same").unwrap();
    fs.upstream().write("/copy", &content).unwrap();
    fs.upstream().replace("/copy", &path).unwrap();
    scenario.run(&fs).unwrap();
    scenario.check(&fs, scenario.name);
}

/// One source that cannot be removed (immutable, or another's in a sticky directory) must not stop the others, now and
/// at every start.
#[test]
fn a_source_that_cannot_be_removed_stops_nobody() {
    let scenario = Scenario { cross: true, ..Scenario::plain("a source that stays") };
    let fs = scenario.machine();
    let stuck = Path::new(STAGING).join("a.csv");
    fs.inject(Fault::errno(libc::EPERM).only(&[Op::Rename]).under(&stuck));
    for _ in 0..2 {
        scenario.run(&fs).unwrap();
        assert_eq!(files(&fs, Path::new(STAGING)).into_keys().collect::<Vec<_>>(), std::slice::from_ref(&stuck));
    }
    let state = engine::read_state(&fs, Path::new(STATE)).unwrap();
    assert_eq!((state.open().count(), state.count(FileState::Manifested)), (0, 3));
    assert_eq!(state.kept().count(), 1, "what stayed is a duplicate of what was ingested from it");
}

/// A file that is resumed after a crash has to pass its sidecar's checksum, by the name that the journal has for it:
/// `replay` knows no `--sidecar-suffix`, and the daemon may have been given another.
#[test]
fn a_resumed_file_must_match_its_sidecar() {
    let scenario = Scenario { sidecars: true, ..Scenario::plain("a resumed file and its sidecar") };
    let fs = scenario.machine();
    let wrong = format!("{}  a.csv\n", sha256_hex(b"something else"));
    fs.upstream().write(Path::new(STAGING).join("a.csv.ok"), wrong.as_bytes()).unwrap();
    // The first file is noted ahead of its hash; the crash comes when it is opened.
    fs.inject(Fault::crash().only(&[Op::Lease]).nth(1));
    scenario.run(&fs).unwrap_err();
    fs.clear_faults();
    fs.kill();
    let options = Options {
        state_path: STATE.into(),
        settings: None,
        sidecar_suffix: None,
        metrics: Arc::new(Metrics::default()),
        on_full: Box::new(|| false),
    };
    let engine = engine::open(&fs, options).unwrap().unwrap();
    let (_, settled) = engine.recovered.resumed.into_iter().next().expect("a file to resume");
    assert_eq!(settled.name.to_str(), Some("a.csv"), "the test is about the file with the wrong sidecar");
    let refused = Hasher::new(engine.shared).hash(settled, false).err().expect("it is refused");
    assert!(matches!(refused.refusal, Refusal::ChecksumDiffers { .. }), "{:?}", refused.refusal);
}

/// Somebody's own file under a name like those that we give must neither be taken for ours nor keep a used sidecar.
#[test]
fn a_strangers_hidden_file_is_not_taken_for_ours() {
    let scenario = Scenario { sidecars: true, ..Scenario::plain("squatted names") };
    let fs = scenario.machine();
    for id in 1..40 {
        fs.upstream().mkdir(Path::new(STAGING).join(format!(".csv-ingestor-{id}-sidecar"))).unwrap();
    }
    scenario.run(&fs).unwrap();
    scenario.check(&fs, scenario.name);
}

/// A dry run asks for leases, too. The signal that a writer's open then sends must not kill it, and the writer must not
/// be kept waiting.
#[test]
fn a_dry_run_survives_writers() {
    let place = Place::new();
    let path = place.stage("large.csv", csv(1, 1000));
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 29).unwrap();
    let mut dry_run = place
        .command()
        .args(["--dry-run", "--stability-seconds", "0"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = loop {
        if let Some(status) = dry_run.try_wait().unwrap() {
            break status;
        }
        let _ = std::fs::File::options().append(true).custom_flags(libc::O_NONBLOCK).open(&path);
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    assert!(status.success(), "{status}");
}

/// Upstreams do not fsync. What stands in the manifest must be durable all the same: a name that survives a power cut
/// over content that does not is a file of zeros under a line that promises its SHA-256.
#[test]
fn what_is_listed_was_made_durable_whatever_upstreams_did() {
    for cross in [false, true] {
        let scenario = Scenario { cross, ..Scenario::plain("sources that nobody synced") };
        let machine = || {
            let fs = scenario.machine();
            for (name, content) in &scenario.files {
                let other: Vec<u8> = content.iter().map(|byte| byte ^ 1).collect();
                fs.upstream().write_at(Path::new(STAGING).join(name), 0, &other).unwrap();
            }
            fs
        };
        let whole = machine();
        let before = whole.operations();
        scenario.run(&whole).unwrap();
        for operation in before + 1..=whole.operations() + 1 {
            let cut = machine();
            cut.inject(Fault::crash().at(operation));
            let _ = scenario.run(&cut);
            for seed in 0..4 {
                let fs = cut.fork();
                fs.clear_faults();
                fs.crash(seed);
                scenario.run(&fs).unwrap();
                let warehouse = files(&fs, Path::new(WAREHOUSE));
                let listed: Vec<serde_json::Value> = files(&fs, Path::new("/manifests"))
                    .values()
                    .flat_map(|content| content.split_inclusive(|byte| *byte == b'\n'))
                    .map(|line| serde_json::from_slice(line).unwrap())
                    .collect();
                for line in &listed {
                    let content = &warehouse[Path::new(line["warehouse_path"].as_str().unwrap())];
                    assert_eq!(line["sha256"], sha256_hex(content), "operation {operation}, seed {seed}: {line}");
                }
                assert_eq!(listed.len(), warehouse.len(), "operation {operation}, seed {seed}");
            }
        }
    }
}
