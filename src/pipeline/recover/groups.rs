//! Groups that a crash left half done: all their files go on to MOVED, or all are put back.
//!
//! Invariants:
//! - As long as none of its files is MOVED, no line of a group is written, so it can be put back.
//! - The MOVED of its files are written in one frame, so either none is MOVED or all are.
//! - If it is unknown whether a file has arrived, nothing is decided: all stay as they are for the next start.

use std::sync::Arc;

use super::{Committer, Dropped, Error, Recovered, Whereabouts, Work, work_of};
use crate::fs::Fs;
use crate::journal::groups::OpenGroup;
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, Copy};
use crate::pipeline::commit::lake::is_for_lake;
use crate::pipeline::staging::names::Aside;
use crate::types::{IngestId, Lsn};

/// Where the files of a group are.
struct Located<F: Fs> {
    arrived: Vec<Work<F>>,
    ready: Vec<Work<F>>,
    /// Files that cannot be moved.
    dropped: Vec<Dropped<F>>,
    /// Files that were written to in the warehouse, and go back.
    spoilt: Vec<(Work<F>, AbandonReason)>,
    is_uncertain: bool,
}

impl<F: Fs> Committer<F> {
    /// Finishes the moves of every group, or puts them back. Returns the copies that are still needed.
    pub(super) fn recover_groups(&mut self, recovered: &mut Recovered) -> Result<Vec<Copy>, Error> {
        let mut unseen = Vec::new();
        let groups: Vec<Arc<OpenGroup>> = self.index.groups().cloned().collect();
        for group in groups {
            self.staging.dirs.forget_staged();
            let open: Vec<Ingest> = self.members(&group).cloned().collect();
            if open.iter().any(is_for_lake) {
                recovered.counts.abandoned += self.recover_group_in_lake(&group, open)?;
                continue;
            }
            if open.is_empty() || open.iter().any(|ingest| ingest.state == FileState::Moved) {
                continue;
            }
            let is_whole =
                open.len() == group.group.moving.len() && open.iter().all(|ingest| ingest.state == FileState::Hashed);
            let located = self.locate_group(&open)?;
            if located.is_uncertain {
                unseen.extend(open.into_iter().filter_map(|ingest| self.leave(ingest)));
                continue;
            }
            let abandoned = self.finish_group(located, is_whole)?;
            recovered.counts.abandoned += abandoned;
            // A file that could not go back keeps its group open.
            let left: Vec<Ingest> = self.members(&group).filter(|it| it.state == FileState::Hashed).cloned().collect();
            unseen.extend(left.into_iter().filter_map(|ingest| self.leave(ingest)));
        }
        Ok(unseen)
    }

    /// The members that are open.
    pub(super) fn members(&self, group: &OpenGroup) -> impl Iterator<Item = &Ingest> {
        let lsn = group.lsn;
        let is_its = move |ingest: &&Ingest| ingest.group.as_ref().is_some_and(|of| of.lsn == lsn);
        group.group.moving.iter().filter_map(|id| self.ingest(*id).ok()).filter(is_its)
    }

    fn locate_group(&mut self, open: &[Ingest]) -> Result<Located<F>, Error> {
        let (arrived, ready, dropped, spoilt) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut located = Located { arrived, ready, dropped, spoilt, is_uncertain: false };
        for ingest in open {
            let mut work = work_of(ingest)?;
            if ingest.state != FileState::Hashed {
                located.dropped.push(Dropped { work, reason: AbandonReason::Group, error: None });
                continue;
            }
            match self.whereabouts(ingest, &mut work)? {
                Whereabouts::Arrived => located.arrived.push(work),
                Whereabouts::Ready => located.ready.push(work),
                // It has to be hashed again, so the group starts again.
                Whereabouts::Again => {
                    located.dropped.push(Dropped { work, reason: AbandonReason::NeedsCopy, error: None });
                }
                Whereabouts::Spoilt(reason) => located.spoilt.push((work, reason)),
                Whereabouts::Lost(reason) => located.dropped.push(Dropped { work, reason, error: None }),
                Whereabouts::Refused(error) => {
                    located.dropped.push(Dropped { work, reason: AbandonReason::Failed, error: Some(error) });
                }
                Whereabouts::Unseen(error) => {
                    self.report_unseen(ingest, &error);
                    located.is_uncertain = true;
                }
            }
        }
        Ok(located)
    }

    /// Moves the rest of a group, or puts it back. Returns how many files were abandoned.
    fn finish_group(&mut self, located: Located<F>, is_whole: bool) -> Result<u64, Error> {
        let Located { mut arrived, mut ready, mut dropped, spoilt, .. } = located;
        let count = arrived.len() + ready.len();
        let is_intact = |dropped: &[Dropped<F>]| is_whole && spoilt.is_empty() && dropped.is_empty();
        if is_intact(&dropped) {
            let (placed, not_placed) = self.place_all(std::mem::take(&mut ready))?;
            arrived.extend(placed);
            dropped.extend(not_placed);
        }
        arrived = self.with_one_name(arrived, &mut dropped)?;
        if is_intact(&dropped) && arrived.len() == count {
            arrived = self.confirm(arrived, &mut dropped)?;
        }
        if is_intact(&dropped) && arrived.len() == count {
            self.record_and_tell(&arrived, Vec::new())?;
            return Ok(0);
        }
        let others = arrived.into_iter().map(|work| (work, AbandonReason::Group));
        for (work, reason) in others.chain(spoilt) {
            if self.put_back(work.id)? {
                dropped.push(Dropped { work, reason, error: None });
            }
        }
        dropped.extend(ready.into_iter().map(|work| Dropped { work, reason: AbandonReason::Group, error: None }));
        let abandoned = dropped.len() as u64;
        self.record_and_tell(&[], dropped)?;
        Ok(abandoned)
    }

    /// Removes the files of the groups that are listed by now, and gives back those of the others. Returns the groups that
    /// are done once their files are. Files of groups in a lake are removed by [`Committer::end_groups_of_lake`].
    pub(super) fn end_groups(&mut self) -> Result<Vec<Lsn>, Error> {
        let groups: Vec<Arc<OpenGroup>> = self.index.groups().cloned().collect();
        let mut done = Vec::new();
        for group in groups {
            let states: Vec<FileState> = self.members(&group).map(|ingest| ingest.state).collect();
            if states.iter().any(|state| *state != FileState::Moved) {
                continue;
            }
            let is_in_lake = self.has_lake();
            if states.is_empty() && !(is_in_lake && group.group.moving.is_empty()) {
                // Nothing shows whether its files were listed or put back. If they were listed, the next scan finds that
                // all their contents are there.
                self.resolve_aside(IngestId(group.lsn.0), Aside::Sidecar, &group.group.path, None)?;
            } else if is_in_lake {
                self.recover_listed_group(&group)?;
            } else {
                self.metrics.group_ingested(&group.group);
                let removed = self.remove_group_file(&group)?;
                self.report_refused(&group.group.path, &removed);
            }
            done.push(group.lsn);
        }
        self.adopt_groups_in_lake(&done);
        Ok(done)
    }
}
