//! Finishes what a crash left half done. The daemon's start and `replay` both use it. As soon as a file is where the
//! journal says, recovery continues with the committer's own code.
//!
//! | journal says | on the disk | what is done |
//! |---|---|---|
//! | DISCOVERED | source unchanged, same directories | hashed again, same id and time |
//! | DISCOVERED | anything else | ABANDONED |
//! | HASHED | the file (or its copy) is at its warehouse path | goes on to MOVED |
//! | HASHED | the copy exists, source unchanged or gone | the copy is placed, goes on to MOVED |
//! | HASHED | the copy is gone, source unchanged | hashed and copied again |
//! | HASHED | the source exists, unchanged | the source is placed, goes on to MOVED |
//! | HASHED | the file's inode is at the warehouse path, but was written to, or has a further name given by an upstream | put back, ABANDONED; stays HASHED if it cannot be put back |
//! | HASHED | the warehouse path cannot be checked, but the source, with no second name, or its copy exists | ABANDONED |
//! | HASHED | the same, and neither exists, or the source has a second name | stays HASHED for the next start |
//! | HASHED | the source cannot be checked, and another file is at the warehouse path | stays HASHED for the next start |
//! | HASHED | none of these | ABANDONED; the file at the warehouse path may be there by mistake: see `recover/mistaken.rs` |
//! | GROUP, none of its files MOVED | all are HASHED, and each has arrived or can be moved | all go on to MOVED, in one frame |
//! | GROUP, none of its files MOVED | one of them may have arrived, and cannot be checked | all stay for the next start |
//! | GROUP, none of its files MOVED | anything else | those that have arrived are put back; all are ABANDONED |
//! | GROUP | its files are MOVED | after their lines, the group file is removed; GROUP_DONE |
//! | MOVED | | its line is completed, or written if it is missing; cleaned up; MANIFESTED |
//! | SKIPPED_DUPLICATE | not done yet | removed or moved away, as recorded |
//!
//! Even where inode and times say that a HASHED file is the one that was hashed, its content is checked, except for a
//! copy that has no name in the warehouse yet: no other process writes to it.
//!
//! Invariant: every effect here can be interrupted and begun again, so recovering twice equals recovering once.

mod doubt;
mod foresee;
mod groups;
mod lake;
mod mistaken;
mod strays;

use std::sync::Arc;

use super::commit::{Committer, Dropped, Work};
use super::dirs::split;
use super::sidecar::is_older;
use super::staging::names::Aside;
use super::staging::{Expected, Removed};
use super::{Error, Outcome, Settled, hash, subdir};
use crate::fs::{self, Fs, Lease, Open};
use crate::journal::ingest::{Ingest, Target};
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, Abandoned, Copy, Record};
use crate::metrics::RecoveryCounts;
use crate::types::{FileIdentity, IngestId};

pub use foresee::foresee;

/// What recovery did.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Counts.
    pub counts: RecoveryCounts,
    /// Files that have to be hashed again.
    pub resumed: Vec<(IngestId, Settled)>,
}

/// Where the content of a HASHED file is.
enum Whereabouts {
    /// At its warehouse path.
    Arrived,
    /// At a place from which it can be moved.
    Ready,
    /// Only at its source; it has to be hashed again.
    Again,
    /// At its warehouse path, but it was written to since, or a writer has it open.
    Spoilt(AbandonReason),
    /// Nowhere.
    Lost(AbandonReason),
    /// Its place is known, but it cannot be moved.
    Refused(fs::Error),
    /// It may be at its warehouse path, which cannot be checked.
    Unseen(fs::Error),
}

/// The result of removing a file's name in staging when it has one in the warehouse as well.
enum SecondName {
    /// The file has its name in the warehouse only.
    Gone,
    /// The file has its name in staging only.
    Stays(AbandonReason),
    /// The file had to go back, and could not.
    NotPutBack,
}

/// The files at the three places where a HASHED file's content may be.
#[derive(Default)]
struct Observed {
    arrived: Option<FileIdentity>,
    source: Option<FileIdentity>,
    copy: Option<FileIdentity>,
    /// Why the warehouse path cannot be checked.
    unseen: Option<fs::Error>,
    /// Why the source, or the copy, cannot be checked.
    refused: Option<fs::Error>,
    /// The source has a second name.
    has_two_names: bool,
}

impl Observed {
    /// Decides where the file is, without knowing its warehouse path.
    fn without_the_warehouse(&self, ingest: &Ingest, target: &Target, error: fs::Error) -> Whereabouts {
        let is_elsewhere = match &target.copy {
            // The source of a copy stays until the end, so it proves nothing.
            Some(_) => self.copy.is_some(),
            None => self.source.is_some_and(|source| source.same_but_renamed(&ingest.identity)),
        };
        // The copy may be the only one left.
        let is_last = target.copy.is_some() && self.source.is_none();
        match is_elsewhere && !is_last {
            // Then it was not moved, and the next scan finds it again. A file with a second name may be in the warehouse
            // as well: a rename that was cut off leaves both.
            true if !self.has_two_names => Whereabouts::Refused(error),
            _ => Whereabouts::Unseen(error),
        }
    }
}

/// The HASHED rows of the table above.
fn judge(ingest: &Ingest, target: &Target, seen: &Observed) -> Whereabouts {
    let moving = target.copy.as_ref().map_or(&ingest.identity, |copy| &copy.identity);
    match &seen.arrived {
        Some(arrived) if arrived.same_but_renamed(moving) => return Whereabouts::Arrived,
        Some(arrived) if arrived.key() == moving.key() => return Whereabouts::Spoilt(AbandonReason::Changed),
        _ => {}
    }
    let copy_is_there =
        matches!((&target.copy, &seen.copy), (Some(copy), Some(seen)) if seen.same_but_renamed(&copy.identity));
    match seen.source {
        Some(source) if source != ingest.identity => Whereabouts::Lost(AbandonReason::Changed),
        _ if copy_is_there => Whereabouts::Ready,
        Some(_) if target.copy.is_some() => Whereabouts::Again,
        Some(_) => Whereabouts::Ready,
        None => Whereabouts::Lost(AbandonReason::Vanished),
    }
}

impl<F: Fs> Committer<F> {
    /// Finishes every half-done file. Files that must be hashed again are returned, not hashed.
    pub fn recover(&mut self) -> Result<Recovered, Error> {
        self.pending.is_recovering = true;
        // Files may come from the staging directories of earlier settings.
        let inputs: Vec<_> = self.index.open().map(|ingest| ingest.settings.input.clone()).collect();
        inputs.iter().for_each(|input| self.staging.dirs.stage(input, None));
        self.resolve_strays()?;
        let mut recovered = Recovered::default();
        let mut unseen = self.recover_groups(&mut recovered)?;
        self.resume_discovered(&mut recovered)?;
        unseen.extend(self.finish_hashed(&mut recovered)?);
        self.finish_in_lake(&mut recovered)?;
        self.finish_moved(&mut recovered)?;
        self.pending.is_recovering = false;
        self.flush()?;
        recovered.counts.resumed = recovered.resumed.len() as u64;
        self.remove_leftover_copies(&unseen)?;
        self.remove_leftover_reasons()?;
        self.mend_index();
        Ok(recovered)
    }

    /// DISCOVERED: prepared to be hashed again, or abandoned.
    fn resume_discovered(&mut self, recovered: &mut Recovered) -> Result<(), Error> {
        let mut records = Vec::new();
        for ingest in self.open_alone(FileState::Discovered) {
            match self.resume_source(&ingest, &recovered.resumed)? {
                Ok(settled) => recovered.resumed.push((ingest.id, settled)),
                Err(reason) => {
                    self.metrics.file_abandoned(&ingest.source_path, reason);
                    records.push(Record::Abandoned(Abandoned { ingest_id: ingest.id, reason }));
                }
            }
        }
        recovered.counts.abandoned += records.len() as u64;
        self.write(records)
    }

    /// HASHED: becomes MOVED, is abandoned, or is left for the next start. Returns the copies of the files that are left.
    fn finish_hashed(&mut self, recovered: &mut Recovered) -> Result<Vec<Copy>, Error> {
        let (mut placed, mut to_place, mut dropped, mut unseen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ingest in self.open_in_dirs(FileState::Hashed) {
            self.staging.dirs.forget_staged();
            let mut work = work_of(&ingest)?;
            match self.whereabouts(&ingest, &mut work)? {
                Whereabouts::Arrived => placed.push(work),
                Whereabouts::Ready => to_place.push(work),
                Whereabouts::Again => match self.resume_source(&ingest, &recovered.resumed)? {
                    Ok(settled) => recovered.resumed.push((ingest.id, settled)),
                    Err(reason) => dropped.push(Dropped { work, reason, error: None }),
                },
                Whereabouts::Spoilt(reason) => {
                    if self.put_back(ingest.id)? {
                        dropped.push(Dropped { work, reason, error: None });
                    }
                }
                Whereabouts::Lost(reason) => dropped.push(Dropped { work, reason, error: None }),
                Whereabouts::Refused(error) => {
                    dropped.push(Dropped { work, reason: AbandonReason::Failed, error: Some(error) });
                }
                Whereabouts::Unseen(error) => {
                    self.report_unseen(&ingest, &error);
                    unseen.extend(self.leave(ingest));
                }
            }
        }
        let (now_placed, not_placed) = self.place_all(to_place)?;
        placed.extend(now_placed);
        dropped.extend(not_placed);
        recovered.counts.abandoned += dropped.len() as u64;
        self.settle_moves(placed, dropped)?;
        Ok(unseen)
    }

    /// MOVED, SKIPPED_DUPLICATE and QUARANTINED: taken to the end.
    fn finish_moved(&mut self, recovered: &mut Recovered) -> Result<(), Error> {
        let mut moved = self.open_in(FileState::Moved).iter().map(work_of).collect::<Result<Vec<_>, Error>>()?;
        self.write_lines(&mut moved, true)?;
        // First the groups: those in a lake add their duplicates.
        let done = self.end_groups()?;
        let to_clear = [FileState::SkippedDuplicate, FileState::Quarantined].map(|state| self.open_in(state)).concat();
        let duplicates: Vec<_> = to_clear.iter().map(work_of).collect::<Result<_, _>>()?;
        recovered.counts.completed = moved.len() as u64;
        recovered.counts.cleared = duplicates.len() as u64;
        self.finish(moved, duplicates, &mut Vec::new())?;
        self.end_groups_of_lake(&done)?;
        self.pending.closings.extend(done.into_iter().map(Record::GroupDone));
        Ok(())
    }

    /// Writes MOVED for the files that have arrived.
    fn settle_moves(&mut self, placed: Vec<Work<F>>, mut dropped: Vec<Dropped<F>>) -> Result<(), Error> {
        let placed = self.with_one_name(placed, &mut dropped)?;
        let moved = self.confirm(placed, &mut dropped)?;
        self.record_and_tell(&moved, dropped)
    }

    /// The files that have arrived and have no second name.
    fn with_one_name(&mut self, placed: Vec<Work<F>>, dropped: &mut Vec<Dropped<F>>) -> Result<Vec<Work<F>>, Error> {
        // Before the leases are checked: a writer could still open a file in the warehouse by its second name.
        self.patiently(|staging| staging.dirs.sync())?;
        self.remove_second_names(placed, dropped)
    }

    /// Writes MOVED and ABANDONED, and logs what failed.
    fn record_and_tell(&mut self, moved: &[Work<F>], dropped: Vec<Dropped<F>>) -> Result<(), Error> {
        let mut reports = Vec::new();
        self.make_absence_durable(&dropped)?;
        self.record_moves(moved, dropped, &mut reports)?;
        for report in reports {
            if let Outcome::Refused(refusal) = &report.outcome
                && let Some(error) = refusal.error()
            {
                let path = self.settings.input.join(&*report.name);
                self.metrics.file_failed(&path, refusal.failure_reason(Some(&self.settings.input)), &error, None);
            }
        }
        Ok(())
    }

    /// The source as a settled file, to be hashed again, if it is unchanged and the directories are still those of the
    /// settings under which it was found.
    fn resume_source(
        &mut self,
        ingest: &Ingest,
        resumed: &[(IngestId, Settled)],
    ) -> Result<Result<Settled, AbandonReason>, Error> {
        let (known, now) = (&ingest.settings, &self.settings);
        if known.input != now.input || known.warehouse != now.warehouse || known.manifests != now.manifests {
            return Ok(Err(AbandonReason::SettingsChanged));
        }
        // Two open records of one file would have it hashed and reported twice.
        if resumed.iter().any(|(_, settled)| settled.identity.key() == ingest.identity.key()) {
            return Ok(Err(AbandonReason::Changed));
        }
        // Whatever the layout says now: the directory is decided when the file is HASHED.
        let partition = ingest.target.as_ref().and_then(|target| Some(target.warehouse_path.parent()?.to_path_buf()));
        let there = match self.staging.dirs.look(&ingest.source_path) {
            Err(error) if error.spares_others() => return Ok(Err(AbandonReason::Failed)),
            there => there?,
        };
        Ok(match there {
            None => Err(AbandonReason::Vanished),
            Some(stat) if stat.identity != ingest.identity => Err(AbandonReason::Changed),
            Some(stat) => Ok(Settled {
                name: Arc::from(subdir::name_in(&now.input, &ingest.source_path)),
                identity: ingest.identity,
                links: stat.links,
                sidecar: ingest.sidecar.as_ref().map(|sidecar| sidecar.identity),
                orphaned: ingest.sidecar.as_ref().is_some_and(|sidecar| is_older(&sidecar.identity, stat.born)),
                sidecar_name: ingest.sidecar.as_ref().and_then(|sidecar| Some(sidecar.path.file_name()?.to_owned())),
                complete_at: ingest.discovered_at,
                ticket: 0,
                failures: 0,
                failing: None,
                group: None,
                partition,
            }),
        })
    }

    /// Finishes what a link may have left, then locates the file.
    fn find(&mut self, ingest: &Ingest) -> Result<Whereabouts, Error> {
        if let Some(target) = ingest.target.as_ref().filter(|target| target.copy.is_none()) {
            match self.staging.resolve_link(ingest.id, &ingest.source_path, &target.warehouse_path) {
                Err(error) if error.spares_others() && !error.is_not_found() => return Ok(Whereabouts::Unseen(error)),
                resolved => resolved?,
            }
        }
        self.locate(ingest)
    }

    /// Checks the three places.
    fn see(&mut self, ingest: &Ingest, target: &Target) -> Result<Observed, Error> {
        let mut seen = Observed::default();
        match self.look_in_warehouse(&target.warehouse_path) {
            Err(error) if error.spares_others() => seen.unseen = Some(error),
            stat => seen.arrived = stat?.map(|stat| stat.identity),
        }
        match self.look_at_source(ingest) {
            // If the whole staging directory is missing, the error is not about this file.
            Err(error) if error.spares_others() && !error.is_not_found() => seen.refused = Some(error),
            source => {
                let source = source?;
                seen.has_two_names = source.is_some_and(|stat| stat.links > 1);
                seen.source = source.map(|stat| stat.identity);
            }
        }
        match target.copy.as_ref().map(|copy| self.staging.dirs.look(&copy.path)) {
            Some(Err(error)) if error.spares_others() => seen.refused = Some(error),
            copy => seen.copy = copy.transpose()?.flatten().map(|stat| stat.identity),
        }
        Ok(seen)
    }

    fn locate(&mut self, ingest: &Ingest) -> Result<Whereabouts, Error> {
        let Some(target) = &ingest.target else {
            return Err(Error::Transition("a hashed file has no target", ingest.id));
        };
        let mut seen = self.see(ingest, target)?;
        let mut place = judge(ingest, target, &seen);
        match (seen.unseen.take(), seen.refused.take()) {
            (Some(error), _) => return Ok(seen.without_the_warehouse(ingest, target, error)),
            (None, Some(error)) if !matches!(place, Whereabouts::Arrived | Whereabouts::Spoilt(_)) => {
                if !self.has_arrived(ingest, target)? {
                    // The file there may have been moved by mistake, which only a check of its old name could show.
                    let is_taken = seen.arrived.is_some() && target.copy.is_none();
                    return Ok(if is_taken { Whereabouts::Unseen(error) } else { Whereabouts::Refused(error) });
                }
                place = Whereabouts::Arrived;
            }
            _ => {}
        }
        // Device numbers may change at a reboot, and inode numbers on some file systems: the content decides.
        if matches!(place, Whereabouts::Lost(_) | Whereabouts::Again) && self.has_arrived(ingest, target)? {
            place = Whereabouts::Arrived;
        }
        if matches!(place, Whereabouts::Arrived) {
            // A killed process may have made the partition, or renamed the file, without syncing either.
            let (partition, _) = split(&target.warehouse_path)?;
            let (staging, _) = split(&ingest.source_path)?;
            self.staging.dirs.made_dir(&ingest.settings.warehouse, partition)?;
            self.staging.dirs.touch(staging, partition);
        }
        Ok(place)
    }

    /// Guards against writers: the lease ended with the process that held it, so a writer may have opened the file since,
    /// and closed it again. A copy needs no lease of its own, but its source must still be complete.
    fn guard(&mut self, ingest: &Ingest, work: &mut Work<F>, place: Whereabouts) -> Result<Whereabouts, Error> {
        let copied = ingest.target.as_ref().is_some_and(|target| target.copy.is_some());
        let path = match (&place, &ingest.target) {
            (Whereabouts::Arrived, Some(target)) if copied => return self.guard_copy(ingest, target),
            (Whereabouts::Arrived, Some(target)) if !copied => &target.warehouse_path,
            (Whereabouts::Ready, _) => &ingest.source_path,
            _ => return Ok(place),
        };
        let (dir, name) = split(path)?;
        let dir = self.staging.dirs.dir(dir)?;
        let file = match self.fs.open(&dir, name, Open::Read) {
            // The source of a copy may be gone; and a process that may not read a file may still rename it.
            Err(error) if error.is_not_to_be_read() => return Ok(place),
            // One bad file must not keep all others from being ingested, at this start and every later one.
            Err(error) if error.spares_others() => return Ok(self.unreadable(ingest, &place, &error)),
            file => file?,
        };
        if matches!(place, Whereabouts::Ready) && !copied && self.fs.stat_file(&file)?.identity != ingest.identity {
            // Replaced since the check: the file there now was not hashed.
            return Ok(Whereabouts::Lost(AbandonReason::Changed));
        }
        let spoilt = |reason| match place {
            Whereabouts::Arrived => Whereabouts::Spoilt(reason),
            _ => Whereabouts::Lost(reason),
        };
        let lease = match self.fs.lease(&file) {
            Err(error) if error.spares_others() => Lease::Unsupported,
            lease => lease?,
        };
        if lease == Lease::Writer {
            return Ok(spoilt(AbandonReason::OpenForWriting));
        }
        if copied {
            return Ok(place);
        }
        // After the process ended, an upstream may have written to the file, and a power cut may have kept the new bytes
        // but lost the new mtime and ctime: data reaches the disk before the inode. So the content decides.
        let sha256 = ingest.target.as_ref().map(|target| target.sha256);
        match hash::digest_of(&self.fs, &file) {
            Ok(found) if Some(found) == sha256 => {}
            Ok(_) => return Ok(spoilt(AbandonReason::Changed)),
            Err(error) => return Ok(self.unreadable(ingest, &place, &error)),
        }
        // While it is open, its inode number is not reused, so no other file can be taken for it.
        (work.held, work.leased) = (Some(file), lease == Lease::Held);
        Ok(place)
    }

    /// The file at the source path. A missing staging directory is an error: perhaps it is not mounted, and then nothing
    /// is known about its files.
    fn look_at_source(&mut self, ingest: &Ingest) -> fs::Result<Option<fs::Stat>> {
        let (dir, name) = split(&ingest.source_path)?;
        match self.staging.dirs.if_there(dir)? {
            Some(dir) => self.fs.stat(&dir, name),
            None => Ok(None),
        }
    }

    /// A rename that a crash cut off, by link and unlink or not, may have left both names. The new one is durable by now,
    /// so the old one is removed. A file that was written to by its old name until then goes back, and so does one with a
    /// further name.
    fn remove_second_names(
        &mut self,
        placed: Vec<Work<F>>,
        dropped: &mut Vec<Dropped<F>>,
    ) -> Result<Vec<Work<F>>, Error> {
        let mut left = Vec::with_capacity(placed.len());
        for work in placed {
            match self.remove_second_name(&work) {
                Ok(SecondName::Gone) => left.push(work),
                Ok(SecondName::Stays(reason)) => dropped.push(Dropped { work, reason, error: None }),
                Ok(SecondName::NotPutBack) => {}
                // A process could write to the file by a name that cannot be checked.
                Err(Error::Io(error)) if error.spares_others() => {
                    if self.put_back(work.id)? {
                        dropped.push(Dropped { work, reason: AbandonReason::Failed, error: Some(error) });
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.staging.dirs.sync()?;
        Ok(left)
    }

    fn remove_second_name(&mut self, work: &Work<F>) -> Result<SecondName, Error> {
        let ingest = self.ingest(work.id)?.clone();
        let Some(target) = &ingest.target else { return Ok(SecondName::Gone) };
        let (from, moving) = match &target.copy {
            Some(copy) => (&copy.path, &copy.identity),
            None => (&ingest.source_path, &ingest.identity),
        };
        // First the file that an earlier run set aside.
        let expected = Expected { identity: moving, sha256: Some(&target.sha256) };
        self.resolve_aside(work.id, Aside::Second, from, Some(expected))?;
        let (old, new) = (self.staging.dirs.look(from)?, self.look_in_warehouse(&target.warehouse_path)?);
        if let (Some(old), Some(new)) = (old, new)
            && old.identity.key() == new.identity.key()
            && !matches!(self.remove(work.id, Aside::Second, from, expected, work.lease())?, Removed::Done)
            && self.staging.dirs.look(from)?.is_some_and(|old| old.identity.key() == new.identity.key())
        {
            // It was written to by its name in staging, or a writer has it open: that name stays.
            self.staging.unlink_second_name(&target.warehouse_path)?;
            return Ok(SecondName::Stays(AbandonReason::Changed));
        }
        let now = self.staging.dirs.look_afresh(&target.warehouse_path)?;
        let reason = match now.filter(|now| now.identity.key() == moving.key()) {
            Some(now) if !now.identity.same_but_renamed(moving) => AbandonReason::Changed,
            // An upstream has given it a further name, through which it could write to it.
            Some(now) if now.links > 1 && target.copy.is_none() => AbandonReason::NeedsCopy,
            _ => return Ok(SecondName::Gone),
        };
        Ok(if self.put_back(work.id)? { SecondName::Stays(reason) } else { SecondName::NotPutBack })
    }
}

fn work_of<F: Fs>(ingest: &Ingest) -> Result<Work<F>, Error> {
    let name = subdir::name_in(&ingest.settings.input, &ingest.source_path);
    Ok(Work {
        id: ingest.id,
        name: Arc::from(name),
        key: ingest.identity.key(),
        held: None,
        leased: false,
        there: None,
        parts: Vec::new(),
    })
}
