//! Opening the ingestor's engine: locks, journal, recovery. The daemon, `replay` and the simulation all begin here.
//!
//! Invariants: both locks are held before anything is modified; what recovery leaves is returned, nothing is begun.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

use crate::Error;
use crate::fs::{self, Fs};
use crate::journal::record::{Settings, Validation};
use crate::journal::replay::{Ending, Replayed};
use crate::journal::state::{FileState, State};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::pipeline::commit::{Committer, OnFull};
use crate::pipeline::hash::{Shared, copies_dir};
use crate::pipeline::probe::{Verdict, probe};
use crate::pipeline::quarantine::Quarantine;
use crate::pipeline::recover::Recovered;

/// What opening needs to know.
pub struct Options {
    /// The journal's directory.
    pub state_path: PathBuf,
    /// The directories; None for those that the journal knows.
    pub settings: Option<Settings>,
    /// In sidecar mode, the ending of sidecars.
    pub sidecar_suffix: Option<OsString>,
    /// Files are looked into while they are hashed. Without directories, this and the next are what the journal knows.
    pub validate: Option<Validation>,
    /// Where files go that cannot be ingested; None: they stay.
    pub quarantine: Option<Quarantine>,
    /// Counts and logs.
    pub metrics: Arc<Metrics>,
    /// Called while the disk is full.
    pub on_full: OnFull,
}

/// The engine, recovered and ready.
pub struct Engine<F: Fs> {
    /// The committer.
    pub committer: Committer<F>,
    /// What hashing workers need.
    pub shared: Arc<Shared<F>>,
    /// What recovery did.
    pub recovered: Recovered,
    /// What reading the journal found.
    pub replayed: Replayed,
}

/// Reads the journal without locking or changing anything. An absent one is an empty state.
pub fn read_state<F: Fs>(fs: &F, state_path: &std::path::Path) -> Result<State, Error> {
    let mut state = State::default();
    journal::read(fs, state_path, &mut state)?;
    Ok(state)
}

/// Opens the engine and finishes what was half done. None if neither the caller nor the journal knows any
/// directories: then there is nothing to do.
pub fn open<F: Fs>(fs: &F, options: Options) -> Result<Option<Engine<F>>, Error> {
    let started = Instant::now();
    let staging = match &options.settings {
        Some(settings) => Some(lock_input(fs, settings)?),
        None => None,
    };
    let mut state = State::default();
    let (journal, replayed) = Journal::open(fs, &options.state_path, &mut state)?;
    let is_told = options.settings.is_some();
    let (validate, quarantine) = match options.settings {
        Some(_) => (options.validate, options.quarantine),
        // As the ingestor was told that left what there is to do.
        None => (state.rules().validation, state.rules().quarantine.clone().map(Quarantine::at_once)),
    };
    let Some(settings) = options.settings.or_else(|| state.settings().map(|known| (**known).clone())) else {
        journal.shut_down()?;
        return Ok(None);
    };
    let staging = staging.map_or_else(|| lock_input(fs, &settings), Ok)?;
    check_mounted(fs, &state, &journal.store())?;
    let top = std::path::Path::new("/");
    let warehouse = fs::open_dir_durable(fs, top, &settings.warehouse, 0o755)?;
    fs::open_dir_durable(fs, top, &settings.manifests, 0o755)?;
    if let Some(duplicates) = &settings.duplicates_dir {
        fs::open_dir_durable(fs, top, duplicates, 0o755)?;
    }
    // Who only finishes what was begun can do so without it: what was to go there stays.
    if let Some(quarantine) = quarantine.as_ref().filter(|_| is_told) {
        fs::open_dir_durable(fs, top, &quarantine.dir, 0o755)?;
    }
    let copies = copies_dir(&settings.warehouse, &journal.store());
    let copies = fs::open_dir_durable(fs, &settings.warehouse, &copies, 0o700)?;
    let is_first =
        state.settings().is_none_or(|known| known.input != settings.input || known.warehouse != settings.warehouse);
    let (mut copies_all, mut renumbering) = (false, Vec::new());
    for dir in [&copies, &staging].into_iter().filter(|dir| is_first || !fs.is_well_known(dir)) {
        let (counts_links, keeps_inodes) = try_out(fs, dir, &journal.store())?;
        copies_all |= !counts_links;
        if !keeps_inodes {
            renumbering.push(fs.stat_dir(dir)?.identity.device);
        }
    }
    let same_device = fs.stat_dir(&staging)?.identity.device == fs.stat_dir(&warehouse)?.identity.device;
    let shared = Arc::new(Shared {
        fs: fs.clone(),
        staging: Arc::new(staging),
        copies: Some(Arc::new(copies)),
        sidecar_suffix: options.sidecar_suffix,
        validate,
        copy_all: AtomicBool::new(copies_all || !same_device),
        leases_missing: AtomicBool::new(false),
        under_way: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    });
    let (metrics, settings) = (options.metrics.clone(), Arc::new(settings));
    let mut committer =
        Committer::new(shared.clone(), journal, state, settings, quarantine, metrics.clone(), options.on_full);
    renumbering.into_iter().for_each(|device| committer.note_renumbering(device));
    let recovered = committer.recover()?;
    committer.begin()?;
    let torn_bytes = if let Ending::Torn { bytes } = replayed.ending { bytes } else { 0 };
    metrics.recovery_finished(&recovered.counts, torn_bytes, started.elapsed());
    Ok(Some(Engine { committer, shared, recovered, replayed }))
}

/// Opens and locks the staging directory.
fn lock_input<F: Fs>(fs: &F, settings: &Settings) -> Result<F::Dir, Error> {
    let staging = fs.open_dir(&settings.input)?;
    if fs.try_lock_dir(&staging)? {
        return Ok(staging);
    }
    let pid = fs.lock_holder(&fs.stat_dir(&staging)?.identity);
    Err(Error::InputLocked { path: settings.input.clone(), pid })
}

/// Refuses a file system that lacks what is needed, before the first file is moved there. Otherwise says whether the
/// link count of a renamed file can be trusted (or else files are copied, for nobody else has a name of a copy), and whether it
/// keeps its inode number.
fn try_out<F: Fs>(fs: &F, dir: &F::Dir, store: &[u8; 16]) -> Result<(bool, bool), Error> {
    let path = fs.dir_path(dir);
    let verdict = probe(fs, dir, store)?;
    tracing::debug!(event = "file_system_probed", path = %path.display(), verdict = ?verdict);
    match verdict {
        Verdict::Unsuited(why) => Err(Error::Unsuited { path: path.to_path_buf(), why }),
        Verdict::Suited { counts_links, keeps_inodes } => Ok((counts_links, keeps_inodes)),
        Verdict::Unknown => Ok((true, true)),
    }
}

/// Refuses to judge half-done files while the directories that they are in are missing as a whole: they are rather
/// not mounted than removed, and a file that cannot be seen would be given up.
fn check_mounted<F: Fs>(fs: &F, state: &State, store: &[u8; 16]) -> Result<(), Error> {
    for ingest in state.open().filter(|ingest| ingest.state != FileState::Discovered) {
        // The copies' directory was durable before anything was HASHED; a bare mount point has none.
        let settings = &ingest.settings;
        for path in [&copies_dir(&settings.warehouse, store), &settings.manifests, &settings.input] {
            fs.open_dir(path).map_err(|source| Error::NotMounted { path: path.clone(), source })?;
        }
    }
    Ok(())
}
