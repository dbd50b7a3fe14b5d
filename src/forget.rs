//! Finds the contents that the operator wants the journal to forget.
//!
//! Invariant: each argument identifies exactly one content that is remembered, and of which nothing is half done;
//! otherwise none is chosen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::fs::Fs;
use crate::journal;
use crate::journal::index::Index;
use crate::journal::ingest::{Ingest, Original};
use crate::journal::report::{FileReport, JournalReport};
use crate::log;
use crate::types::{Key, Lsn, Sha256};

/// What the operator asked for.
pub enum Wanted {
    /// This content.
    Content(Sha256),
    /// The content of a file at this path, in staging or in the warehouse.
    Path(PathBuf),
}

impl Wanted {
    /// Interprets an argument: 64 hex digits are a content's SHA-256, anything else is a path.
    ///
    /// # Errors
    /// A relative path, and there is no current directory.
    pub fn of(text: &Path) -> Result<Wanted, Error> {
        match Sha256::from_hex(text.as_os_str().as_encoded_bytes()) {
            Some(sha256) => Ok(Wanted::Content(sha256)),
            None => Ok(Wanted::Path(std::path::absolute(text)?)),
        }
    }

    fn text(&self) -> String {
        match self {
            Wanted::Content(sha256) => sha256.to_string(),
            Wanted::Path(path) => log::path_text(path),
        }
    }

    fn is_meant(&self, entry: &FileReport, index: &Index) -> bool {
        match self {
            Wanted::Content(sha256) => entry.sha256() == Some(*sha256),
            Wanted::Path(path) => {
                // Lines of a manifest contain the paths of their time.
                let now = index.relocations().now(Lsn(0), path);
                let is_there =
                    |path: &PathBuf| entry.source_path == *path || entry.warehouse_path.as_ref() == Some(path);
                is_there(path) || is_there(&now)
            }
        }
    }
}

/// The contents to forget, each with the file that brought it.
///
/// # Errors
/// Usage, if an argument identifies no content, several, or one that is half done; or the journal is damaged.
pub fn choose<F: Fs>(
    fs: &F,
    state_path: &Path,
    index: &Index,
    wanted: &[Wanted],
) -> Result<BTreeMap<Key, FileReport>, Error> {
    let mut report = JournalReport::default();
    journal::read(fs, state_path, &mut report)?;
    let mut matching: Vec<Vec<(Key, Sha256)>> = vec![Vec::new(); wanted.len()];
    let damage = report.files(&mut |entry, _| {
        for (wanted, matching) in wanted.iter().zip(&mut matching) {
            let found = entry.content.map(|(sha256, key)| (key, sha256));
            let is_new = |found: &(Key, Sha256)| wanted.is_meant(&entry, index) && !matching.contains(found);
            let found = found.filter(is_new);
            matching.extend(found);
        }
    })?;
    if let Some(damage) = damage {
        return Err(damage.into());
    }
    let mut chosen = BTreeMap::new();
    for (wanted, matching) in wanted.iter().zip(matching) {
        let (key, original) = only_one(index, &wanted.text(), matching)?;
        check_done(state_path, index, &wanted.text(), &key, &original)?;
        chosen.insert(key, (original.ingest_id, None));
    }
    report.files(&mut |entry, _| {
        if let Some((id, found)) = entry.key().and_then(|key| chosen.get_mut(&key))
            && entry.id == *id
        {
            *found = Some(entry);
        }
    })?;
    Ok(chosen.into_iter().filter_map(|(key, (_, entry))| Some((key, entry?))).collect())
}

/// The only one of these keys that is remembered.
fn only_one(index: &Index, what: &str, matching: Vec<(Key, Sha256)>) -> Result<(Key, Original), Error> {
    let mut known = Vec::new();
    for (key, sha256) in matching {
        known.extend(index.original(&key)?.map(|original| (key, sha256, original)));
    }
    match known.len() {
        0 => Err(Error::Usage(format!("{what}: no content is remembered for it"))),
        1 => {
            let (key, _, original) = known.remove(0);
            Ok((key, original))
        }
        // A content is remembered once for each name: only the place in the warehouse is certain to be one file's.
        _ if known.iter().any(|(key, sha256, _)| key.0 != sha256.0) => {
            let all: Vec<String> =
                known.iter().map(|(.., original)| log::path_text(&original.warehouse_path)).collect();
            let all = all.join(" ");
            Err(Error::Usage(format!(
                "{what}: several files are remembered for it (--identity name+content), give one: {all}"
            )))
        }
        _ => {
            let all: Vec<String> = known.iter().map(|(_, sha256, _)| sha256.to_string()).collect();
            Err(Error::Usage(format!(
                "{what}: several contents were at this path, give one of them: {}",
                all.join(" ")
            )))
        }
    }
}

/// Refuses a content of which a file is half done.
fn check_done(state_path: &Path, index: &Index, what: &str, key: &Key, original: &Original) -> Result<(), Error> {
    let uses = |ingest: &&Ingest| ingest.id == original.ingest_id || ingest.refers_to() == Some(*key);
    let Some(open) = index.open().find(uses) else { return Ok(()) };
    let (id, path) = (open.id, state_path.display());
    Err(Error::Usage(format!(
        "{what}: ingest id {id} is half done; first run: csv-ingestor replay --state-path {path}"
    )))
}
