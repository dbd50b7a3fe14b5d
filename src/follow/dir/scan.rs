//! Finds lines that the index does not have: looks at manifests, and reads what is new in them.
//!
//! Invariants:
//! - Each byte of a manifest is read once, unless the manifest is replaced.
//! - Lines whose numbers were passed on already are not remembered.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::Manifest;
use crate::follow::cursor::{Cursor, Stream};
use crate::follow::error::Error;
use crate::fs::Fs;
use crate::pipeline::manifest::hours::manifests;
use crate::pipeline::manifest::number_of;

/// Lines with consecutive numbers, perhaps with those of other journals between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) manifest: Arc<Path>,
    pub(super) offset: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The index names it. Without that, more lines that belong to the last ones may be on their way.
    pub(super) is_durable: bool,
    /// What is before the first line in the manifest is none: a power cut may have taken lines there.
    pub(super) is_behind_damage: bool,
}

/// What was read of the manifests so far.
pub(super) struct Scan<F: Fs> {
    fs: F,
    root: PathBuf,
    /// How far each manifest was read.
    read: HashMap<Arc<Path>, u64>,
    /// What was found, by stream and number.
    found: HashMap<Stream, BTreeMap<u64, Run>>,
}

impl<F: Fs> Scan<F> {
    pub(super) fn new(fs: &F, root: &Path) -> Scan<F> {
        Scan { fs: fs.clone(), root: root.to_path_buf(), read: HashMap::new(), found: HashMap::new() }
    }

    /// Reads what is new in all manifests.
    ///
    /// # Errors
    /// The directory of the manifests cannot be listed. A manifest that cannot be read is tried again the next time.
    pub(super) fn look(&mut self, passed: &Cursor) -> Result<(), Error> {
        for path in manifests(&self.fs, &self.root, None)?.manifests {
            let path: Arc<Path> = path.into();
            if let Ok(manifest) = Manifest::open(&self.fs, &path) {
                // One that cannot be read is one whose lines are not there: others are.
                let _ = self.read(&path, manifest, passed);
            }
        }
        Ok(())
    }

    fn read(&mut self, path: &Arc<Path>, mut manifest: Manifest<F>, passed: &Cursor) -> Result<(), Error> {
        let before = self.read.get(path).copied().unwrap_or(0);
        let size = manifest.size()?;
        if size == before {
            return Ok(());
        }
        // A shorter one is another one.
        manifest.seek(if size < before { 0 } else { before });
        let mut is_behind_damage = false;
        loop {
            let offset = manifest.offset();
            let Some(line) = manifest.next_line()? else { break };
            let Some((journal, number)) = number_of(line) else {
                is_behind_damage = !is_json(line);
                continue;
            };
            let stream = Stream::of_journal(journal);
            if number > passed.passed(&stream) {
                self.add(stream, number, path, (offset, is_behind_damage));
            }
            is_behind_damage = false;
        }
        self.read.insert(path.clone(), manifest.offset());
        Ok(())
    }

    fn add(&mut self, stream: Stream, number: u64, manifest: &Arc<Path>, (offset, is_behind_damage): (u64, bool)) {
        let runs = self.found.entry(stream).or_default();
        let before = runs.range_mut(..number).next_back().map(|(_, run)| run);
        match before.filter(|run| run.last + 1 == number && run.manifest == *manifest && run.offset < offset) {
            Some(run) => run.last = number,
            None => {
                let (manifest, first, last, is_durable) = (manifest.clone(), number, number, false);
                runs.insert(number, Run { manifest, offset, first, last, is_durable, is_behind_damage });
            }
        }
    }

    /// The streams of which something was found.
    pub(super) fn streams(&self) -> impl Iterator<Item = Stream> {
        self.found.iter().filter(|(_, runs)| !runs.is_empty()).map(|(stream, _)| *stream)
    }

    /// The first lines of the stream behind `passed`, taken out.
    pub(super) fn take(&mut self, stream: &Stream, passed: u64) -> Option<Run> {
        let runs = self.found.get_mut(stream)?;
        while let Some((_, run)) = runs.pop_first() {
            if run.last > passed {
                return Some(run);
            }
        }
        None
    }

    /// The number of the last line of the stream that is there behind `passed`. Not behind lines that a power cut has taken: the
    /// next start writes them again. Lines that are missing where nothing is damaged were removed.
    pub(super) fn last(&self, stream: &Stream, passed: u64) -> u64 {
        let mut last = passed;
        for run in self.found.get(stream).into_iter().flatten().map(|(_, run)| run) {
            if run.is_behind_damage && run.first > last + 1 {
                break;
            }
            last = run.last.max(last);
        }
        last
    }

    /// Puts lines back that were taken too early.
    pub(super) fn put_back(&mut self, stream: Stream, run: Run) {
        self.found.entry(stream).or_default().insert(run.first, run);
    }

    /// Forgets all that was read: what is there by now may be elsewhere.
    pub(super) fn forget(&mut self) {
        self.read.clear();
        self.found.clear();
    }
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}
