//! Writes manifest lines: from MOVED, which is durable, to the line.
//!
//! Invariant (P3): MOVED is durable before the line is written. Lines are written in the order of their MOVED.

use std::path::PathBuf;

use super::lake::is_for_lake;
use super::{Committer, Work};
use crate::fs::Fs;
use crate::journal::hex;
use crate::pipeline::Error;
use crate::pipeline::manifest::{self, AppendProgress};
use crate::types::{IngestId, UnixMillis};

/// Room for a line of a file that is not validated.
const LINE_BYTES_USUAL: usize = 512;

impl<F: Fs> Committer<F> {
    /// Writes the manifest lines in the order of MOVED, so that recovery writes the same: a batch that was cut off may be
    /// followed by files of the next one, which were found before. With `search`, writes only those that are missing.
    pub(in crate::pipeline) fn write_lines(&mut self, moved: &mut [Work<F>], search: bool) -> Result<(), Error> {
        let moved_at = |work: &Work<F>| self.index.ingest(work.id).and_then(|ingest| ingest.moved_at);
        if !moved.is_sorted_by_key(moved_at) {
            moved.sort_by_cached_key(moved_at);
        }
        // In a lake, the entry has the line.
        let in_dirs = moved.iter().filter(|work| self.index.ingest(work.id).is_none_or(|ingest| !is_for_lake(ingest)));
        // An instant of each hour, and the directory of all manifests.
        let mut hours: Vec<(UnixMillis, PathBuf, Vec<IngestId>)> = Vec::new();
        for work in in_dirs {
            let ingest = self.ingest(work.id)?;
            let (at, root) = (ingest.discovered_at, ingest.settings.manifests.as_os_str());
            match hours.iter_mut().find(|(known, of, _)| known.hour() == at.hour() && of.as_os_str() == root) {
                Some((_, _, ids)) => ids.push(work.id),
                None => hours.push((at, root.into(), vec![work.id])),
            }
        }
        self.patience.may_go_on()?;
        let store = hex(&self.journal.store());
        for (at, root, ids) in hours {
            let dir = manifest::hour_dir(&root, at);
            if search {
                let mut lines = self.lines_of(&ids, Some(&store))?;
                // An earlier version, which wrote lines without the journal's UUID, may have been killed after writing
                // them.
                let former = self.lines_of(&ids, None)?;
                let are_there = self.patience.run(|| self.manifests.holds(&root, &dir, &former))?;
                for ((line, former), _) in lines.iter_mut().zip(former).zip(are_there).filter(|(_, is_there)| *is_there)
                {
                    *line = former;
                }
                self.patience.run(|| self.manifests.ensure(&root, &dir, &lines))?;
            } else {
                let mut text = Vec::with_capacity(ids.len() * LINE_BYTES_USUAL);
                for id in &ids {
                    manifest::line(Some(&store), self.ingest(*id)?, &mut text);
                }
                let mut progress = AppendProgress::default();
                self.patience.run(|| self.manifests.append(&root, &dir, &text, &mut progress))?;
            }
        }
        Ok(())
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
