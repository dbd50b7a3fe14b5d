//! Relocation: a warehouse, manifests or a staging directory that was moved to another path.
//!
//! Invariants:
//! - Nothing is moved here: the journal records what has been moved.
//! - Nothing is recorded that `run` would refuse because one directory is inside another.
//! - Nothing is recorded while a file is half done: its destination depends on the old paths.
//! - Unless the operator asks for it, a directory counts as moved only if it is missing at its old path, and files that
//!   the journal knows are found at the new one.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::config::Paths;
use crate::fs::{self, FileKind, Fs};
use crate::journal::index::Index;
use crate::journal::ingest::Original;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{Record, Relocated, Settings};
use crate::journal::{self, Journal, Opening};
use crate::metrics::events;
use crate::pipeline::manifest::read;
use crate::pipeline::places;
use crate::types::Lsn;

/// The new paths of the directories; None for those that were not moved.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// The warehouse.
    pub warehouse: Option<PathBuf>,
    /// The manifests.
    pub manifests: Option<PathBuf>,
    /// The staging directory.
    pub input: Option<PathBuf>,
}

/// Records in the journal that directories were moved. Returns the old and new paths of those that were.
///
/// # Errors
/// A new path is not a directory or `run` would refuse it, a file is half done, or the journal cannot be opened: then
/// nothing has changed.
pub fn run<F: Fs>(fs: &F, state_path: &Path, roots: &Roots) -> Result<Vec<Relocated>, Error> {
    let given = [("--warehouse", &roots.warehouse), ("--manifests", &roots.manifests), ("--input", &roots.input)];
    for (option, path) in given.iter().filter_map(|(option, path)| Some((option, path.as_ref()?))) {
        let unusable = |error: fs::Error| Error::Usage(format!("{option} {}: {}", path.display(), error.source));
        fs.open_dir(path).map_err(unusable)?;
    }
    let mut index = Index::default();
    let opening = Opening::begin(fs, state_path, &mut index)?;
    let moves = match plan(fs, state_path, opening.replayed.store(), &index, roots) {
        Ok(moves) => moves,
        Err(error) => {
            opening.abandon();
            return Err(error);
        }
    };
    let (mut journal, _) = opening.start()?;
    let written = write(fs, &mut journal, &mut index, roots, &moves);
    journal.shut_down()?;
    written.map(|()| moves)
}

/// The moves to record, if all of them are possible. Only reads.
fn plan<F: Fs>(
    fs: &F,
    state_path: &Path,
    store: Option<[u8; 16]>,
    index: &Index,
    roots: &Roots,
) -> Result<Vec<Relocated>, Error> {
    let (Some(known), Some(store)) = (index.settings(), store) else {
        return Err(Error::Usage("the journal names no directories yet: there is nothing to relocate".to_owned()));
    };
    check_places(state_path, known, roots)?;
    if let Some(open) = index.open().find(|ingest| ingest.state != FileState::Discovered) {
        let (id, path) = (open.id, state_path.display());
        return Err(Error::Usage(format!(
            "ingest id {id} is half done: move the directories back to where they were, run: csv-ingestor replay \
             --state-path {path}, then move and relocate them"
        )));
    }
    let of = |old: &Path, new: &Option<PathBuf>| {
        let new = new.as_ref().filter(|new| **new != *old)?;
        Some(Relocated { old: old.to_path_buf(), new: new.clone() })
    };
    let moves = [
        of(&known.warehouse, &roots.warehouse),
        of(&known.manifests, &roots.manifests),
        of(&known.input, &roots.input),
    ];
    let moves: Vec<Relocated> = moves.into_iter().flatten().collect();
    if moves.len() > index.relocations().room() {
        return Err(Error::Usage(
            "directories were relocated too often: csv-ingestor journal rebuild makes a journal of the new paths"
                .to_owned(),
        ));
    }
    if are_entangled(known, &moves) {
        return Err(Error::Usage(
            "one directory moves to where another was, or lies in one that moves: relocate them one after the other"
                .to_owned(),
        ));
    }
    check_evidence(fs, &store, index, known, roots)?;
    Ok(moves)
}

fn write<F: Fs>(
    fs: &F,
    journal: &mut Journal<F>,
    index: &mut Index,
    roots: &Roots,
    moves: &[Relocated],
) -> Result<(), Error> {
    let (mut records, jumped) = journal.opening(index.clock(), index.expired());
    jumped.iter().for_each(events::clock_jumped);
    records.extend(moves.iter().cloned().map(Record::Relocated));
    // These private directories mark the places as this journal's; a copy without hidden names does not contain them.
    if let Some(warehouse) = &roots.warehouse {
        places::make_private_dir(fs, warehouse, &journal.store())?;
    }
    let known = index.settings().map(|known| &known.warehouse);
    if let (Some(warehouse), Some(manifests)) = (roots.warehouse.as_ref().or(known), &roots.manifests) {
        places::mark_manifests(fs, warehouse, manifests, &journal.store())?;
    }
    Ok(journal.append_all(index, &records)?)
}

/// Refuses directories that `run` would refuse: the journal would keep a mistake for ever.
fn check_places(state_path: &Path, known: &Settings, roots: &Roots) -> Result<(), Error> {
    let of = |new: &Option<PathBuf>, old: &PathBuf| new.as_ref().unwrap_or(old).clone();
    let before = Paths {
        input: known.input.clone(),
        warehouse: known.warehouse.clone(),
        manifests: known.manifests.clone(),
        state: state_path.to_path_buf(),
        duplicates: None,
        quarantine: None,
        metrics_textfile: None,
    };
    let after = Paths {
        input: of(&roots.input, &known.input),
        warehouse: of(&roots.warehouse, &known.warehouse),
        manifests: of(&roots.manifests, &known.manifests),
        ..before.clone()
    };
    after.check_apart()?;
    // `run` accepts one directory for both. But if two become one, it is a mistake.
    if after.are_warehouse_and_manifests_one()? && !before.are_warehouse_and_manifests_one()? {
        let path = after.warehouse.display();
        return Err(Error::Usage(format!(
            "--warehouse and --manifests would be one directory, {path}: give each its own"
        )));
    }
    Ok(())
}

/// True if the moves would have another meaning one after the other than all at once.
fn are_entangled(known: &Settings, moves: &[Relocated]) -> bool {
    let roots = [&known.warehouse, &known.manifests, &known.input];
    let meets = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
    moves.iter().any(|it| {
        let others = moves.iter().filter(|other| other.old != it.old);
        let carries = roots.iter().any(|root| **root != it.old && root.starts_with(&it.old));
        carries || others.into_iter().any(|other| meets(&it.new, &other.old))
    })
}

/// An empty mount point is not a moved warehouse: something that the journal knows has to be there.
fn check_evidence<F: Fs>(
    fs: &F,
    store: &[u8; 16],
    index: &Index,
    known: &Settings,
    roots: &Roots,
) -> Result<(), Error> {
    let is_marked = |root: &Path| fs.open_dir(&places::private_dir(root, store)).is_ok();
    let refuse = |option: &str, path: &Path| {
        Err(Error::Usage(format!(
            "{option} {}: it contains nothing that this journal knows: mount it, or give the directory that was moved",
            path.display()
        )))
    };
    if let Some(new) = roots.warehouse.as_ref().filter(|new| **new != known.warehouse)
        && !is_marked(new)
        && holds_what_is_known(fs, index, &known.warehouse, new)? == Some(false)
    {
        return refuse("--warehouse", new);
    }
    if let Some(new) = roots.manifests.as_ref().filter(|new| **new != known.manifests)
        && !is_marked(new)
        && index.any_listed()?.is_some()
        && !lists_what_is_known(fs, index, new)?
    {
        return refuse("--manifests", new);
    }
    Ok(())
}

/// Whether files that the journal knows below `old` are below `new`; None if it knows none.
fn holds_what_is_known<F: Fs>(fs: &F, index: &Index, old: &Path, new: &Path) -> Result<Option<bool>, journal::Error> {
    let known = index.listed_below(old)?;
    let is_there = |original: &Original| {
        let path = new.join(original.warehouse_path.strip_prefix(old).ok()?);
        let stat = fs.stat(&fs.open_dir(path.parent()?).ok()?, path.file_name()?).ok()??;
        let is_it = original.published.is_none_or(|published| published.size == stat.identity.size);
        Some(stat.kind == FileKind::Regular && is_it)
    };
    Ok((!known.is_empty()).then(|| known.iter().any(|original| is_there(original) == Some(true))))
}

/// At a start: detects that given directories are those that the journal knows by other paths, and records that in the
/// journal.
///
/// # Errors
/// The journal cannot be written or read.
pub fn notice<F: Fs>(fs: &F, journal: &mut Journal<F>, index: &mut Index, now: &Settings) -> Result<(), Error> {
    let moves = moves(fs, &journal.store(), index, now)?;
    moves.iter().for_each(|roots| events::relocated(&roots.old, &roots.new));
    let records: Vec<Record> = moves.into_iter().map(Record::Relocated).collect();
    Ok(journal.append_all(index, &records)?)
}

/// The same for a dry run: only the index is changed.
///
/// # Errors
/// The journal cannot be read.
pub fn foresee<F: Fs>(fs: &F, store: &[u8; 16], index: &mut Index, now: &Settings) -> Result<(), Error> {
    for roots in moves(fs, store, index, now)? {
        // An LSN after everything that was read; there is room for it, and no file is half done.
        let _ = index.apply(Lsn(u64::MAX), &Record::Relocated(roots));
    }
    Ok(())
}

/// The directories that were moved, as far as it can be determined. Empty while a file is half done.
fn moves<F: Fs>(fs: &F, store: &[u8; 16], index: &Index, now: &Settings) -> Result<Vec<Relocated>, journal::Error> {
    let Some(known) = index.settings() else { return Ok(Vec::new()) };
    let is_gone = |old: &Path, new: &Path| old != new && fs.open_dir(old).is_err_and(|error| error.is_not_found());
    // Each warehouse that was ever used has a marker, so a marker is not enough: files that were at the old path have
    // to be there.
    let warehouse = is_gone(&known.warehouse, &now.warehouse)
        && fs.open_dir(&places::private_dir(&now.warehouse, store)).is_ok()
        && holds_what_is_known(fs, index, &known.warehouse, &now.warehouse)? == Some(true);
    let manifests = is_gone(&known.manifests, &now.manifests) && lists_what_is_known(fs, index, &now.manifests)?;
    let input = is_gone(&known.input, &now.input) && (warehouse || manifests);
    let moves = [
        (warehouse, &known.warehouse, &now.warehouse),
        (manifests, &known.manifests, &now.manifests),
        (input, &known.input, &now.input),
    ];
    let moves: Vec<Relocated> = moves
        .into_iter()
        .filter(|(is_moved, ..)| *is_moved)
        .map(|(_, old, new)| Relocated { old: old.clone(), new: new.clone() })
        .collect();
    let may_record =
        moves.len() <= index.relocations().room() && !index.is_half_done() && !are_entangled(known, &moves);
    Ok(if may_record { moves } else { Vec::new() })
}

/// True if the manifests there list a content that the journal knows.
fn lists_what_is_known<F: Fs>(fs: &F, index: &Index, manifests: &Path) -> Result<bool, journal::Error> {
    let Some((key, original)) = index.any_listed()? else { return Ok(false) };
    let found = read::find(fs, manifests, original.discovered_at, original.ingest_id);
    Ok(found.is_ok_and(|found| found.iter().any(|line| line.listed.key() == key)))
}
