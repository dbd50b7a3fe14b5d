//! Gathers the files of each group, which workers hash one by one.
//!
//! Invariants:
//! - A group goes on only when all its files are hashed and have their sums; if one is refused, all are.
//! - It holds no more files than are in flight.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Committer;
use crate::fs::Fs;
use crate::pipeline::group::Group;
use crate::pipeline::{Error, HashResult, HashedFile, Outcome, Refusal, Report};

/// The groups whose files are in flight.
pub(super) struct Groups<F: Fs> {
    /// By the group's ticket.
    partial: HashMap<u64, Gathered<F>>,
    /// Complete ones.
    pub(super) ready: Vec<Gathered<F>>,
    /// Questions that are not answered.
    pub(super) asked: Vec<Arc<Group>>,
}

/// The files of one group.
pub(super) struct Gathered<F: Fs> {
    pub(super) group: Arc<Group>,
    pub(super) files: Vec<HashedFile<F>>,
    /// Files that were refused.
    refused: usize,
}

impl<F: Fs> Gathered<F> {
    fn new(group: Arc<Group>) -> Gathered<F> {
        Gathered { group, files: Vec::new(), refused: 0 }
    }
}

impl<F: Fs> Default for Groups<F> {
    fn default() -> Groups<F> {
        Groups { partial: HashMap::new(), ready: Vec::new(), asked: Vec::new() }
    }
}

impl<F: Fs> Groups<F> {
    /// True if a group waits for the next batch.
    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn take_whole(&mut self, group: Arc<Group>) {
        self.ready.push(Gathered::new(group));
    }
}

impl<F: Fs> Committer<F> {
    /// Takes the files of groups out of a batch.
    pub(super) fn gather(&mut self, batch: Vec<HashResult<F>>, reports: &mut Vec<Report>) -> Vec<HashResult<F>> {
        let (of_groups, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|item| group_of(item).is_some());
        for item in of_groups {
            let Some(group) = group_of(&item).cloned() else { continue };
            let ticket = group.ticket;
            let gathered = self.pending.groups.partial.entry(ticket).or_insert_with(|| Gathered::new(group));
            match item {
                Ok(file) => gathered.files.push(file),
                Err(refused) => {
                    gathered.refused += 1;
                    reports.push(Report { name: refused.settled.name, outcome: Outcome::Refused(refused.refusal) });
                }
            }
            if gathered.files.len() + gathered.refused < gathered.group.staged() {
                continue;
            }
            let Some(gathered) = self.pending.groups.partial.remove(&ticket) else { continue };
            match gathered.refused {
                0 => self.pending.groups.ready.push(gathered),
                _ => self.refuse_group(gathered, Refusal::Group, reports),
            }
        }
        others
    }

    /// Reports a group that starts again. `refusal` is about the group file.
    pub(super) fn refuse_group(&mut self, gathered: Gathered<F>, refusal: Refusal, reports: &mut Vec<Report>) {
        for file in gathered.files {
            // If it cannot be removed, the next start removes it.
            if let Some(copy) = &file.copy {
                let _ = self.staging.dirs.discard(&copy.path);
            }
            reports.push(Report { name: file.settled.name, outcome: Outcome::Refused(Refusal::Group) });
        }
        let name = gathered.group.name.clone();
        reports.push(Report { name, outcome: Outcome::Refused(refusal) });
    }

    /// Answers for each member of a group whether its content is in the warehouse.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is damaged there.
    pub fn answer(&self, group: &Group) -> Result<Report, Error> {
        let known = |sha256| Ok(self.index.original(sha256)?.is_some());
        let known: Result<Vec<bool>, Error> = group.members.iter().map(|member| known(&member.sha256)).collect();
        Ok(Report { name: group.name.clone(), outcome: Outcome::Known(known?) })
    }
}

fn group_of<F: Fs>(item: &HashResult<F>) -> Option<&Arc<Group>> {
    item.as_ref().map_or_else(|refused| &refused.settled, |hashed| &hashed.settled).group.as_ref()
}
