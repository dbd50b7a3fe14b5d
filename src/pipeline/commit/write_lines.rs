//! Writes manifest lines: from MOVED, which is durable, to the line.
//!
//! Invariants:
//! - P3: MOVED is durable before the line is written.
//! - Lines are written in the order of their MOVED, which is that of their numbers, and each is durable before one of another
//!   manifest with a greater number is begun: who sees a durable line sees all lines of the journal before it.

use std::path::PathBuf;

use tracing::warn;

use super::lake::is_for_lake;
use super::{Committer, Work};
use crate::fs::Fs;
use crate::journal::hex;
use crate::limits::LINE_INDEX_HOURS_MAX;
use crate::pipeline::Error;
use crate::pipeline::manifest::numbers::{self, Entry};
use crate::pipeline::manifest::{self, AppendProgress};
use crate::types::{IngestId, UnixMillis};

/// Room for a line of a file that is not validated.
const LINE_BYTES_USUAL: usize = 512;

/// Files with consecutive lines in one manifest.
struct Run {
    /// An instant of the manifest's hour.
    at: UnixMillis,
    /// The directory of all manifests.
    root: PathBuf,
    ids: Vec<IngestId>,
}

impl Run {
    fn dir(&self) -> PathBuf {
        manifest::hour_dir(&self.root, self.at)
    }
}

impl<F: Fs> Committer<F> {
    /// Writes the manifest lines in the order of MOVED, so that recovery writes the same: a batch that was cut off may be
    /// followed by files of the next one, which were found before. With `search`, writes only those that are missing.
    pub(in crate::pipeline) fn write_lines(&mut self, moved: &mut [Work<F>], search: bool) -> Result<(), Error> {
        let moved_at = |work: &Work<F>| self.index.ingest(work.id).and_then(|ingest| ingest.order.moved_at);
        if !moved.is_sorted_by_key(moved_at) {
            moved.sort_by_cached_key(moved_at);
        }
        // In a lake, the entry has the line.
        let in_dirs = moved.iter().filter(|work| self.index.ingest(work.id).is_none_or(|ingest| !is_for_lake(ingest)));
        let mut runs: Vec<Run> = Vec::new();
        for work in in_dirs {
            let ingest = self.ingest(work.id)?;
            let (hour, root) = (ingest.discovered_at.hour(), ingest.settings.manifests.as_os_str());
            match runs.last_mut().filter(|run| run.at.hour() == hour && run.root.as_os_str() == root) {
                Some(run) => run.ids.push(work.id),
                None => runs.push(Run { at: ingest.discovered_at, root: root.into(), ids: vec![work.id] }),
            }
        }
        self.patience.may_go_on()?;
        let store = hex(&self.journal.store());
        if search {
            return self.write_missing(&runs, &store);
        }
        for Run { at, root, ids } in runs {
            let mut text = Vec::with_capacity(ids.len() * LINE_BYTES_USUAL);
            for id in &ids {
                manifest::line(Some(&store), self.ingest(*id)?, &mut text);
            }
            let (dir, mut progress) = (manifest::hour_dir(&root, at), AppendProgress::default());
            let begin = self.patience.run(|| self.manifests.append(&root, &dir, &text, &mut progress))?;
            if let Some(offset) = begin {
                self.add_to_index(&Run { at, root, ids }, offset);
            }
        }
        Ok(())
    }

    /// Notes where these lines are, which are durable: for readers that look for them by their numbers.
    fn add_to_index(&mut self, run: &Run, offset: u64) {
        let first = run.ids.first().and_then(|id| self.index.ingest(*id)?.order.seq);
        let (Some(first), Ok(hour)) = (first, u32::try_from(run.at.hour())) else { return };
        let written_at = u32::try_from(self.fs.now().0 / 1000).unwrap_or(u32::MAX);
        let entry = Entry { first, lines: run.ids.len() as u32, hour, offset, written_at };
        let failed = self.manifests.numbers().add(&run.root, &self.journal.store(), &entry);
        if let Some(error) = failed {
            warn!(event = "line_index_failed", error = %error, message = "consumers find new lines more slowly");
        }
    }

    /// Adds lines to the index that a power cut may have taken from it.
    pub(in crate::pipeline) fn mend_index(&mut self) {
        let (root, store, last) = (self.settings.manifests.clone(), self.journal.store(), self.index.last_seq());
        if self.settings.is_lake() || last == 0 {
            return;
        }
        let passed = self.manifests.numbers().last(&root, &store);
        if passed >= last {
            return;
        }
        match numbers::search(&self.fs, &root, &store, (passed..last, LINE_INDEX_HOURS_MAX)) {
            Ok(entries) => {
                for entry in entries {
                    drop(self.manifests.numbers().add(&root, &store, &entry));
                }
            }
            Err(error) => {
                warn!(event = "line_index_failed", error = %error, message = "consumers find some lines more slowly");
            }
        }
    }

    /// Writes the lines that are missing. Of an earlier life's runs only one can be there in part: all before it are whole,
    /// and none after it was begun. So no manifest is touched before all lines of it up to that run are known, and only the
    /// last one may end in half a line.
    fn write_missing(&mut self, runs: &[Run], store: &str) -> Result<(), Error> {
        let lines: Vec<Vec<Vec<u8>>> =
            runs.iter().map(|run| self.as_written(run, store)).collect::<Result<_, Error>>()?;
        let mut first = runs.len();
        for (number, (run, lines)) in runs.iter().zip(&lines).enumerate() {
            let are_there = self.patience.run(|| self.manifests.holds(&run.root, &run.dir(), lines))?;
            if are_there.contains(&false) {
                first = number;
                break;
            }
        }
        for (number, run) in runs.iter().enumerate() {
            let is_its = |other: &Run| other.at.hour() == run.at.hour() && other.root == run.root;
            if number < first && runs[number + 1..].iter().take(first - number).any(is_its) {
                continue;
            }
            let up_to_here = runs[..=number].iter().zip(&lines).filter(|(other, _)| is_its(other));
            let up_to_here: Vec<Vec<u8>> = up_to_here.flat_map(|(_, lines)| lines.iter().cloned()).collect();
            self.patience.run(|| self.manifests.ensure(&run.root, &run.dir(), &up_to_here))?;
        }
        Ok(())
    }

    /// The lines of a run. An earlier version, which wrote lines without the journal's UUID, may have been killed after
    /// writing them.
    fn as_written(&mut self, run: &Run, store: &str) -> Result<Vec<Vec<u8>>, Error> {
        let mut lines = self.lines_of(&run.ids, Some(store))?;
        let former = self.lines_of(&run.ids, None)?;
        let are_there = self.patience.run(|| self.manifests.holds(&run.root, &run.dir(), &former))?;
        for ((line, former), _) in lines.iter_mut().zip(former).zip(are_there).filter(|(_, is_there)| *is_there) {
            *line = former;
        }
        Ok(lines)
    }

    fn lines_of(&self, ids: &[IngestId], journal: Option<&str>) -> Result<Vec<Vec<u8>>, Error> {
        let line = |id: &IngestId| {
            let mut line = Vec::with_capacity(LINE_BYTES_USUAL);
            manifest::line(journal, self.ingest(*id)?, &mut line);
            Ok(line)
        };
        ids.iter().map(line).collect()
    }
}
