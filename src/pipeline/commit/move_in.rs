//! Into the warehouse and into the manifest: from HASHED, which is durable, to the line.
//!
//! Invariant (P3): names are durable before MOVED is written, and MOVED is before the line.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::{Committer, Dropped, Placings, Work};
use crate::fs::blame::twice;
use crate::fs::{self, Fs};
use crate::journal::record::{AbandonReason, Abandoned, Hashed as HashedRecord, Moved, Record};
use crate::limits::LINKED_FILES_MAX;
use crate::metrics::FailureReason;
use crate::pipeline::manifest::{self, Progress};
use crate::pipeline::publish::{Placed, split};
use crate::pipeline::warehouse::names::{choices_up_to, warehouse_name};
use crate::pipeline::{Error, Outcome, Refusal, Report};
use crate::types::{FileIdentity, IngestId, Sha256};

impl<F: Fs> Committer<F> {
    /// Moves each file to its name in the warehouse. A name that is taken leads to the next choice, which goes into
    /// the journal first.
    pub(in crate::pipeline) fn place_all(&mut self, works: Vec<Work<F>>) -> Result<Placings<F>, Error> {
        let (mut placed, mut dropped) = (Vec::with_capacity(works.len()), Vec::new());
        let mut left = works;
        while !left.is_empty() {
            let mut collided = Vec::new();
            for work in left {
                let (reason, error) = match self.patiently(|this| this.place(work.id))? {
                    Placed::Done => {
                        self.linked = 0;
                        placed.push(work);
                        continue;
                    }
                    Placed::Taken => {
                        collided.push(work);
                        continue;
                    }
                    Placed::Vanished => (AbandonReason::Vanished, None),
                    Placed::Changed | Placed::Renumbered => {
                        if !self.put_back(work.id)? {
                            continue;
                        }
                        (AbandonReason::Changed, None)
                    }
                    Placed::Linked => {
                        if !self.put_back(work.id)? {
                            continue;
                        }
                        self.linked += 1;
                        if self.linked == LINKED_FILES_MAX {
                            // That many upstreams do not give further names to their files at this very moment.
                            self.shared.copy_all.store(true, Ordering::Relaxed);
                        }
                        (AbandonReason::NeedsCopy, None)
                    }
                    Placed::NeedsCopy => {
                        self.shared.copy_all.store(true, Ordering::Relaxed);
                        (AbandonReason::NeedsCopy, None)
                    }
                    Placed::Refused(error) => (AbandonReason::Failed, Some(error)),
                    // If it cannot be put back either, nothing is decided: the next start looks again.
                    Placed::Unseen(error) => {
                        self.try_put_back(work.id)?;
                        (AbandonReason::Failed, Some(error))
                    }
                };
                dropped.push(Dropped { work, reason, error });
            }
            left = self.choose_again(collided, &mut dropped)?;
        }
        Ok((placed, dropped))
    }

    pub(super) fn place(&mut self, id: IngestId) -> fs::Result<Placed> {
        let Some(ingest) = self.state.ingest(id) else { return Ok(Placed::Vanished) };
        let Some(target) = &ingest.target else { return Ok(Placed::Vanished) };
        let root = &ingest.settings.warehouse;
        let Some(copy) = &target.copy else {
            let placed =
                self.publisher.place(Some(id), &ingest.source_path, root, &target.warehouse_path, &ingest.identity)?;
            let (path, size, sha256) = (target.warehouse_path.clone(), ingest.identity.size, target.sha256);
            return self.recognize(placed, &path, size, &sha256);
        };
        // The copy is of the file as it was. If that was removed since, the copy is all there is; if it was changed,
        // it was not complete, and the copy is discarded.
        let placed = match self.publisher.look(&ingest.source_path) {
            Ok(Some(stat)) if stat.identity != ingest.identity => return Ok(Placed::Vanished),
            Err(error) if error.spares_others() => return Ok(Placed::Refused(error)),
            Err(error) => return Err(error),
            Ok(_) => self.publisher.place(None, &copy.path, root, &target.warehouse_path, &copy.identity)?,
        };
        let (path, size, sha256) = (target.warehouse_path.clone(), ingest.identity.size, target.sha256);
        Ok(match self.recognize(placed, &path, size, &sha256)? {
            // It is our own, and nobody else has ever had a name of it: some file systems count badly.
            Placed::Linked => Placed::Done,
            placed => placed,
        })
    }

    /// What has another inode number behind its rename is what was hashed if it has its content.
    pub(super) fn recognize(&mut self, placed: Placed, path: &Path, size: u64, sha256: &Sha256) -> fs::Result<Placed> {
        if !matches!(placed, Placed::Renumbered) {
            return Ok(placed);
        }
        if !self.holds(path, size, sha256)? {
            return Ok(Placed::Changed);
        }
        if let Some(stat) = self.publisher.look(path)? {
            self.publisher.note_renumbering(stat.identity.device);
        }
        Ok(Placed::Done)
    }

    /// Gives files whose name is taken the next one that is free, in the journal.
    pub(super) fn choose_again(
        &mut self,
        collided: Vec<Work<F>>,
        dropped: &mut Vec<Dropped<F>>,
    ) -> Result<Vec<Work<F>>, Error> {
        let (mut records, mut works) = (Vec::new(), Vec::new());
        for work in collided {
            let (dir, target, mut taken) = {
                let ingest = self.ingest(work.id)?;
                let target = ingest.target.clone().ok_or(Error::Transition("a placed file has no target", work.id))?;
                let (dir, name) = split(&target.warehouse_path)?;
                (dir.to_path_buf(), target.clone(), choices_up_to(&work.name, &target.sha256, work.id, name))
            };
            let free = loop {
                let path = dir.join(warehouse_name(&work.name, &target.sha256, work.id, taken));
                match self.publisher.look(&path) {
                    Ok(None) if !self.undecided.contains(&path) => break Ok(path),
                    Ok(_) => taken += 1,
                    Err(error) => break Err(error),
                }
            };
            match free {
                Ok(warehouse_path) => {
                    let (sha256, copy, verified_by) = (target.sha256, target.copy, target.verified_by);
                    let ingest_id = work.id;
                    let hashed = HashedRecord { ingest_id, sha256, warehouse_path, copy, verified_by };
                    records.push(Record::Hashed(hashed));
                    works.push(work);
                }
                Err(error) if error.spares_others() => {
                    dropped.push(Dropped { work, reason: AbandonReason::Failed, error: Some(error) });
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.write(&records)?;
        Ok(works)
    }

    /// Makes the new names durable, then asks each lease whether a writer came: until now one that had found the
    /// file by its old name was held back, and from here on nobody can find it by that.
    pub(in crate::pipeline) fn confirm(
        &mut self,
        placed: Vec<Work<F>>,
        dropped: &mut Vec<Dropped<F>>,
    ) -> Result<Vec<Work<F>>, Error> {
        self.patiently(|this| this.publisher.sync())?;
        let mut moved = Vec::with_capacity(placed.len());
        for work in placed {
            let broken = work.lease().map_or(Ok(false), |file| self.fs.lease_broken(file))?;
            if !broken {
                moved.push(work);
            } else if self.put_back(work.id)? {
                dropped.push(Dropped { work, reason: AbandonReason::OpenForWriting, error: None });
            }
        }
        self.publisher.sync()?;
        Ok(moved)
    }

    /// Gives a file that was placed its old name back. False where a start cannot do so: an error has said it, and the file has
    /// to stay HASHED, so that the next start tries again. It is no reason to keep all others waiting.
    pub(in crate::pipeline) fn put_back(&mut self, id: IngestId) -> Result<bool, Error> {
        match twice(Error::spares_others, || self.try_put_back(id)) {
            // A running ingestor ends instead: the next start tries again what may work by then.
            Err(Error::Io(error)) if error.spares_others() && self.is_recovering => {
                let ingest = self.ingest(id)?;
                let path = ingest.target.as_ref().map_or(&ingest.source_path, |target| &target.warehouse_path).clone();
                let error = format!("cannot be put back, which the next start will try again: {error}");
                self.metrics.file_failed(&path, FailureReason::NotPutBack, &error, None);
                self.undecided.insert(path);
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    pub(in crate::pipeline) fn try_put_back(&mut self, id: IngestId) -> Result<(), Error> {
        let ingest = self.ingest(id)?.clone();
        let Some(target) = &ingest.target else { return Ok(()) };
        let from = target.copy.as_ref().map_or(&ingest.source_path, |copy| &copy.path);
        self.patiently(|this| this.publisher.put_back(id, &target.warehouse_path, from))
    }

    /// Puts back what was moved to `path` and should not be there. Where that cannot be done it stays, and an error says so.
    pub(super) fn return_there(&mut self, work: &Work<F>, path: &Path, source: &Path) -> Result<(), Error> {
        match self.patiently(|this| this.publisher.put_back(work.id, path, source)) {
            Err(Error::Io(error)) if error.spares_others() && self.is_recovering => {
                let error = format!("cannot be put back: {error}");
                self.metrics.file_failed(path, FailureReason::NotPutBack, &error, None);
                Ok(())
            }
            done => done,
        }
    }

    /// MOVED and ABANDONED into the journal.
    pub(in crate::pipeline) fn record_moves(
        &mut self,
        moved: &[Work<F>],
        dropped: Vec<Dropped<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let mut records = Vec::with_capacity(moved.len() + dropped.len());
        for work in moved {
            let published = self.published(work.id)?;
            records.push(Record::Moved(Moved { ingest_id: work.id, published }));
        }
        for dropped in dropped {
            let (ingest_id, reason) = (dropped.work.id, dropped.reason);
            if let Some(ingest) = self.state.ingest(ingest_id) {
                self.metrics.file_abandoned(&ingest.source_path, reason);
                let copy = ingest.target.as_ref().and_then(|target| target.copy.clone());
                if let Some(copy) = copy {
                    self.discard_copy(&copy.path)?;
                }
            }
            records.push(Record::Abandoned(Abandoned { ingest_id, reason }));
            let outcome = match dropped.error {
                Some(error) => Outcome::Refused(Refusal::Failed(error)),
                None => Outcome::Abandoned(reason),
            };
            reports.push(Report { name: dropped.work.name, outcome });
        }
        self.write(&records)
    }

    /// What stands at the file's name in the warehouse, if that is the file: with it, nobody need ever read it to know that.
    fn published(&mut self, id: IngestId) -> fs::Result<Option<FileIdentity>> {
        let Some(ingest) = self.state.ingest(id) else { return Ok(None) };
        let Some(target) = &ingest.target else { return Ok(None) };
        let moving = target.copy.as_ref().map_or(&ingest.identity, |copy| &copy.identity);
        let there = match self.publisher.look(&target.warehouse_path) {
            Err(error) if error.spares_others() => None,
            there => there?,
        };
        Ok(there.map(|stat| stat.identity).filter(|there| there.same_but_renamed(moving)))
    }

    /// One that cannot be removed now is at the next start.
    pub(super) fn discard_copy(&mut self, path: &Path) -> Result<(), Error> {
        match self.patiently(|this| this.publisher.discard(path)) {
            Err(Error::Io(error)) if error.spares_others() => Ok(()),
            discarded => discarded,
        }
    }

    /// Writes the manifest lines, in the order of ingest ids, which recovery can tell again. With `search`, only
    /// those that are missing.
    pub(in crate::pipeline) fn list(&mut self, moved: &mut [Work<F>], search: bool) -> Result<(), Error> {
        moved.sort_by_key(|work| work.id);
        let mut hours: Vec<(PathBuf, PathBuf, Vec<IngestId>)> = Vec::new();
        for work in &*moved {
            let ingest = self.ingest(work.id)?;
            let root = &ingest.settings.manifests;
            let dir = manifest::hour_dir(root, ingest.discovered_at);
            match hours.iter_mut().find(|(_, known, _)| *known == dir) {
                Some((_, _, ids)) => ids.push(work.id),
                None => hours.push((root.clone(), dir, vec![work.id])),
            }
        }
        let store = self.journal.store();
        for (root, dir, ids) in hours {
            let mut lines = self.lines_of(&ids, Some(&store))?;
            if search {
                // A version that wrote lines without the journal's id may have been killed behind them.
                let former = self.lines_of(&ids, None)?;
                let are_there = self.patiently(|this| this.manifests.holds(&root, &dir, &former))?;
                for ((line, former), _) in lines.iter_mut().zip(former).zip(are_there).filter(|(_, is_there)| *is_there)
                {
                    *line = former;
                }
                self.patiently(|this| this.manifests.ensure(&root, &dir, &lines))?;
            } else {
                let mut progress = Progress::default();
                self.patiently(|this| this.manifests.append(&root, &dir, &lines, &mut progress))?;
            }
        }
        Ok(())
    }

    fn lines_of(&self, ids: &[IngestId], journal: Option<&[u8; 16]>) -> Result<Vec<Vec<u8>>, Error> {
        let line = |id: &IngestId| {
            let mut line = Vec::with_capacity(512);
            manifest::line(journal, self.ingest(*id)?, &mut line);
            Ok(line)
        };
        ids.iter().map(line).collect()
    }
}
