//! HASHED files whose warehouse is a lake, and their groups: the log says what became of them.
//!
//! | the log says | what is done |
//! |---|---|
//! | CLAIMED is recorded | when its line is there, MOVED, and the source is removed: whatever became of the content since |
//! | an entry claims the content for this file | CLAIMED; when its line is there, MOVED, and the source is removed |
//! | an entry claims it for another file, or none does | source unchanged: hashed again, same id and time; else ABANDONED |
//! | an entry claims the files of a group | as for each of them; when all are MOVED, the group file is removed |
//! | none does | all sources unchanged: an entry is made for them, with the same ids; else all are ABANDONED |
//!
//! Invariant: a request of the process that died may still arrive. The file keeps its id, so whatever that request brings
//! is this file's. The files of a group keep theirs together.

use std::sync::Arc;

use super::{Committer, Dropped, Error, Recovered, Whereabouts, Work, work_of};
use crate::fs::Fs;
use crate::journal::groups::OpenGroup;
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::journal::record::AbandonReason;
use crate::pipeline::commit::lake::on_its_way::OnItsWay;
use crate::pipeline::commit::lake::{Verdict, is_for_lake};
use crate::pipeline::subdir;
use crate::types::Lsn;

impl<F: Fs> Committer<F> {
    /// HASHED: becomes MOVED, waits for its line, is hashed again, or is abandoned.
    pub(super) fn finish_in_lake(&mut self, recovered: &mut Recovered) -> Result<(), Error> {
        let (mut records, mut claimed, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for ingest in self.open_alone(FileState::Hashed).into_iter().filter(is_for_lake) {
            let work = work_of(&ingest)?;
            if ingest.claimed.is_some() {
                // Also if the lake has forgotten the content since, and another file brought it again.
                claimed.push(work);
                continue;
            }
            match self.verdict(ingest.id)? {
                Verdict::Ours(claim, url) => {
                    self.record_claim(claim, &url, &mut records)?;
                    claimed.push(work);
                }
                Verdict::Another | Verdict::Nobody => match self.resume_source(&ingest, &recovered.resumed)? {
                    Ok(settled) => recovered.resumed.push((ingest.id, settled)),
                    Err(reason) => dropped.push(Dropped { work, reason, error: None }),
                },
            }
        }
        self.write(records)?;
        self.pending.claimed.extend(claimed);
        if self.has_lake() {
            self.help_lake()?;
        }
        let listed = self.take_listed()?;
        recovered.counts.abandoned += dropped.len() as u64;
        self.record_and_tell(&listed, dropped)
    }

    /// GROUP, of which `open` are open. Returns how many files were abandoned.
    pub(super) fn recover_group_in_lake(&mut self, group: &OpenGroup, open: Vec<Ingest>) -> Result<u64, Error> {
        let is_whole = open.len() == group.group.moving.len();
        let (moved, others): (Vec<_>, Vec<_>) = open.into_iter().partition(|ingest| ingest.state == FileState::Moved);
        if self.record_group_claim(&others.iter().map(|ingest| ingest.id).collect::<Vec<_>>())? || others.is_empty() {
            let claimed = others.iter().map(work_of).collect::<Result<Vec<_>, Error>>()?;
            self.pending.claimed.extend(claimed);
            return Ok(0);
        }
        if let Some(torn) = others.first().filter(|_| !moved.is_empty()) {
            return Err(Error::Transition("a group is claimed in part", torn.id));
        }
        let again = match is_whole {
            true => self.hold_again(&others)?,
            false => None,
        };
        match again {
            Some(works) => self.claim_group(OnItsWay::again(group, self.name_of(group)), works, &mut Vec::new()),
            None => {
                let dropped =
                    |ingest: &Ingest| Ok(Dropped { work: work_of(ingest)?, reason: AbandonReason::Group, error: None });
                let dropped: Vec<_> = others.iter().map(dropped).collect::<Result<_, Error>>()?;
                let abandoned = dropped.len() as u64;
                self.record_and_tell(&[], dropped)?;
                Ok(abandoned)
            }
        }
    }

    /// Opens the sources of a group again. None if one of them is not the file that was hashed.
    fn hold_again(&mut self, files: &[Ingest]) -> Result<Option<Vec<Work<F>>>, Error> {
        let mut works = Vec::with_capacity(files.len());
        for ingest in files {
            if ingest.state != FileState::Hashed || ingest.settings.input != self.settings.input {
                return Ok(None);
            }
            let mut work = work_of(ingest)?;
            let place = self.guard_or_doubt(ingest, &mut work, Whereabouts::Ready)?;
            if !matches!(place, Whereabouts::Ready) || work.held.is_none() {
                return Ok(None);
            }
            works.push(work);
        }
        Ok(Some(works))
    }

    fn name_of<'a>(&self, group: &'a OpenGroup) -> &'a std::ffi::OsStr {
        subdir::name_in(&self.settings.input, &group.group.path)
    }

    /// Removes the files of those of these groups whose files are listed, after their own files.
    pub(super) fn end_groups_of_lake(&mut self, done: &[Lsn]) -> Result<(), Error> {
        let has_lake = self.has_lake();
        let is_listed = |group: &&Arc<OpenGroup>| {
            let has_members = group.group.moving.is_empty() || self.members(group).any(is_for_lake);
            has_lake && done.contains(&group.lsn) && has_members
        };
        let listed: Vec<Arc<OpenGroup>> = self.index.groups().filter(is_listed).cloned().collect();
        for group in &listed {
            let removed = self.remove_group_file(group)?;
            self.report_refused(&group.group.path, &removed);
        }
        if !listed.is_empty() {
            self.patiently(|staging| staging.dirs.sync())?;
        }
        Ok(())
    }

    /// The groups whose files wait for their lines end when they are there.
    pub(super) fn adopt_groups_in_lake(&mut self, done: &[Lsn]) {
        let waits = |group: &&Arc<OpenGroup>| !done.contains(&group.lsn) && self.members(group).any(is_for_lake);
        let again = |group: &Arc<OpenGroup>| OnItsWay::again(group, self.name_of(group));
        let waiting = self.index.groups().filter(waits).map(again).collect();
        self.pending.groups_in_lake = waiting;
    }
}
