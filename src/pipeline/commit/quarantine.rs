//! Moves files that cannot be ingested as they are out of staging, with the reason beside them.
//!
//! Invariants:
//! - P3: QUARANTINED is durable before the reason is written and the file is moved; QUARANTINE_DONE is written after both
//!   are durable.
//! - P2: nothing is removed except the used sidecar. The file that is moved is the one that was checked; any other goes
//!   back.

use std::io::ErrorKind;

use super::clean_up::Taken;
use super::{Committer, Work};
use crate::fs::Syscall;
use crate::fs::blame::twice;
use crate::fs::{self, DirEntry, FileKind, Fs, Stat};
use crate::journal::ingest::Ingest;
use crate::journal::record::{AbandonReason, Abandoned, Quarantined, Record};
use crate::limits::{FEW_FILES, QUARANTINE_DIRS_MAX, TREE_DEPTH_MAX};
use crate::pipeline::dirs::split;
use crate::pipeline::hash::digest_of;
use crate::pipeline::quarantine::{quarantine_name, reason, reason_path};
use crate::pipeline::staging::names::{Aside, is_aside};
use crate::pipeline::staging::{Expected, Placed};
use crate::pipeline::why_not::is_unreadable;
use crate::pipeline::{Error, Outcome, Refusal, subdir};
use crate::types::Sha256;

/// How many names are tried in quarantine. Each has the ingest id in it, so only another ingestor can have taken the
/// first.
const NAMES_MAX: u32 = 16;

/// The result of writing the reason.
enum ReasonWritten {
    Written,
    /// Another file has its name.
    Taken,
    /// The place refuses it.
    Refused(fs::Error),
}

/// The result of moving the file.
enum Removal {
    Done,
    /// It is another file by now, or a process has it open for writing: it starts again.
    Abandoned(AbandonReason),
    /// It cannot be moved.
    Refused(fs::Error),
    /// It is no longer in staging, and the place where it should be cannot be checked.
    Unseen(fs::Error),
}

impl<F: Fs> Committer<F> {
    /// Moves a QUARANTINED file away; returns the outcome, and the record that closes it.
    pub(super) fn quarantine_file(&mut self, work: &Work<F>, ingest: &Ingest) -> Result<(Outcome, Record), Error> {
        let Some(quarantined) = ingest.quarantined.as_deref() else {
            return Err(Error::Transition("a file in quarantine has no place there", work.id));
        };
        // A fault of the place is no reason to stop: the file stays, and the others continue.
        let removal = match twice(fs::Error::spares_others, || self.staging.dirs.look(&quarantined.target)) {
            Err(error) if error.spares_others() => match self.staging.dirs.look(&ingest.source_path) {
                Ok(Some(_)) => Removal::Refused(error),
                _ => Removal::Unseen(error),
            },
            there => match self.quarantined_before(work, ingest, quarantined, there?)? {
                Some(removal) => removal,
                None => self.move_there(work, ingest, quarantined.clone())?,
            },
        };
        let abandoned = |reason| Record::Abandoned(Abandoned { ingest_id: work.id, reason });
        Ok(match removal {
            Removal::Done => {
                let used_sidecar = self.remove_used_sidecar(work, ingest)?;
                // Read again: the record has the name that the file got in the end.
                if let Some(quarantined) = &self.ingest(work.id)?.quarantined {
                    self.metrics.file_quarantined(&ingest.source_path, quarantined);
                }
                (Outcome::Quarantined { used_sidecar }, Record::QuarantineDone(work.id))
            }
            Removal::Abandoned(reason) => {
                self.give_back_taken(work, ingest)?;
                self.metrics.file_abandoned(&ingest.source_path, reason);
                (Outcome::Abandoned(reason), abandoned(reason))
            }
            Removal::Unseen(error) => {
                let ((staging, _), (dir, _)) = (split(&ingest.source_path)?, split(&quarantined.target)?);
                self.staging.dirs.touch(staging, dir);
                self.give_back_taken(work, ingest)?;
                (Outcome::Refused(Refusal::Failed(error)), abandoned(AbandonReason::Failed))
            }
            Removal::Refused(error) => {
                self.give_back_taken(work, ingest)?;
                // Read again, as above.
                if let Some(quarantined) = self.ingest(work.id)?.quarantined.clone() {
                    self.discard_reason(work, &quarantined)?;
                }
                let text =
                    format!("{}: {}; not moved to quarantine: {error}", quarantined.cause.text(), quarantined.detail);
                let source = std::io::Error::new(error.source.kind(), text);
                let error = fs::Error { op: Syscall::Rename, path: ingest.source_path.clone(), source };
                (Outcome::Refused(Refusal::Failed(error)), abandoned(AbandonReason::Failed))
            }
        })
    }

    /// The file stays in staging: whatever an earlier run set aside there gets its name back.
    fn give_back_taken(&mut self, work: &Work<F>, ingest: &Ingest) -> Result<(), Error> {
        self.resolve_aside(work.id, Aside::Second, &ingest.source_path, None)?;
        if let Some(sidecar) = &ingest.sidecar {
            self.resolve_aside(work.id, Aside::Sidecar, &sidecar.path, None)?;
        }
        Ok(())
    }

    /// Forgets the open directories of quarantine and duplicates, once for each batch that uses them: a directory may
    /// have been replaced, and the open one would be the old.
    pub(super) fn look_at_targets_again(&mut self, works: &[Work<F>]) {
        let target = |work: &Work<F>| {
            let ingest = self.index.ingest(work.id)?;
            let quarantined = ingest.quarantined.as_ref().map(|it| &it.target);
            let target = quarantined.or_else(|| ingest.duplicate.as_ref()?.target.as_ref())?;
            Some(target.parent()?.to_owned())
        };
        let dirs: std::collections::BTreeSet<_> = works.iter().filter_map(target).collect();
        dirs.iter().for_each(|dir| self.staging.dirs.forget(dir));
    }

    /// Writes the reasons of a batch in advance if there are many, so that one sync serves all. A failure for one of them
    /// is not reported here: it occurs again when that file's turn comes, and is reported then.
    pub(super) fn prepare_reasons(&mut self, works: &[Work<F>]) -> Result<(), Error> {
        self.staging.forget_prepared();
        let few = self.quarantine.as_ref().map_or(FEW_FILES, |quarantine| quarantine.few_reasons);
        let due = |work: &Work<F>| {
            let ingest = self.index.ingest(work.id)?;
            let path = reason_path(&ingest.quarantined.as_ref()?.target);
            let above = subdir::above(ingest, &path).to_path_buf();
            Some((work.id, above, path, reason(ingest)))
        };
        let due: Vec<_> = works.iter().filter_map(due).collect();
        if due.len() <= few {
            return Ok(());
        }
        for (id, above, path, text) in due {
            match self.staging.prepare_new(id, Aside::Reason, &above, &path, &text) {
                Err(error) if error.is_of_the_place() => {}
                prepared => prepared?,
            }
        }
        // As with the files of a batch: a failure does not show which of them were not written.
        Ok(self.staging.sync_prepared().inspect_err(|_| self.forget_staged_pages())?)
    }

    /// Handles what an earlier run left at the target: the file itself, or, moved by mistake, a file that an upstream had
    /// put in its place. None if nothing is there. The name has the ingest id in it, so no other file is expected there.
    fn quarantined_before(
        &mut self,
        work: &Work<F>,
        ingest: &Ingest,
        quarantined: &Quarantined,
        there: Option<Stat>,
    ) -> Result<Option<Removal>, Error> {
        let target = &quarantined.target;
        let Some(there) = there else { return Ok(None) };
        if !there.identity.same_but_renamed(&ingest.identity) {
            if !self.pending.is_recovering || self.moved_by_us(ingest, target)?.is_none() {
                return Ok(None);
            }
            self.return_there(work, target, &ingest.source_path)?;
            self.discard_reason(work, quarantined)?;
            return Ok(Some(Removal::Abandoned(AbandonReason::Changed)));
        }
        let (dir, _) = split(target)?;
        let (staging, _) = split(&ingest.source_path)?;
        self.staging.dirs.touch(staging, dir);
        if let ReasonWritten::Refused(error) = self.write_reason(work, ingest, quarantined)? {
            // A file must not be in quarantine without its reason.
            self.return_there(work, target, &ingest.source_path)?;
            return Ok(Some(Removal::Refused(error)));
        }
        // A rename that a crash cut off may have left both names: the old one is removed after the new one is durable.
        self.patiently(|staging| staging.dirs.sync())?;
        let renumbers = self.staging.renumbers(there.identity.device);
        let content = if renumbers { self.readable_content(target)? } else { None };
        if renumbers && content.is_none() {
            // Nothing shows whether another file at the old name is this one, so it stays, and is checked like any other.
            self.resolve_aside(work.id, Aside::Second, &ingest.source_path, None)?;
            return Ok(Some(Removal::Done));
        }
        let expected = Expected { identity: &ingest.identity, sha256: content.as_ref() };
        self.resolve_aside(work.id, Aside::Second, &ingest.source_path, Some(expected))?;
        if self.staging.dirs.look(&ingest.source_path)?.is_some_and(|old| old.identity.key() == there.identity.key()) {
            self.remove(work.id, Aside::Second, &ingest.source_path, expected, None)?;
        }
        Ok(Some(Removal::Done))
    }

    fn move_there(&mut self, work: &Work<F>, ingest: &Ingest, first: Quarantined) -> Result<Removal, Error> {
        let taken = match self.take_again(work, &ingest.source_path, &ingest.identity) {
            // That is why it goes to quarantine.
            Err(Error::Io(error)) if is_unreadable(&error) => Taken::Already,
            // Another program holds a lease for writing.
            Err(Error::Io(error)) if error.source.kind() == ErrorKind::WouldBlock => {
                Taken::Busy(AbandonReason::OpenForWriting)
            }
            taken => taken?,
        };
        if let Taken::Busy(reason) = taken {
            self.discard_reason(work, &first)?;
            return Ok(Removal::Abandoned(reason));
        }
        let content = self.content_before(&taken, ingest.identity.device);
        let mut quarantined = first;
        for attempt in 1..=NAMES_MAX {
            let (source, target) = (&ingest.source_path, &quarantined.target);
            let (is_ours, placed) = self.place_with_reason(work, ingest, &quarantined, content.as_ref())?;
            let removal = match placed {
                // Further names do no harm here: this is not a file of the warehouse.
                Placed::Done(_) | Placed::Linked => {
                    if !taken.lease().map_or(Ok(false), |file| self.fs.lease_broken(file))? {
                        return Ok(Removal::Done);
                    }
                    self.return_there(work, target, source)?;
                    Some(Removal::Abandoned(AbandonReason::OpenForWriting))
                }
                Placed::Changed | Placed::Renumbered => {
                    self.return_there(work, target, source)?;
                    Some(Removal::Abandoned(AbandonReason::Changed))
                }
                Placed::Vanished => Some(Removal::Abandoned(AbandonReason::Vanished)),
                Placed::Refused(error) => Some(Removal::Refused(error)),
                Placed::Unseen(error) => {
                    self.return_there(work, target, source)?;
                    Some(Removal::Refused(error))
                }
                Placed::NeedsCopy => Some(Removal::Refused(cannot_rename(target, libc::EXDEV))),
                Placed::Taken => None,
            };
            if is_ours {
                self.discard_reason(work, &quarantined)?;
            }
            if let Some(removal) = removal {
                return Ok(removal);
            }
            let (dir, _) = split(&quarantined.target)?;
            quarantined.target = dir.join(quarantine_name(work.file_name(), &self.journal.store(), work.id, attempt));
            self.write(vec![Record::Quarantined(quarantined.clone())])?;
        }
        Ok(Removal::Refused(cannot_rename(&quarantined.target, libc::EEXIST)))
    }

    /// The content of a file that is about to be moved, on a device that renumbers renamed files: there it decides whether
    /// the file that arrives is the same. None elsewhere, or if it cannot be read.
    fn content_before(&self, taken: &Taken<F>, device: u64) -> Option<Sha256> {
        match taken {
            Taken::Now { file, .. } if self.staging.renumbers(device) => digest_of(&self.fs, file).ok(),
            _ => None,
        }
    }

    /// Writes the reason, and moves the file beside it. The flag is true if the reason is this ingest's own, whatever the
    /// result of the move.
    fn place_with_reason(
        &mut self,
        work: &Work<F>,
        ingest: &Ingest,
        quarantined: &Quarantined,
        content: Option<&Sha256>,
    ) -> Result<(bool, Placed), Error> {
        let above = subdir::above(ingest, &quarantined.target);
        let (source, target, identity) = (&ingest.source_path, &quarantined.target, &ingest.identity);
        Ok(match self.write_reason(work, ingest, quarantined)? {
            ReasonWritten::Written => match self.staging.place(Some(work.id), source, above, target, identity) {
                // Only for the rename: after it, the file has moved.
                Err(error) if error.op == Syscall::Rename && error.is_of_the_place() => (true, Placed::Refused(error)),
                Ok(Placed::Renumbered) if self.staging.renumbers(identity.device) => match content {
                    Some(sha256) if !self.staging.holds(target, identity.size, sha256)? => (true, Placed::Changed),
                    _ => (true, Placed::Done(None)),
                },
                placed => (true, placed?),
            },
            ReasonWritten::Taken => (false, Placed::Taken),
            ReasonWritten::Refused(error) => (true, Placed::Refused(error)),
        })
    }

    /// Writes the reason. Its content is durable, its name is not yet.
    fn write_reason(
        &mut self,
        work: &Work<F>,
        ingest: &Ingest,
        quarantined: &Quarantined,
    ) -> Result<ReasonWritten, Error> {
        let path = reason_path(&quarantined.target);
        let text = reason(ingest);
        match self.staging.write_new(work.id, Aside::Reason, subdir::above(ingest, &path), &path, &text) {
            Ok(true) => Ok(ReasonWritten::Written),
            Ok(false) => Ok(ReasonWritten::Taken),
            Err(error) if error.is_of_the_place() => Ok(ReasonWritten::Refused(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes unfinished reasons that could not be removed earlier, also in the directories that quarantine has for those
    /// of staging. No ingest is QUARANTINED any more, so none is needed. The journal does not keep where it has put them:
    /// a name that has its UUID in it is its own.
    pub(in crate::pipeline) fn remove_leftover_reasons(&mut self) -> Result<(), Error> {
        let Some(path) = self.quarantine.as_ref().map(|quarantine| quarantine.dir.clone()) else { return Ok(()) };
        let mut dirs_left = QUARANTINE_DIRS_MAX;
        let removed =
            self.staging.dirs.dir(&path).and_then(|dir| self.remove_leftover_reasons_in(&dir, 0, &mut dirs_left));
        match removed {
            Err(error) if error.is_of_the_place() => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// The same in one directory, and below it. Links are not followed, and directories that cannot be read are passed over.
    fn remove_leftover_reasons_in(&self, dir: &F::Dir, depth: u16, dirs_left: &mut usize) -> fs::Result<()> {
        let store = self.journal.store();
        for entry in self.fs.list(dir)? {
            let DirEntry { name, kind } = entry?;
            let removed = if is_aside(&name, &store, Aside::Reason) {
                self.fs.unlink(dir, &name)
            } else if *dirs_left > 0
                && depth < TREE_DEPTH_MAX
                && kind.is_none_or(|kind| kind == FileKind::Directory)
                // No directory of staging that is entered is hidden.
                && !name.as_encoded_bytes().starts_with(b".")
                && let Ok(below) = self.fs.open_subdir(dir, &name)
            {
                *dirs_left -= 1;
                self.remove_leftover_reasons_in(&below, depth + 1, dirs_left)
            } else {
                continue;
            };
            if let Err(error) = removed
                && !error.is_of_the_place()
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes the reason, and its unfinished file if an earlier run left one. One that exists and cannot be removed ends the
    /// process: the ingest stays open, and the next start removes it. A reason without a file would stay for good. Only a
    /// place that cannot be opened or takes nothing is left as it is: it must not end the process at each start.
    fn discard_reason(&mut self, work: &Work<F>, quarantined: &Quarantined) -> Result<(), Error> {
        let path = reason_path(&quarantined.target);
        let (dir, _) = split(&path)?;
        match twice(fs::Error::is_of_the_place, || self.staging.dirs.dir(dir)) {
            Err(error) if error.is_of_the_place() => return Ok(()),
            dir => drop(dir?),
        }
        self.staging.dirs.touch(dir, dir);
        let unfinished = self.staging.aside_path(work.id, Aside::Reason, &path)?;
        for path in [&unfinished, &path] {
            match self.patiently(|staging| twice(|_| true, || staging.dirs.discard(path))) {
                // Where nothing can be written, no reason was written.
                Err(Error::Io(error)) if is_unwritable(&error) => {}
                Err(Error::Io(error))
                    if error.is_of_the_place() && matches!(self.staging.dirs.look(path), Ok(None)) => {}
                discarded => discarded?,
            }
        }
        Ok(())
    }
}

/// The place takes nothing: an operator has to change that, and until then it has not taken a reason either.
fn is_unwritable(error: &fs::Error) -> bool {
    error.is_denied() || matches!(error.source.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory)
}

fn cannot_rename(path: &std::path::Path, errno: i32) -> fs::Error {
    fs::Error { op: Syscall::Rename, path: path.to_path_buf(), source: std::io::Error::from_raw_os_error(errno) }
}
