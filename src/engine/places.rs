//! Checks before anything is written: whether the directories are those that the journal knows, and whether the journal
//! is the one with which the manifests were written.
//!
//! Invariant: everything here only reads, except [`mark`], which runs after all checks.

use std::path::Path;
use std::sync::Arc;

use crate::Error;
use crate::error::StagingOfAnother;
use crate::fs::{self, DIR_MODE, Fs};
use crate::journal::index::Index;
use crate::journal::lifecycle::FileState;
use crate::journal::record::Settings;
use crate::journal::replay::Replayed;
use crate::journal::{Journal, names};
use crate::pipeline::layout::Layout;
use crate::pipeline::manifest::hours;
use crate::pipeline::places::claim;
use crate::pipeline::places::older::{self, AgeVerdict, Knowledge};
use crate::pipeline::places::{self, Accepts, Places, may_be_there, private_dir};

const WAREHOUSE: &str = "--warehouse";
const MANIFESTS: &str = "--manifests";
const IF_IT_IS_LOST: &str = ", or give --new-warehouse if what it held is lost,";

/// The result of reading a journal.
pub struct Beginning<'a> {
    /// Its directory.
    pub state_path: &'a Path,
    /// The index of its records.
    pub index: &'a Index,
    /// Its UUID; None if there is none yet.
    pub store: Option<[u8; 16]>,
    /// The LSN of its next record.
    pub next_lsn: crate::types::Lsn,
    /// It was repaired.
    pub is_mended: bool,
}

impl<'a> Beginning<'a> {
    /// For a journal that is about to be written to.
    pub fn new(state_path: &'a Path, index: &'a Index, replayed: &Replayed) -> Beginning<'a> {
        let (store, next_lsn) = (replayed.store(), replayed.next_lsn());
        Beginning { state_path, index, store, next_lsn, is_mended: replayed.is_mended() }
    }
}

/// Checks that everything is as the journal knows it. Returns what is to be accepted from now on.
///
/// # Errors
/// A check failed; nothing was changed.
pub fn check<F: Fs>(fs: &F, begins: &Beginning<'_>, settings: &Settings, accepts: Accepts) -> Result<Accepts, Error> {
    super::lake::check_same(begins.index, settings)?;
    if settings.is_lake() {
        // The lake itself is the truth about what it holds, whatever a journal knows.
        return Ok(accepts);
    }
    if !accepts.warehouse {
        check_markers(fs, begins, settings)?;
    }
    if let Some(store) = &begins.store {
        check_mounted(fs, begins.index, store, accepts)?;
    }
    if accepts.journal {
        return Ok(accepts);
    }
    let &Beginning { index, store, next_lsn, is_mended, .. } = begins;
    match older::judge(fs, &Knowledge { settings, index, store, next_lsn, is_mended })? {
        AgeVerdict::Known => {
            check_owner(fs, begins, settings)?;
            Ok(accepts)
        }
        AgeVerdict::Mended => Ok(Accepts { journal: true, ..accepts }),
        AgeVerdict::Older(unknown) => Err(Error::JournalOlder {
            unknown,
            state: begins.state_path.to_path_buf(),
            is_there: begins.store.is_some(),
            warehouse: settings.warehouse.clone(),
            manifests: settings.manifests.clone(),
        }),
    }
}

/// Refuses a journal that was not the last one to work with the staging directory. A rebuilt journal takes that
/// journal's place; and while nothing is listed, nothing can be listed twice.
fn check_owner<F: Fs>(fs: &F, begins: &Beginning<'_>, settings: &Settings) -> Result<(), Error> {
    let is_rebuilt = begins.index.settings().is_none() && begins.index.count(FileState::Manifested) > 0;
    if is_rebuilt || hours::newest(fs, &settings.manifests, None, 1).is_empty() {
        return Ok(());
    }
    let owner = claim::owner(fs, &settings.manifests, begins.store.as_ref(), &settings.input);
    owner.map_or(Ok(()), |marker| {
        Err(Error::StagingOfAnother(Box::new(StagingOfAnother {
            input: settings.input.clone(),
            marker,
            state: begins.state_path.to_path_buf(),
            is_there: begins.store.is_some(),
            warehouse: settings.warehouse.clone(),
            manifests: settings.manifests.clone(),
        })))
    })
}

/// A bare mount point has no marker. A path that the journal's settings do not name is a new place.
fn check_markers<F: Fs>(fs: &F, begins: &Beginning<'_>, settings: &Settings) -> Result<(), Error> {
    let Some(store) = &begins.store else { return Ok(()) };
    let missing = |option, path: &Path, marker| Err(Error::MarkerMissing { option, path: path.to_path_buf(), marker });
    // A rebuilt journal knows no directories yet.
    let Some(known) = begins.index.settings() else { return Ok(()) };
    // By whatever path it is given now, and also if another one was used in between.
    let was_used = is_one_place(fs, &known.warehouse, &settings.warehouse)
        || !begins.index.listed_below(&settings.warehouse)?.is_empty();
    if was_used && !may_be_there(fs, &private_dir(&settings.warehouse, store)) {
        return missing(WAREHOUSE, &settings.warehouse, private_dir(&settings.warehouse, store));
    }
    let marker = private_dir(&settings.manifests, store);
    let is_marked = places::are_manifests_marked(fs, &known.warehouse, store);
    if is_one_place(fs, &known.manifests, &settings.manifests) && is_marked && !may_be_there(fs, &marker) {
        return missing(MANIFESTS, &settings.manifests, marker);
    }
    Ok(())
}

/// True if both paths are equal or lead to the same directory.
fn is_one_place<F: Fs>(fs: &F, one: &Path, other: &Path) -> bool {
    let key = |path: &Path| fs.open_dir(path).and_then(|dir| fs.stat_dir(&dir)).ok().map(|stat| stat.identity.key());
    one == other || key(one).is_some_and(|one| key(other) == Some(one))
}

/// The layout for these directories: no file goes where manifests are.
pub fn arrange<F: Fs>(fs: &F, layout: Layout, settings: &Settings) -> Layout {
    if settings.is_lake() {
        return layout;
    }
    let (warehouse, manifests) = (&settings.warehouse, &settings.manifests);
    layout.within(warehouse, manifests, is_one_place(fs, warehouse, manifests))
}

/// Refuses to continue half-done files while a whole directory with them is missing: it is more likely unmounted than
/// removed, and recovery would abandon each file that it cannot see. Directories that the operator declared lost need
/// not exist.
fn check_mounted<F: Fs>(fs: &F, index: &Index, store: &[u8; 16], accepts: Accepts) -> Result<(), Error> {
    for ingest in index.open().filter(|ingest| ingest.state != FileState::Discovered) {
        // The copies' directory was durable before any file was HASHED; a bare mount point has none.
        let settings = &ingest.settings;
        let copies = private_dir(&settings.warehouse, store);
        let published = [&copies, &settings.manifests].map(|path| (path, IF_IT_IS_LOST));
        let input = (&settings.input, " (or make it)");
        for (path, hint) in published.into_iter().filter(|_| !accepts.warehouse).chain([input]) {
            fs.open_dir(path).map_err(|source| Error::NotMounted { path: path.clone(), hint, source })?;
        }
    }
    Ok(())
}

/// Warehouse and manifests, with their markers.
pub struct Marked<F: Fs> {
    /// The warehouse, and the marker in it, where copies are made; None for a lake.
    pub dirs: Option<(F::Dir, F::Dir)>,
    /// The directories to watch from now on.
    pub places: Arc<Places<F>>,
}

/// Creates, durably, whatever is missing of warehouse, manifests and their markers; and records what was accepted.
///
/// # Errors
/// A file operation failed.
pub fn mark<F: Fs>(
    fs: &F,
    state_path: &Path,
    journal: &Journal<F>,
    settings: &Settings,
    accepts: Accepts,
) -> Result<Marked<F>, Error> {
    let (top, store) = (Path::new("/"), journal.store());
    let mut places = Places::new(fs.clone());
    let (_, lock) = journal.keys()?;
    places.watch_state(state_path, fs.open_dir(state_path)?, (names::LOCK, lock));
    if settings.is_lake() {
        return Ok(Marked { dirs: None, places: Arc::new(places) });
    }
    let warehouse = fs::open_dir_durable(fs, top, &settings.warehouse, DIR_MODE)?;
    fs::open_dir_durable(fs, top, &settings.manifests, DIR_MODE)?;
    let copies = places::make_private_dir(fs, &settings.warehouse, &store)?;
    let of_manifests = places::mark_manifests(fs, &settings.warehouse, &settings.manifests, &store)?;
    if accepts.journal {
        older::accept(fs, &settings.manifests, &store)?;
    }
    if let Err(error) = claim::take(fs, &settings.manifests, &store, &settings.input) {
        // The claim only guards against an operator's mistake: a full disk must not keep the ingestor from starting.
        let path = settings.input.display();
        tracing::warn!(event = "staging_not_claimed", %path, %error, "another journal would not be refused");
    }
    let marker = private_dir(&settings.warehouse, &store);
    places.watch_marker(WAREHOUSE, &settings.warehouse, marker.clone(), fs.open_dir(&marker)?);
    places.watch_marker(MANIFESTS, &settings.manifests, private_dir(&settings.manifests, &store), of_manifests);
    Ok(Marked { dirs: Some((warehouse, copies)), places: Arc::new(places) })
}
