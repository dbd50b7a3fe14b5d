//! Gathers the files of each group, which workers hash one by one.
//!
//! Invariants:
//! - A group goes on only when all its files are hashed and have their sums; if one is refused, all are.
//! - It holds no more files than are in flight.

use std::sync::Arc;

use super::Committer;
use super::gathered::Gathered;
use crate::fs::Fs;
use crate::pipeline::group::{Group, Member};
use crate::pipeline::{Error, HashResult, Outcome, Refusal, Report};
use crate::types::Key;

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
    pub fn answer(&mut self, group: &Group) -> Result<Report, Error> {
        if self.has_lake() {
            let known = self.answer_in_lake(group)?;
            return Ok(Report { name: group.name.clone(), outcome: Outcome::Known(known) });
        }
        let known = |member| Ok(self.index.original(&self.key_of_member(member))?.is_some());
        let known: Result<Vec<bool>, Error> = group.members.iter().map(known).collect();
        Ok(Report { name: group.name.clone(), outcome: Outcome::Known(known?) })
    }

    /// The key that a member has, if it has the sum of the group file.
    pub(super) fn key_of_member(&self, member: &Member) -> Key {
        Key::by(self.shared.identity.same_by, &member.staged, &member.sha256)
    }
}

pub(super) fn group_of<F: Fs>(item: &HashResult<F>) -> Option<&Arc<Group>> {
    item.as_ref().map_or_else(|refused| &refused.settled, |hashed| &hashed.settled).group.as_ref()
}
