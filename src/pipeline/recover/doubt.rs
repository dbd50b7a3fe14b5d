//! HASHED files about which something is uncertain: a place that cannot be checked, a copy, a content that another file
//! has brought meanwhile.
//!
//! Invariant: a file that is listed in a manifest is never put back.

use super::{Committer, Dropped, Error, Target, Whereabouts, Work};
use crate::fs::{self, Fs, Open};
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, Copy};
use crate::metrics::FailureReason;
use crate::pipeline::commit::lake::is_for_lake;
use crate::pipeline::dirs::split;
use crate::pipeline::hash;

impl<F: Fs> Committer<F> {
    /// The open ingests in a state that belong to no group, oldest first.
    pub(super) fn open_alone(&self, state: FileState) -> Vec<Ingest> {
        let mut open = self.open_in(state);
        open.retain(|ingest| ingest.group.is_none());
        open
    }

    /// As [`Committer::open_alone`], without those that go to a lake.
    pub(super) fn open_in_dirs(&self, state: FileState) -> Vec<Ingest> {
        let mut open = self.open_alone(state);
        open.retain(|ingest| !is_for_lake(ingest));
        open
    }

    /// Where a HASHED file is; if it is there, `work` holds it.
    pub(super) fn whereabouts(&mut self, ingest: &Ingest, work: &mut Work<F>) -> Result<Whereabouts, Error> {
        let mut place = self.find(ingest)?;
        if matches!(place, Whereabouts::Lost(_))
            && let Some(error) = self.return_mistaken(ingest)?
        {
            place = Whereabouts::Unseen(error);
        }
        self.guard_or_doubt(ingest, work, place)
    }

    /// Syncs the places of the files that are about to be abandoned, and those from which they came. The process that was
    /// killed may have given one of them back: until that is durable, a power cut can bring its name in the warehouse back,
    /// and once the file is abandoned, nobody looks there any more. What was moved in the other direction is durable already:
    /// otherwise the order of the two directories would be the wrong one for that.
    pub(super) fn make_absence_durable(&mut self, dropped: &[Dropped<F>]) -> Result<(), Error> {
        for Dropped { work, .. } in dropped {
            let ingest = self.ingest(work.id)?;
            let (input, Some(target)) = (ingest.settings.input.clone(), ingest.target.clone()) else { continue };
            if is_for_lake(ingest) {
                continue;
            }
            let from = target.copy.map_or_else(|| ingest.source_path.clone(), |copy| copy.path);
            let ((there, _), (home, _)) = (split(&target.warehouse_path)?, split(&from)?);
            // A directory that is missing, or cannot be opened, has no name to lose.
            if self.staging.dirs.dir(there).is_err() {
                continue;
            }
            // The file may have gone back to a directory above its own.
            let above = home.ancestors().skip(1).take_while(|dir| dir.starts_with(&input));
            std::iter::once(home).chain(above).for_each(|home| self.staging.dirs.touch(there, home));
            self.staging.dirs.forget_missing(home);
        }
        self.patiently(|staging| staging.dirs.sync())
    }

    /// Leaves a file HASHED for the next start; returns its copy, which is still needed.
    pub(super) fn leave(&mut self, ingest: Ingest) -> Option<Copy> {
        let target = ingest.target?;
        self.pending.undecided.insert(target.warehouse_path);
        target.copy
    }

    /// [`Committer::guard`], and the decision if it fails, or if the content is already ingested.
    pub(super) fn guard_or_doubt(
        &mut self,
        ingest: &Ingest,
        work: &mut Work<F>,
        place: Whereabouts,
    ) -> Result<Whereabouts, Error> {
        let is_in_staging = matches!(place, Whereabouts::Ready | Whereabouts::Again);
        let place = match self.guard(ingest, work, place) {
            // It is still in staging, and a scan finds it again.
            Err(Error::Io(error)) if error.spares_others() && is_in_staging => Whereabouts::Refused(error),
            // The file was there a moment ago, and cannot be checked now. Nothing is lost by leaving it to the next
            // start.
            Err(Error::Io(error)) if error.spares_others() => Whereabouts::Unseen(error),
            place => place?,
        };
        let Some(target) = &ingest.target else { return Ok(place) };
        // Another file has brought this content while this one could not be checked.
        let Some(original) = self.index.original(&ingest.key(&target.sha256))? else { return Ok(place) };
        Ok(match place {
            // The file there is that other one.
            Whereabouts::Arrived | Whereabouts::Spoilt(_) if *original.warehouse_path == *target.warehouse_path => {
                Whereabouts::Lost(AbandonReason::Changed)
            }
            Whereabouts::Arrived => Whereabouts::Spoilt(AbandonReason::Changed),
            Whereabouts::Ready | Whereabouts::Again => Whereabouts::Lost(AbandonReason::Changed),
            place => place,
        })
    }

    /// Every copy that a HASHED record names was placed or is useless: a file that must be hashed again is copied again.
    /// `unseen` are the copies that are still needed.
    pub(super) fn remove_leftover_copies(&mut self, unseen: &[Copy]) -> Result<(), Error> {
        let needed: Vec<_> = unseen.iter().filter_map(|copy| Some(copy.path.file_name()?.to_owned())).collect();
        Ok(self.warehouse.discard_others(&needed)?)
    }

    pub(super) fn report_unseen(&self, ingest: &Ingest, error: &fs::Error) {
        let path = ingest.target.as_ref().map_or(&ingest.source_path, |target| &target.warehouse_path);
        let error = format!("the file may be here; the next start checks again: {error}");
        self.metrics.file_failed(path, FailureReason::NotMoved, &error, None);
    }

    /// Guards a copy that has its name in the warehouse. After MOVED its source may be removed, so the copy must still
    /// have the content.
    pub(super) fn guard_copy(&mut self, ingest: &Ingest, target: &Target) -> Result<Whereabouts, Error> {
        let (dir, name) = split(&target.warehouse_path)?;
        let dir = self.staging.dirs.dir(dir)?;
        let found = self.fs.open(&dir, name, Open::Read).and_then(|file| hash::digest_of(&self.fs, &file));
        match found {
            Ok(found) if found == target.sha256 => Ok(Whereabouts::Arrived),
            Ok(_) => Ok(Whereabouts::Spoilt(AbandonReason::Changed)),
            Err(error) if error.spares_others() => Ok(self.unreadable(ingest, &Whereabouts::Arrived, &error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Reports a file that cannot be read. One bad file must not keep all others from being ingested, at this start and
    /// every later one.
    pub(super) fn unreadable(&self, ingest: &Ingest, place: &Whereabouts, error: &fs::Error) -> Whereabouts {
        self.metrics.file_failed(&ingest.source_path, FailureReason::Unreadable, &error.to_string(), None);
        match place {
            Whereabouts::Arrived => Whereabouts::Spoilt(AbandonReason::Failed),
            _ => Whereabouts::Lost(AbandonReason::Failed),
        }
    }
}
