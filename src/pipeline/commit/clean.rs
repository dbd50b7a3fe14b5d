//! What is done in staging once the content is durable in the warehouse.
//!
//! Invariant (P2): nothing is removed but what is still the file that was hashed, and only after its content is
//! durable elsewhere.

use std::sync::Arc;

use super::{Committer, Work};
use crate::fs::{FileKind, Fs};
use crate::journal::record::{AbandonReason, DuplicateAction, Record, SkippedDuplicate};
use crate::journal::state::{Ingest, Kept};
use crate::pipeline::hash::Hasher;
use crate::pipeline::naming::{choices_up_to, warehouse_name};
use crate::pipeline::publish::{Placed, split};
use crate::pipeline::{Error, Outcome, Report, Settled};
use crate::types::Sha256;

impl<F: Fs> Committer<F> {
    /// Removes what the files left in staging, does what is to be done with duplicates, and closes all of them.
    pub(in crate::pipeline) fn finish(
        &mut self,
        moved: Vec<Work<F>>,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        for work in &moved {
            self.clean_up(work)?;
        }
        let cleared = self.clear_duplicates(duplicates, reports)?;
        self.patiently(|this| this.publisher.sync())?;
        for work in moved {
            self.metrics.file_ingested(self.ingest(work.id)?, self.fs.now());
            self.closings.push(Record::Manifested(work.id));
            reports.push(Report { name: work.name, outcome: Outcome::Ingested });
        }
        for (work, outcome) in cleared {
            self.closings.push(Record::DuplicateCleared(work.id));
            reports.push(Report { name: work.name, outcome });
        }
        Ok(())
    }

    /// Removes the source of a copy, and the sidecar, if they are still what they were.
    pub(super) fn clean_up(&mut self, work: &Work<F>) -> Result<(), Error> {
        let ingest = self.state.ingest(work.id).ok_or(Error::Transition("a moved file is not open", work.id))?;
        let ingest = ingest.clone();
        if let Some(target) = ingest.target.as_ref().filter(|target| target.copy.is_some()) {
            self.remove_staged(work, "source", &ingest, &target.sha256)?;
        }
        if let Some(sidecar) = &ingest.sidecar {
            self.publisher.remove(work.id, "sidecar", &sidecar.path, &sidecar.identity, None)?;
        }
        Ok(())
    }

    /// Removes a staged file whose content is durable elsewhere, if it is still what it was; true if it did.
    pub(super) fn remove_staged(
        &mut self,
        work: &Work<F>,
        what: &str,
        ingest: &Ingest,
        sha256: &Sha256,
    ) -> Result<bool, Error> {
        let (path, identity) = (&ingest.source_path, &ingest.identity);
        let there = self.publisher.look(path)?.map(|stat| stat.identity);
        let unchanged = there.is_none_or(|there| there == *identity);
        if unchanged {
            return Ok(self.publisher.remove(work.id, what, path, identity, work.lease())?);
        }
        // Recovery holds no file open. A crash that undid the renames of an unfinished removal leaves their ctime: then
        // the content decides. Without a crash another ctime means another state of the file, which is not ours.
        let (None, Some(identity)) = (&work.held, there.filter(|there| there.same_but_renamed(identity))) else {
            return Ok(false);
        };
        let (_, name) = split(path)?;
        let settled = Settled {
            name: Arc::from(name),
            identity,
            links: 1,
            sidecar: None,
            complete_at: ingest.discovered_at,
            ticket: 0,
        };
        match Hasher::new(self.shared.clone()).verify(&settled) {
            Ok((file, leased, found)) if found == *sha256 => {
                Ok(self.publisher.remove(work.id, what, path, &identity, leased.then_some(&file))?)
            }
            _ => Ok(false),
        }
    }

    /// Removes or moves duplicates away; returns those that are cleared. One that stays is closed by its record.
    pub(super) fn clear_duplicates(
        &mut self,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<(Work<F>, Outcome)>, Error> {
        let mut cleared = Vec::new();
        for work in duplicates {
            let Some(ingest) = self.state.ingest(work.id).cloned() else {
                // Kept: its record closed it.
                reports.extend(self.report_kept(&work));
                continue;
            };
            match self.clear(&work, ingest)? {
                Some(outcome) => cleared.push((work, outcome)),
                None => reports.extend(self.report_kept(&work)),
            }
        }
        Ok(cleared)
    }

    pub(super) fn report_kept(&mut self, work: &Work<F>) -> Option<Report> {
        let kept: Kept = *self.state.kept_at(work.key)?;
        let path = self.settings.input.join(&*work.name);
        let original = self.state.original(&kept.sha256).cloned();
        self.metrics.duplicate_skipped(&path, &kept.sha256, original.as_ref(), DuplicateAction::Keep);
        Some(Report { name: work.name.clone(), outcome: Outcome::Kept(kept) })
    }

    /// Does with one duplicate what its record says. None if it had to be kept after all, which is then recorded.
    pub(super) fn clear(&mut self, work: &Work<F>, ingest: Ingest) -> Result<Option<Outcome>, Error> {
        let Some(duplicate) = ingest.duplicate.clone() else {
            return Err(Error::Transition("a duplicate has no original", work.id));
        };
        let original = self.state.original(&duplicate.sha256).cloned();
        let outcome = match duplicate.action {
            DuplicateAction::Keep => None,
            DuplicateAction::Remove => {
                // The owner of the warehouse may have removed the original since: then these bytes are the last.
                let there = original.as_ref().map(|original| self.publisher.look(&original.warehouse_path));
                let there = there.transpose()?.flatten();
                let safe = there
                    .is_some_and(|stat| stat.kind == FileKind::Regular && stat.identity.size == ingest.identity.size);
                match safe {
                    true => {
                        let removed = self.remove_staged(work, "duplicate", &ingest, &duplicate.sha256)?;
                        Some(if removed { Outcome::Cleared } else { Outcome::Abandoned(AbandonReason::Changed) })
                    }
                    false => None,
                }
            }
            DuplicateAction::Move => self.move_duplicate(work, &ingest)?,
        };
        let Some(outcome) = outcome else {
            let record = SkippedDuplicate {
                ingest_id: work.id,
                sha256: duplicate.sha256,
                duplicate_of: duplicate.of,
                action: DuplicateAction::Keep,
                target: None,
            };
            self.write(&[Record::SkippedDuplicate(record)])?;
            return Ok(None);
        };
        if let (Outcome::Cleared, Some(sidecar)) = (&outcome, &ingest.sidecar) {
            self.publisher.remove(work.id, "sidecar", &sidecar.path, &sidecar.identity, None)?;
        }
        if matches!(outcome, Outcome::Cleared) {
            self.metrics.duplicate_skipped(&ingest.source_path, &duplicate.sha256, original.as_ref(), duplicate.action);
        }
        Ok(Some(outcome))
    }

    pub(super) fn move_duplicate(&mut self, work: &Work<F>, ingest: &Ingest) -> Result<Option<Outcome>, Error> {
        let sha256 = ingest.duplicate.as_ref().map(|duplicate| duplicate.sha256).unwrap_or(Sha256([0; 32]));
        let of = ingest.duplicate.as_ref().map_or(work.id, |duplicate| duplicate.of);
        let mut target = ingest.duplicate.as_ref().and_then(|duplicate| duplicate.target.clone());
        loop {
            let Some(path) = target else { return Ok(None) };
            let (dir, name) = split(&path)?;
            let placed = self
                .patiently(|this| this.publisher.place(work.id, &ingest.source_path, dir, &path, &ingest.identity))?;
            match placed {
                Placed::Done | Placed::Vanished => return Ok(Some(Outcome::Cleared)),
                Placed::Changed => return Ok(Some(Outcome::Abandoned(AbandonReason::Changed))),
                Placed::NeedsCopy | Placed::Refused(_) => return Ok(None),
                Placed::Taken => {
                    let taken = choices_up_to(&work.name, &sha256, name);
                    target = warehouse_name(&work.name, &sha256, taken).map(|name| dir.join(name));
                    let (duplicate_of, action) = (of, DuplicateAction::Move);
                    let again =
                        SkippedDuplicate { ingest_id: work.id, sha256, duplicate_of, action, target: target.clone() };
                    if target.is_some() {
                        self.write(&[Record::SkippedDuplicate(again)])?;
                    }
                }
            }
        }
    }
}
