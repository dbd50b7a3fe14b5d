//! Checks before every single operation, both what programs see and what the disk alone holds.
//!
//! P3: a file is in the warehouse only after the journal's intention is durable; a line can be read in a manifest only after
//! its MOVED and its file in the warehouse are durable. A reader that follows the manifests never sees a line withdrawn, and
//! whoever sees a line sees all lines with smaller numbers, unless they are in the same manifest, on their way.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_ingestor::engine;
use csv_ingestor::fs::sim::{Call, Op, Survival, Upstream};
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::types::Key;

use super::model::{Model, Verdict, ensure};
use super::scenario::{MANIFESTS, QUARANTINE, STAGING, STATE, WAREHOUSE};
use super::view::{Line, View};

#[derive(Clone, Default)]
pub struct Watch {
    /// The ids in each manifest, as a reader that follows it has seen them.
    seen: BTreeMap<PathBuf, Vec<u64>>,
    /// Files that were seen in quarantine in this run.
    quarantined: Option<BTreeSet<PathBuf>>,
    /// Operations that were checked.
    pub looks: u64,
    /// Only follows the manifests.
    blind: bool,
    /// What happened before, for messages.
    story: String,
    /// What the disk alone holds since the last sync.
    floor: Option<Arc<Floor>>,
}

/// What a power cut would leave if nothing unsynced survived.
struct Floor {
    disk: View,
    state: Index,
}

impl Floor {
    fn of(upstream: &mut Upstream<'_>) -> Result<Arc<Floor>, String> {
        let floor = upstream.fork();
        floor.clear_faults();
        floor.crash_to(Survival::Nothing);
        let disk = View::of(&mut floor.upstream());
        let state = engine::read_state(&floor, Path::new(STATE)).map_err(|error| error.to_string())?;
        Ok(Arc::new(Floor { disk, state }))
    }
}

impl Watch {
    /// Checks the manifests only, as a reader: much cheaper.
    pub fn blind() -> Watch {
        Watch { blind: true, ..Watch::default() }
    }

    /// Continues, and checks everything.
    pub fn seeing(self) -> Watch {
        Watch { blind: false, ..self }
    }

    pub fn told(self, story: String) -> Watch {
        Watch { story, quarantined: None, ..self }
    }

    pub fn look(&mut self, call: &Call<'_>, upstream: &mut Upstream<'_>, model: &Model) {
        // A read changes nothing, so the next operation that writes finds the same.
        let reads = [Op::OpenDir, Op::StatDir, Op::List, Op::Stat, Op::StatFile, Op::ReadAt, Op::FreeBytes];
        if reads.contains(&call.op) {
            return;
        }
        self.looks += 1;
        let verdict = self.judge(call, upstream, model);
        verdict.unwrap_or_else(|wrong| {
            panic!(
                "{}, before operation {}, {:?} of {}: {wrong}",
                self.story,
                call.number,
                call.op,
                call.path.display()
            )
        });
    }

    fn judge(&mut self, call: &Call<'_>, upstream: &mut Upstream<'_>, model: &Model) -> Verdict {
        if self.blind && !call.path.starts_with(MANIFESTS) && call.op != Op::LeaseBroken {
            return Ok(());
        }
        let view = View::of(upstream);
        model.always(&view)?;
        self.follow(&view)?;
        check_order(&view)?;
        if self.blind {
            return Ok(());
        }
        // The disk changes with syncs, and by what other processes do. If the last floor passes the checks, no other process
        // has done anything that matters; otherwise a new floor decides.
        if let Some(floor) = self.floor.take()
            && self.judge_with(call, &view, &floor, model).is_ok()
        {
            self.floor = (!call.op.is_sync()).then_some(floor);
            return Ok(());
        }
        let floor = Floor::of(upstream)?;
        let verdict = self.judge_with(call, &view, &floor, model);
        self.floor = (!call.op.is_sync()).then_some(floor);
        verdict
    }

    fn judge_with(&mut self, call: &Call<'_>, view: &View, floor: &Floor, model: &Model) -> Verdict {
        let Floor { disk, state } = floor;
        model.always_but_unsynced(disk)?;
        let durable: BTreeSet<u64> = disk.lines.iter().filter_map(|line| line.seq).collect();
        for line in &view.lines {
            let is_there = |seq: u64| {
                let beside =
                    || view.lines.iter().any(|other| other.seq == Some(seq) && other.manifest == line.manifest);
                durable.contains(&seq) || beside()
            };
            let missing = line.seq.and_then(|seq| (1..seq).find(|before| !is_there(*before)));
            ensure!(missing.is_none(), "listed before the line {missing:?} was durable: {line:?}");
            let there = disk.warehouse.get(&line.warehouse_path);
            ensure!(there == Some(&line.sha256), "listed before it was durable: {line:?}");
            ensure!(is_moved(state, line), "listed before MOVED was durable: {line:?}");
        }
        for (path, digest) in &view.warehouse {
            let intended = model.strangers.contains(digest)
                || state
                    .open()
                    .any(|ingest| ingest.target.as_ref().is_some_and(|target| target.warehouse_path == *path))
                || is_original(state, view, path, digest);
            ensure!(intended, "in the warehouse before HASHED was durable: {}", path.display());
            ensure!(is_whole(state, path), "in the warehouse before its group was durable: {}", path.display());
        }
        // At first, the files that an earlier run has moved there.
        let quarantined = self.quarantined.get_or_insert_with(|| view.quarantine.keys().cloned().collect());
        for path in view.quarantine.keys().filter(|path| !quarantined.contains(*path)) {
            let mut open = state.open().filter_map(|ingest| ingest.quarantined.as_ref());
            ensure!(
                open.any(|quarantined| quarantined.target == *path),
                "in quarantine before QUARANTINED was durable: {}",
                path.display()
            );
        }
        quarantined.extend(view.quarantine.keys().cloned());
        let hidden = call.path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with('.')));
        if call.op == Op::Rename && call.path.starts_with(STAGING) && !hidden {
            let intended = state.open().any(|ingest| {
                let is_sidecar = ingest.sidecar.as_ref().is_some_and(|sidecar| sidecar.path == call.path);
                ingest.state != FileState::Discovered && (ingest.source_path == call.path || is_sidecar)
            });
            let is_group = state.groups().any(|group| group.group.path == call.path);
            ensure!(intended || is_group, "moved before a record of it was durable");
        }
        let foreign = call.op == Op::WriteAt && !call.path.starts_with(MANIFESTS) && !call.path.starts_with(STATE);
        let may_be = call.path.starts_with(WAREHOUSE) || call.path.starts_with(QUARANTINE);
        ensure!(!foreign || may_be, "written where nothing may be written");
        Ok(())
    }

    /// All complete lines seen before still exist, in the same order. Only the numbers order lines of several manifests.
    fn follow(&mut self, view: &View) -> Verdict {
        let mut now: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
        for line in &view.lines {
            now.entry(line.manifest.clone()).or_default().push(line.ingest_id);
        }
        for (manifest, seen) in &self.seen {
            let there = now.get(manifest).map(Vec::as_slice).unwrap_or_default();
            ensure!(there.starts_with(seen), "a line was withdrawn: {seen:?}, now {there:?} in {}", manifest.display());
        }
        self.seen = now;
        Ok(())
    }

    /// After a power cut a reader may find fewer lines until the recovery is complete.
    pub fn after_recovery(&mut self, view: &View) -> Verdict {
        self.follow(view)
    }
}

/// Lines between others are missing only in the last manifest to which lines were written.
fn check_order(view: &View) -> Verdict {
    let numbers: BTreeSet<u64> = view.lines.iter().filter_map(|line| line.seq).collect();
    let Some(missing) = (1..).find(|seq| !numbers.contains(seq)) else { return Ok(()) };
    let mut behind = view.lines.iter().filter(|line| line.seq.is_some_and(|seq| seq > missing));
    let first = behind.next();
    ensure!(
        first.is_none_or(|first| behind.all(|line| line.manifest == first.manifest)),
        "line {missing} is missing, and lines behind it are in several manifests"
    );
    Ok(())
}

/// If a file with this warehouse path is on its way in a group, all files of that group are.
fn is_whole(state: &Index, path: &Path) -> bool {
    let mut open = state.open();
    let ingest = open.find(|ingest| ingest.target.as_ref().is_some_and(|target| target.warehouse_path == *path));
    let Some(group) = ingest.filter(|it| it.state == FileState::Hashed).and_then(|ingest| ingest.group.as_ref()) else {
        return true;
    };
    group.group.moving.iter().all(|id| state.ingest(*id).is_some())
}

fn original(state: &Index, name: Option<&String>, digest: &str) -> Option<csv_ingestor::journal::ingest::Original> {
    let sha256 = csv_ingestor::types::Sha256::from_hex(digest.as_bytes())?;
    state.original(&Key::of(name.map(OsStr::new), &sha256)).unwrap()
}

/// True if the journal has this file as ingested. Where names count, its line tells the name.
fn is_original(state: &Index, view: &View, path: &Path, digest: &str) -> bool {
    let line = view.lines.iter().find(|line| line.warehouse_path == path);
    let original = original(state, line.and_then(|line| line.name.as_ref()), digest);
    original.is_some_and(|original| *original.warehouse_path == *path)
}

fn is_moved(state: &Index, line: &Line) -> bool {
    let original = original(state, line.name.as_ref(), &line.sha256);
    original.is_some_and(|original| original.ingest_id.0 == line.ingest_id)
}
