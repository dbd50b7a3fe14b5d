//! Opens the ingestor's engine: locks, journal, recovery. The daemon, `replay` and the simulation all begin here.
//!
//! Invariants: both locks are held before anything is modified; files that recovery has to resume are returned, not
//! begun.

mod file_systems;
mod identity;
pub mod lake;
pub mod places;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

use crate::Error;
use crate::fs::{self, DIR_MODE, Fs};
use crate::journal::index::Index;
use crate::journal::record::{Identity, Settings, Validation};
use crate::journal::replay::{Ending, Replayed};
use crate::journal::{self, Journal, Opening};
use crate::metrics::Metrics;
use crate::pipeline::commit::Committer;
use crate::pipeline::hash::Shared;
use crate::pipeline::layout::Layout;
use crate::pipeline::patience::OnFull;
use crate::pipeline::places::{Accepts, Places};
use crate::pipeline::quarantine::Quarantine;
use crate::pipeline::recover::Recovered;
use crate::pipeline::scan::NameRules;
use crate::relocate;
use crate::types::Lsn;
use places::{Beginning, Marked};

/// The parameters of [`open`].
pub struct Options {
    /// The journal's directory.
    pub state_path: PathBuf,
    /// The directories; None: those that the journal knows.
    pub settings: Option<Settings>,
    /// Which names are ingested, and in sidecar mode the names of sidecars.
    pub names: NameRules,
    /// How files are validated while they are hashed. If `settings` is None, the journal's values replace this and the
    /// next three.
    pub validate: Option<Validation>,
    /// Only files with a matching checksum in their sidecar are ingested.
    pub require_checksum: bool,
    /// In which directory of the warehouse a file is published.
    pub layout: Layout,
    /// By what two files are one and the same, and what happens to empty ones. Replaced as the three above.
    pub identity: Identity,
    /// Where files go that cannot be ingested; None: they stay in staging.
    pub quarantine: Option<Quarantine>,
    /// The risks that the operator accepts.
    pub accepts: Accepts,
    /// Counts and logs.
    pub metrics: Arc<Metrics>,
    /// How a lake is reached, if the warehouse is one.
    pub reach: Option<lake::Reach>,
    /// Called while the disk is full.
    pub on_full: OnFull,
    /// Set by the first signal: from then on the engine waits for nothing.
    pub stop: Arc<AtomicBool>,
}

/// The engine, recovered and ready.
pub struct Engine<F: Fs> {
    /// The journal's UUID.
    pub journal: [u8; 16],
    /// The committer.
    pub committer: Committer<F>,
    /// What hashing workers need.
    pub shared: Arc<Shared<F>>,
    /// The files that recovery finished, resumed or abandoned.
    pub recovered: Recovered,
    /// What the replay of the journal found.
    pub replayed: Replayed,
    /// The directories that must not be replaced.
    pub places: Arc<Places<F>>,
}

/// Reads the journal without locking or changing anything, and makes the checks of a start. Returns its UUID, too, if there
/// is a journal.
///
/// # Errors
/// A start would be refused.
pub fn foresee<F: Fs>(
    fs: &F,
    state_path: &Path,
    settings: &Settings,
    identity: Identity,
    accepts: Accepts,
) -> Result<(Index, Option<[u8; 16]>), Error> {
    let mut index = Index::default();
    let replayed = journal::read(fs, state_path, &mut index)?;
    let begins = match &replayed {
        Some(replayed) => Beginning::new(state_path, &index, replayed),
        None => Beginning { state_path, index: &index, store: None, next_lsn: Lsn(1), is_mended: false },
    };
    places::check(fs, &begins, settings, accepts)?;
    identity::check(&index, identity, accepts)?;
    let store = replayed.and_then(|replayed| replayed.store());
    if let Some(store) = store.filter(|_| !settings.is_lake()) {
        relocate::foresee(fs, &store, &mut index, settings)?;
    }
    Ok((index, store))
}

/// Reads the journal without locking or changing anything. If there is none, the index is empty.
pub fn read_state<F: Fs>(fs: &F, state_path: &Path) -> Result<Index, Error> {
    let mut index = Index::default();
    journal::read(fs, state_path, &mut index)?;
    Ok(index)
}

/// Opens the engine and finishes what was half done. None if neither the caller nor the journal names directories: then
/// there is nothing to do.
pub fn open<F: Fs>(fs: &F, mut options: Options) -> Result<Option<Engine<F>>, Error> {
    let started = Instant::now();
    let Some(begun) = begin(fs, &mut options)? else { return Ok(None) };
    let Begun { mut journal, replayed, mut index, staging, settings, accepts, has_settings } = begun;
    // Before anything is created at the new paths: their present content shows that they are the same directories.
    if has_settings && !settings.is_lake() {
        relocate::notice(fs, &mut journal, &mut index, &settings)?;
    }
    let Marked { dirs, places } = places::mark(fs, &options.state_path, &journal, &settings, accepts)?;
    // A caller that only finishes what was begun does not need these directories: files that should go there stay.
    let quarantine_dir = options.quarantine.as_ref().map(|quarantine| &quarantine.dir);
    for dir in settings.duplicates_dir.iter().chain(quarantine_dir).filter(|_| has_settings) {
        fs::open_dir_durable(fs, Path::new("/"), dir, DIR_MODE)?;
    }
    let to_probe: Vec<&F::Dir> = dirs.iter().map(|(_, copies)| copies).chain([&staging]).collect();
    let handling = file_systems::probe_each(fs, &index, &settings, &journal.store(), &to_probe)?;
    let device = |dir: &F::Dir| fs.stat_dir(dir).map(|stat| stat.identity.device);
    let same_device = match &dirs {
        Some((warehouse, _)) => device(&staging)? == device(warehouse)?,
        None => true,
    };
    let copies = dirs.map(|(_, copies)| Arc::new(copies));
    let shared = Arc::new(Shared {
        fs: fs.clone(),
        staging: Arc::new(staging),
        // What a lake gets is copied by that.
        copy_all: AtomicBool::new(copies.is_some() && (handling.copies_all || !same_device)),
        copies,
        is_dry_run: false,
        names: options.names,
        validate: options.validate,
        require_checksum: options.require_checksum,
        layout: places::arrange(fs, options.layout, &settings),
        identity: options.identity,
        notes: Arc::default(),
        leases_missing: AtomicBool::new(false),
        under_way: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        signalled: options.stop,
    });
    let (metrics, settings) = (options.metrics, Arc::new(settings));
    let lake =
        lake::connect(options.reach, &settings, (&journal, &index, fs.now()), metrics.clone(), shared.names.groups)?;
    let store = journal.store();
    let journal = (journal, index);
    let mut committer =
        Committer::new(shared.clone(), journal, settings, options.quarantine, metrics.clone(), options.on_full);
    committer.watch(places.clone());
    if let Some(lake) = lake {
        committer.use_lake(lake);
    }
    committer.note_opening()?;
    handling.renumbering.into_iter().for_each(|device| committer.note_renumbering(device));
    let recovered = committer.recover()?;
    committer.begin()?;
    let torn_bytes = if let Ending::Torn { bytes } = replayed.ending { bytes } else { 0 };
    metrics.recovery_finished(&recovered.counts, torn_bytes, started.elapsed());
    Ok(Some(Engine { journal: store, committer, shared, recovered, replayed, places }))
}

/// A journal that was locked and replayed, and the directories to work with, which were checked.
struct Begun<F: Fs> {
    journal: Journal<F>,
    replayed: Replayed,
    index: Index,
    staging: F::Dir,
    settings: Settings,
    accepts: Accepts,
    /// The caller named the directories.
    has_settings: bool,
}

/// Locks and reads; if a check fails, nothing is changed. The journal's values replace rules that the caller does not
/// give.
fn begin<F: Fs>(fs: &F, options: &mut Options) -> Result<Option<Begun<F>>, Error> {
    let staging = options.settings.as_ref().map(|settings| lock_input(fs, settings)).transpose()?;
    let mut index = Index::default();
    let opening = Opening::begin(fs, &options.state_path, &mut index)?;
    let has_settings = options.settings.is_some();
    if !has_settings {
        // Use the rules of the ingestor that left the files half done.
        let rules = index.rules();
        (options.validate, options.require_checksum) = (rules.validation, rules.require_checksum);
        options.quarantine = rules.quarantine.clone().map(Quarantine::at_once);
        options.layout = Layout::new(index.layout().clone())?;
        options.identity = index.identity().unwrap_or_default();
    }
    let known = || index.settings().map(|known| (**known).clone());
    let Some(settings) = options.settings.take().or_else(known) else {
        opening.start()?.0.shut_down()?;
        return Ok(None);
    };
    let begins = Beginning::new(&options.state_path, &index, &opening.replayed);
    let checked = staging
        .map_or_else(|| lock_input(fs, &settings), Ok)
        .and_then(|staging| Ok((staging, places::check(fs, &begins, &settings, options.accepts)?)))
        .and_then(|checked| identity::check(&index, options.identity, options.accepts).map(|()| checked));
    let (staging, accepts) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            opening.abandon();
            return Err(error);
        }
    };
    let (journal, replayed) = opening.start()?;
    Ok(Some(Begun { journal, replayed, index, staging, settings, accepts, has_settings }))
}

/// Opens and locks the staging directory.
fn lock_input<F: Fs>(fs: &F, settings: &Settings) -> Result<F::Dir, Error> {
    let staging = fs.open_dir(&settings.input)?;
    if fs.try_lock_dir(&staging)? {
        return Ok(staging);
    }
    Err(Error::InputLocked { path: settings.input.clone(), pid: fs.dir_lock_holder(&staging) })
}
