//! Recovery from every state, on a disk that crashes: the whole pipeline runs single-threaded on the simulator, is
//! cut off at each of its operations, and has to come to the same end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use csv_ingestor::engine::{self, Engine, Options};
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::fs::{FileKind, Fs};
use csv_ingestor::journal::compact::compact;
use csv_ingestor::journal::record::{DuplicateAction, Settings};
use csv_ingestor::journal::state::FileState;
use csv_ingestor::metrics::Metrics;
use csv_ingestor::pipeline::hash::Hasher;
use csv_ingestor::pipeline::scan::{NameRules, Scanner};
use csv_ingestor::pipeline::settle::{Mode, Settle};
use csv_ingestor::types::IngestId;
use serde_json::Value;

use crate::harness::{csv, sha256_hex};

pub const STAGING: &str = "/staging";
pub const WAREHOUSE: &str = "/warehouse";
const MANIFESTS: &str = "/manifests";
pub const STATE: &str = "/state";

/// What lies in staging at first, and by what rules it is ingested.
pub struct Scenario {
    pub name: &'static str,
    pub cross: bool,
    pub sidecars: bool,
    pub duplicates: DuplicateAction,
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Files that are in the warehouse already, unknown to the journal.
    pub strangers: Vec<&'static str>,
    pub split_renames: bool,
    /// The journal is compacted between batches, and what is older than a year is forgotten (nothing is).
    pub compacts: bool,
}

impl Scenario {
    pub fn plain(name: &'static str) -> Scenario {
        let files = vec![("a.csv", csv(1, 100)), ("b.csv", csv(2, 3000)), ("c.csv", csv(3, 700))];
        Scenario {
            name,
            cross: false,
            sidecars: false,
            duplicates: DuplicateAction::Keep,
            files,
            strangers: Vec::new(),
            split_renames: false,
            compacts: false,
        }
    }

    fn all() -> Vec<Scenario> {
        let with_duplicates = || {
            let mut files = Scenario::plain("").files;
            files.extend([("d.csv", csv(1, 100)), ("e.csv", csv(2, 3000))]);
            files
        };
        vec![
            Scenario::plain("same file system"),
            Scenario { split_renames: true, ..Scenario::plain("same file system, renames in halves") },
            Scenario { cross: true, ..Scenario::plain("across file systems") },
            Scenario { sidecars: true, ..Scenario::plain("sidecars") },
            Scenario { sidecars: true, cross: true, ..Scenario::plain("sidecars across file systems") },
            Scenario { files: with_duplicates(), ..Scenario::plain("duplicates kept") },
            Scenario {
                files: with_duplicates(),
                duplicates: DuplicateAction::Remove,
                ..Scenario::plain("duplicates removed")
            },
            Scenario {
                files: with_duplicates(),
                duplicates: DuplicateAction::Move,
                ..Scenario::plain("duplicates moved")
            },
            Scenario { strangers: vec!["a.csv", "b.csv"], ..Scenario::plain("names taken") },
            Scenario {
                files: with_duplicates(),
                duplicates: DuplicateAction::Remove,
                compacts: true,
                ..Scenario::plain("duplicates removed, and compaction")
            },
        ]
    }

    pub fn machine(&self) -> SimFs {
        let fs = SimFs::new(7);
        let mut upstream = fs.upstream();
        upstream.mkdir_all(STAGING).unwrap();
        if self.cross {
            fs.mount(WAREHOUSE).unwrap();
        }
        for (name, content) in &self.files {
            upstream.write(Path::new(STAGING).join(name), content).unwrap();
            if self.sidecars {
                let sum = format!("{}  {name}\n", sha256_hex(content));
                upstream.write(Path::new(STAGING).join(format!("{name}.ok")), sum.as_bytes()).unwrap();
            }
        }
        if !self.strangers.is_empty() {
            let partition = Path::new(WAREHOUSE).join(fs.now().date_partition());
            upstream.mkdir_all(&partition).unwrap();
            for name in &self.strangers {
                upstream.write(partition.join(name), name.as_bytes()).unwrap();
            }
        }
        // What upstreams wrote before we came is theirs to make durable; half of the machines start that way.
        upstream.sync();
        fs.set_split_renames(self.split_renames);
        fs
    }

    pub fn settings(&self) -> Settings {
        Settings {
            input: STAGING.into(),
            warehouse: WAREHOUSE.into(),
            manifests: MANIFESTS.into(),
            duplicates: self.duplicates,
            duplicates_dir: (self.duplicates == DuplicateAction::Move).then(|| "/duplicates".into()),
        }
    }

    fn suffix(&self) -> Option<OsString> {
        self.sidecars.then(|| ".ok".into())
    }

    /// Runs the whole ingestor until nothing is left to do.
    pub fn run(&self, fs: &SimFs) -> Result<(), csv_ingestor::Error> {
        let options = Options {
            state_path: STATE.into(),
            settings: Some(self.settings()),
            sidecar_suffix: self.suffix(),
            metrics: Arc::new(Metrics::default()),
            on_full: Box::new(|| false),
        };
        let Some(Engine { mut committer, shared, recovered, .. }) = engine::open(fs, options)? else {
            return Ok(());
        };
        let mode = if self.sidecars { Mode::Sidecar } else { Mode::Stability(Duration::ZERO) };
        let kept: Vec<_> = committer.state().kept().copied().collect();
        let mut settle = Settle::new(mode, Duration::ZERO, kept.into_iter());
        let mut hasher = Hasher::new(shared.clone());
        let mut batch = Vec::new();
        for (id, mut settled) in recovered.resumed {
            settle.adopt(&mut settled);
            committer.resume(settled.ticket, id);
            batch.push(hasher.hash(settled, false));
        }
        let rules = NameRules { include: None, sidecar_suffix: self.suffix() };
        let mut scanner = Scanner::new(fs.clone(), shared.staging.clone(), rules);
        for _ in 0..8 {
            let now = Duration::from_secs(1);
            scanner.begin(&mut settle)?;
            while scanner.is_scanning() {
                scanner.slice(&mut settle, now)?;
            }
            // The first is noted ahead of its hash, as a large one would be; of the rest some are synced alone.
            while let Some(settled) = settle.take_ready(fs.now()) {
                if batch.is_empty() {
                    committer.note(settled.clone());
                    committer.flush()?;
                }
                let sync = batch.len() == 1;
                batch.push(hasher.hash(settled, sync));
            }
            if batch.is_empty() && !committer.has_pending() {
                break;
            }
            for report in committer.commit(std::mem::take(&mut batch))? {
                settle.report(&report, now);
            }
            if self.compacts {
                let until = committer.prepare_compaction(Some(Duration::from_secs(366 * 24 * 3600)))?;
                if let Some(compacted) = compact(fs, Path::new(STATE), until, &AtomicBool::new(false))? {
                    committer.adopt(compacted);
                }
            }
        }
        committer.shut_down()?;
        Ok(())
    }

    /// What must hold once nothing is left to do, whatever happened before.
    pub fn check(&self, fs: &SimFs, what: &str) {
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        let strangers: Vec<&[u8]> = self.strangers.iter().map(|name| name.as_bytes()).collect();
        for (path, content) in files(fs, Path::new(WAREHOUSE)) {
            assert!(!path.to_string_lossy().contains("/."), "{what}: leftover {}", path.display());
            if !strangers.contains(&content.as_slice()) {
                let before = found.insert(sha256_hex(&content), path);
                assert!(before.is_none(), "{what}: a content is in the warehouse twice");
            }
        }
        let mut listed: BTreeMap<String, Value> = BTreeMap::new();
        for (path, content) in files(fs, Path::new(MANIFESTS)) {
            let text = String::from_utf8(content).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "{what}: torn {}", path.display());
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{what}: bad line {line:?}"));
                let sha256 = line["sha256"].as_str().unwrap().to_owned();
                assert!(listed.insert(sha256, line).is_none(), "{what}: a content is listed twice");
            }
        }
        let expected: std::collections::BTreeSet<String> =
            self.files.iter().map(|(_, content)| sha256_hex(content)).collect();
        let found_hashes: std::collections::BTreeSet<String> = found.keys().cloned().collect();
        assert_eq!(found_hashes, expected, "{what}: the warehouse is not what was staged");
        assert_eq!(listed.keys().cloned().collect::<std::collections::BTreeSet<_>>(), expected, "{what}: manifest");
        for (sha256, line) in &listed {
            assert_eq!(Path::new(line["warehouse_path"].as_str().unwrap()), found[sha256], "{what}");
        }
        let staged: Vec<_> = files(fs, Path::new(STAGING)).into_keys().collect();
        let duplicates = self.files.len() - expected.len();
        let kept = if self.duplicates == DuplicateAction::Keep { duplicates } else { 0 };
        assert_eq!(staged.len(), kept, "{what}: left in staging: {staged:?}");
        if self.duplicates == DuplicateAction::Move {
            assert_eq!(files(fs, Path::new("/duplicates")).len(), duplicates, "{what}");
        }
        let state = engine::read_state(fs, Path::new(STATE)).unwrap();
        assert_eq!(state.open().count(), 0, "{what}: half done");
        assert_eq!(state.count(FileState::Manifested), expected.len() as u64, "{what}");
        let ids: std::collections::BTreeSet<IngestId> =
            listed.values().map(|line| IngestId(line["ingest_id"].as_u64().unwrap())).collect();
        assert_eq!(ids.len(), listed.len(), "{what}: an ingest id twice");
    }
}

/// Every regular file below `dir`, with its content.
pub fn files(fs: &SimFs, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut upstream = fs.upstream();
    let mut found = BTreeMap::new();
    for name in upstream.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        match upstream.stat(&path).unwrap().kind {
            FileKind::Directory => found.extend(files(fs, &path)),
            _ => {
                found.insert(path.clone(), upstream.read(&path).unwrap());
            }
        }
    }
    found
}

/// The scenarios do what they are there for when nothing goes wrong; otherwise the sweeps would prove little.
#[test]
fn every_scenario_without_a_crash() {
    for scenario in Scenario::all() {
        let fs = scenario.machine();
        scenario.run(&fs).unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
        scenario.check(&fs, scenario.name);
        scenario.run(&fs).unwrap();
        scenario.check(&fs, scenario.name);
    }
}

/// P1 and P2 at every operation: power is cut there, any subset of what was not synced survives, the next start and
/// the rest of the run bring everything to the same end.
#[test]
fn power_cut_at_every_operation() {
    const SEEDS: u64 = 4;
    let mut states = 0;
    for scenario in Scenario::all() {
        let whole = scenario.machine();
        let before = whole.operations();
        scenario.run(&whole).unwrap();
        for operation in before + 1..=whole.operations() {
            let cut = scenario.machine();
            cut.inject(Fault::crash().at(operation));
            // Cut off in the very last operations, the run may have come to its end all the same.
            let _ = scenario.run(&cut);
            for seed in 0..SEEDS {
                let fs = cut.fork();
                fs.clear_faults();
                fs.crash(seed);
                let what = format!("{}: power cut at operation {operation}, seed {seed}", scenario.name);
                scenario.run(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
                scenario.check(&fs, &what);
                states += 1;
            }
        }
    }
    eprintln!("{states} crash states");
}

/// As above, but only our process dies: what it wrote is there, whether synced or not. Recovery must not take it for
/// durable: a power cut follows in the middle of the recovery.
#[test]
fn killed_at_every_operation_and_power_cut_in_recovery() {
    for scenario in Scenario::all() {
        let whole = scenario.machine();
        let before = whole.operations();
        scenario.run(&whole).unwrap();
        for operation in before + 1..=whole.operations() {
            let killed = scenario.machine();
            killed.inject(Fault::crash().at(operation).happened());
            let _ = scenario.run(&killed);
            killed.clear_faults();
            killed.kill();
            let calm = killed.fork();
            let what = format!("{}: killed at operation {operation}", scenario.name);
            scenario.run(&calm).unwrap_or_else(|error| panic!("{what}: {error}"));
            scenario.check(&calm, &what);
            // A second crash somewhere in the recovery, each time somewhere else.
            let in_recovery =
                killed.operations() + 1 + operation * 7 % (calm.operations() - killed.operations()).max(1);
            killed.inject(Fault::crash().at(in_recovery));
            let _ = scenario.run(&killed);
            killed.clear_faults();
            killed.crash(operation);
            let what = format!("{what}, power cut at operation {in_recovery} of the recovery");
            scenario.run(&killed).unwrap_or_else(|error| panic!("{what}: {error}"));
            scenario.check(&killed, &what);
        }
    }
}

/// P5 and the rest: every operation fails once with EIO or ENOSPC. The run may fail, but the next one finishes, on the
/// same machine and after a power cut.
#[test]
fn every_operation_fails_once() {
    for scenario in Scenario::all() {
        let whole = scenario.machine();
        let before = whole.operations();
        scenario.run(&whole).unwrap();
        for operation in before + 1..=whole.operations() {
            for errno in [libc::EIO, libc::ENOSPC] {
                let fs = scenario.machine();
                fs.inject(Fault::errno(errno).at(operation));
                let _ = scenario.run(&fs);
                fs.clear_faults();
                fs.kill();
                let cut = fs.fork();
                cut.crash(operation);
                for (fs, then) in [(fs, "restart"), (cut, "power cut")] {
                    let what = format!("{}: errno {errno} at operation {operation}, {then}", scenario.name);
                    scenario.run(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
                    scenario.check(&fs, &what);
                }
            }
        }
    }
}
