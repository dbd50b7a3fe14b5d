//! `--dry-run`: writes to stdout what would happen. It applies the same rules as a real run, up to the first effect.
//!
//! Invariant: it changes nothing: no directory, no journal, no lock, no copy, no sync of anything that is this program's;
//! in a lake's store, no request that has an effect.

mod groups;
mod lake;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel;

use crate::Error;
use crate::config::Config;
use crate::engine;
use crate::engine::lake::Reach;
use crate::fs::Fs;
use crate::journal::index::Index;
use crate::journal::record::{DuplicateAction, QuarantineCause};
use crate::limits::CHUNK_FILES_MAX;
use crate::pipeline::hash::{Hasher, Shared};
use crate::pipeline::scan::names::Ignored;
use crate::pipeline::scan::{SCAN_SLICE_NAMES, Scanner};
use crate::pipeline::settle::{Mode, Settle};
use crate::pipeline::warehouse::names::warehouse_name;
use crate::pipeline::{Refusal, Settled, WhyNot, subdir};
use crate::types::{IngestId, Key, Sha256};
use lake::{Standing, View};

/// The message for a sidecar without a file.
pub const ORPHAN_TEXT: &str = "orphaned sidecar: its file is not there";

/// What would happen to one file.
#[derive(Debug, PartialEq, Eq)]
pub enum Forecast {
    /// It would be ingested.
    Ready {
        /// The staged file.
        path: PathBuf,
        /// The path that it would get.
        warehouse_path: PathBuf,
    },
    /// Its content is in the warehouse, or would be by then.
    Duplicate {
        /// The staged file.
        path: PathBuf,
        /// The path of the file with that content.
        of: PathBuf,
    },
    /// It would stay in staging.
    Waiting {
        /// The staged file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is never ingested.
    Ignored {
        /// The entry in staging.
        path: PathBuf,
        /// Why.
        why: Ignored,
    },
    /// Further ignored entries, too many to list.
    MoreIgnored {
        /// Staging.
        path: PathBuf,
        /// How many.
        more: usize,
    },
}

/// Scans, waits for one stability window, checks again, and reports. `reach`: how a lake is read, if the warehouse is one.
pub fn run<F: Fs>(fs: &F, config: &Config, reach: Option<Reach>) -> Result<Vec<Forecast>, Error> {
    let staging = Arc::new(fs.open_dir(&config.paths.input)?);
    let (settings, identity) = (config.settings(), config.completeness.identity);
    let (index, journal) = engine::foresee(fs, &config.paths.state, &settings, identity, config.accepts)?;
    let mut lake = match settings.is_lake() {
        true => Some(View::open(reach, &settings, (&index, journal), config.name_rules().groups)?),
        false => None,
    };
    let shared = shared(fs, config, staging.clone());
    let kept = index.kept().copied().filter(|_| config.placement.duplicates == DuplicateAction::Keep);
    let mut settle =
        Settle::new(config.completeness.mode, config.scan_interval, kept).with_bounds(config.completeness.bounds);
    settle = settle.with_sidecars(config.name_rules().sidecars).in_order(config.completeness.order);
    settle.note_kept();
    let mut scanner = Scanner::new(fs.clone(), staging, config.name_rules())
        .with_notes(shared.notes.clone())
        .with_own(config.own_places());
    let now = watch(&mut scanner, &mut settle, config.completeness.mode)?;
    let faulty = groups::find(&shared, (&mut scanner, &mut settle), (&index, lake.as_ref()), now)?;
    settle.release();

    let (planned, taken) = (HashMap::new(), Vec::new());
    let mut forecaster = Forecaster { fs, config, index: &index, lake: lake.as_mut(), planned, taken };
    let (mut forecasts, mut hashed) = (Vec::new(), Vec::new());
    while settle.ready() > 0 {
        let chunk: Vec<Settled> =
            std::iter::from_fn(|| settle.take_ready(fs.now())).take(CHUNK_FILES_MAX * config.concurrency).collect();
        hashed.extend(hash_all(&shared, chunk, config.concurrency));
    }
    if let Some(lake) = &mut forecaster.lake {
        groups::refuse_claimed(&mut hashed, lake, (&index, &config.paths.input))?;
    }
    for (settled, hashed) in groups::all_or_none(hashed) {
        forecasts.push(forecaster.forecast(&settled, hashed)?);
    }
    let input = &config.paths.input;
    for (name, key) in settle.take_kept() {
        let of = forecaster.original(&key)?;
        forecasts.push(Forecast::Duplicate { path: input.join(&*name), of });
    }
    let text = |name: &OsStr, why: WhyNot| match faulty.iter().find(|(of, _)| **of == *name) {
        Some((_, fault)) => format!("{}: {fault}", why.text()),
        None => why.text().to_owned(),
    };
    forecasts.extend(settle.waiting().map(|(name, why)| forecaster.waiting(name, &text(name, why))));
    forecasts.extend(scanner.orphans().iter().map(|name| forecaster.waiting(name, ORPHAN_TEXT)));
    let (ignored, more) = scanner.into_ignored();
    forecasts.extend(ignored.into_iter().map(|(name, why)| Forecast::Ignored { path: input.join(&*name), why }));
    forecasts.sort_by(|one, other| one.path().cmp(other.path()));
    forecasts.extend((more > 0).then(|| Forecast::MoreIgnored { path: input.clone(), more }));
    Ok(forecasts)
}

/// What the workers of a dry run need.
fn shared<F: Fs>(fs: &F, config: &Config, staging: Arc<F::Dir>) -> Arc<Shared<F>> {
    Arc::new(Shared {
        fs: fs.clone(),
        staging,
        copies: None,
        is_dry_run: true,
        names: config.name_rules(),
        validate: config.validate,
        require_checksum: config.require_checksum,
        layout: engine::places::arrange(fs, config.placement.layout.clone(), &config.settings()),
        identity: config.completeness.identity,
        notes: Arc::default(),
        copy_all: AtomicBool::new(false),
        leases_missing: AtomicBool::new(false),
        under_way: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        signalled: Arc::default(),
    })
}

impl Forecast {
    /// The staged file.
    pub fn path(&self) -> &Path {
        match self {
            Forecast::Ready { path, .. }
            | Forecast::Duplicate { path, .. }
            | Forecast::Waiting { path, .. }
            | Forecast::Ignored { path, .. }
            | Forecast::MoreIgnored { path, .. } => path,
        }
    }
}

/// One scan, and another look at each name after its window. Returns the time of that.
fn watch<F: Fs>(scanner: &mut Scanner<F>, settle: &mut Settle, mode: Mode) -> Result<Duration, Error> {
    let started = Instant::now();
    scanner.begin(settle)?;
    while scanner.is_scanning() {
        scanner.slice(settle, started.elapsed())?;
    }
    let Some(window) = mode.window() else { return Ok(started.elapsed()) };
    let deadline = started.elapsed() + window;
    thread::sleep(if settle.next_due().is_some() { window } else { Duration::ZERO });
    loop {
        let names = settle.take_due(deadline, SCAN_SLICE_NAMES);
        if names.is_empty() {
            return Ok(started.elapsed().max(deadline));
        }
        for name in names {
            scanner.look_at(settle, &name, false, started.elapsed().max(deadline))?;
        }
    }
}

/// A file's content, and its directory in the warehouse.
type Hashed = (Sha256, PathBuf);

/// Hashes files on several threads; returns the results in the order of the files.
fn hash_all<F: Fs>(
    shared: &Arc<Shared<F>>,
    files: Vec<Settled>,
    concurrency: usize,
) -> Vec<(Settled, Result<Hashed, Refusal>)> {
    let (sender, queue) = channel::bounded(files.len());
    for indexed in files.into_iter().enumerate() {
        // The queue has room for all of them.
        let _ = sender.send(indexed);
    }
    drop(sender);
    let mut results: Vec<(usize, Settled, Result<Hashed, Refusal>)> = thread::scope(|scope| {
        let work = || {
            let mut hasher = Hasher::new(shared.clone());
            let hash = |(index, settled)| match hasher.hash(settled, false) {
                Ok(hashed) => (index, hashed.settled, Ok((hashed.sha256, hashed.partition))),
                Err(refused) => (index, refused.settled, Err(refused.refusal)),
            };
            queue.iter().map(hash).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..concurrency).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    results.sort_by_key(|(index, ..)| *index);
    results.into_iter().map(|(_, settled, result)| (settled, result)).collect()
}

struct Forecaster<'a, F: Fs> {
    fs: &'a F,
    config: &'a Config,
    index: &'a Index,
    lake: Option<&'a mut View>,
    planned: HashMap<Key, PathBuf>,
    taken: Vec<PathBuf>,
}

impl<F: Fs> Forecaster<'_, F> {
    fn forecast(&mut self, settled: &Settled, hashed: Result<Hashed, Refusal>) -> Result<Forecast, Error> {
        let path = self.config.paths.input.join(&*settled.name);
        let (sha256, partition) = match hashed {
            Ok(hashed) => hashed,
            Err(refusal) => {
                let causes = [
                    QuarantineCause::ChecksumDiffers,
                    QuarantineCause::Malformed,
                    QuarantineCause::NoMatch,
                    QuarantineCause::Empty,
                ];
                let is_final = refusal.cause().is_some_and(|cause| causes.contains(&cause));
                let goes = if is_final && self.config.paths.quarantine.is_some() { "; goes to quarantine" } else { "" };
                return Ok(self.waiting(&settled.name, &(refusal_text(&refusal) + goes)));
            }
        };
        let key = Key::by(self.config.completeness.identity.same_by, &settled.name, &sha256);
        if let Some(forecast) = self.in_lake((settled, &path), (&sha256, key), &partition)? {
            return Ok(forecast);
        }
        let known = self.index.original(&key)?.map(|original| original.warehouse_path.to_path_buf());
        if let Some(of) = known.or_else(|| self.planned.get(&key).cloned()) {
            return Ok(Forecast::Duplicate { path, of });
        }
        let partition = self.config.paths.warehouse.join(partition);
        // The ingest id is not known yet: it occurs only in the names that are tried last.
        for taken in 0.. {
            let name = warehouse_name(subdir::file_name(&settled.name), &sha256, IngestId(0), taken);
            let warehouse_path = partition.join(&name);
            if !self.taken.contains(&warehouse_path) && self.is_free(&partition, &name)? {
                self.planned.insert(key, warehouse_path.clone());
                self.taken.push(warehouse_path.clone());
                return Ok(Forecast::Ready { path, warehouse_path });
            }
        }
        Ok(self.waiting(&settled.name, "no name in the warehouse can be found for it"))
    }

    /// As [`Forecaster::forecast`], for a file that was hashed and goes to a lake. None if there is no lake.
    fn in_lake(
        &mut self,
        (settled, path): (&Settled, &Path),
        (sha256, key): (&Sha256, Key),
        dir: &Path,
    ) -> Result<Option<Forecast>, Error> {
        let Some(lake) = &mut self.lake else { return Ok(None) };
        let standing = match self.planned.get(&key) {
            Some(of) => Standing::Duplicate(of.clone()),
            None => lake.standing(self.index, (settled, path), sha256, dir)?,
        };
        let path = path.to_path_buf();
        Ok(Some(match standing {
            Standing::Ready(warehouse_path) => {
                self.planned.insert(key, warehouse_path.clone());
                Forecast::Ready { path, warehouse_path }
            }
            Standing::Duplicate(of) => Forecast::Duplicate { path, of },
            Standing::Waiting(reason) => Forecast::Waiting { path, reason },
        }))
    }

    /// Where the content of a kept duplicate is.
    fn original(&mut self, key: &Key) -> Result<PathBuf, Error> {
        match (self.index.original(key)?, &mut self.lake) {
            (Some(original), _) => Ok(original.warehouse_path.to_path_buf()),
            // A lake knows contents by nothing but their bytes.
            (None, Some(lake)) => lake.object_of(&Sha256(key.0)),
            (None, None) => Ok(PathBuf::new()),
        }
    }

    fn is_free(&self, partition: &Path, name: &OsStr) -> Result<bool, Error> {
        match self.fs.open_dir(partition) {
            Err(error) if error.is_not_found() => Ok(true),
            dir => Ok(self.fs.stat(&dir?, name)?.is_none()),
        }
    }

    fn waiting(&self, name: &OsStr, reason: &str) -> Forecast {
        Forecast::Waiting { path: self.config.paths.input.join(name), reason: reason.to_owned() }
    }
}

fn refusal_text(refusal: &Refusal) -> String {
    match refusal.why() {
        WhyNot::Changed | WhyNot::SidecarChanged => WhyNot::Settling.text().to_owned(),
        WhyNot::Malformed | WhyNot::NoMatch | WhyNot::Failed | WhyNot::GroupFaulty => {
            refusal.error().unwrap_or_default()
        }
        why => why.text().to_owned(),
    }
}
