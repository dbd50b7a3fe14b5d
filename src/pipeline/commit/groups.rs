//! Moves groups into the warehouse: all files of a group, or none.
//!
//! Invariants:
//! - P3: GROUP and the HASHED of all its files are durable before the first of them is moved; the MOVED of all of them are
//!   written in one frame, after all have arrived and are durable; their lines follow in one write.
//! - If one file cannot be moved, those that have arrived go back, and no line is written.
//! - The group file is removed after the lines are durable, and before GROUP_DONE is written.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::claims::Chosen;
use super::gathered::Gathered;
use super::{Committer, Dropped, Work};
use crate::fs::Fs;
use crate::journal::groups::OpenGroup;
use crate::journal::record::{AbandonReason, Group as GroupRecord, KnownMember, Record};
use crate::pipeline::group::Group;
use crate::pipeline::staging::Removed;
use crate::pipeline::{Error, HashedFile, Outcome, Refusal, Report};
use crate::types::{IngestId, Key, Lsn};

/// A group in a batch.
struct Planned<F: Fs> {
    group: Arc<Group>,
    lsn: Lsn,
    /// Files in staging whose content is in the warehouse, or will be: handled as duplicates of these.
    duplicates: Vec<(HashedFile<F>, IngestId)>,
    /// One of its files could not be moved.
    is_broken: bool,
}

type Works<F> = Vec<Work<F>>;

/// What the groups of a batch have planned.
struct Plan<F: Fs> {
    records: Vec<Record>,
    works: Vec<Work<F>>,
    groups: Vec<Planned<F>>,
    /// What a file of this batch brings.
    taken: HashSet<Key>,
    paths: Chosen,
}

impl<F: Fs> Committer<F> {
    /// Takes the groups that are ready all the way.
    pub(super) fn commit_groups(&mut self, reports: &mut Vec<Report>) -> Result<(), Error> {
        if !self.pending.groups.are_ready() {
            return Ok(());
        }
        if self.has_lake() {
            return self.commit_groups_to_lake(reports);
        }
        let ready = std::mem::take(&mut self.pending.groups.ready);
        self.flush_kept_gone()?;
        self.sync_data(ready.iter().flat_map(|gathered| &gathered.files))?;
        let (works, groups, taken, paths) = (Vec::new(), Vec::new(), HashSet::new(), Chosen::default());
        let mut plan = Plan { records: Vec::new(), works, groups, taken, paths };
        self.take_pending(&mut plan.records);
        for gathered in ready {
            self.plan_group(gathered, &mut plan, reports)?;
        }
        let Plan { records, works, mut groups, .. } = plan;
        self.write(records)?;
        let (moved, dropped) = self.move_groups(works, &mut groups)?;
        let mut records = self.moves(&moved, dropped, reports)?;
        let duplicates = self.skip_known(&mut groups, &mut records, reports);
        self.write(records)?;
        let mut moved = moved;
        self.write_lines(&mut moved, false)?;
        self.close_groups(groups, moved, duplicates, reports)
    }

    /// Adds a group's records. It waits for the next batch if a group before it brings one of its contents, and starts
    /// again if its file was replaced, or if a content is not in the warehouse any more.
    fn plan_group(
        &mut self,
        gathered: Gathered<F>,
        plan: &mut Plan<F>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let group = gathered.group.clone();
        if let Some(refusal) = self.is_group_unfit(&group)? {
            self.refuse_group(gathered, refusal, reports);
            return Ok(());
        }
        if group.members.iter().any(|member| plan.taken.contains(&self.key_of_member(member))) {
            self.pending.groups.ready.push(gathered);
            return Ok(());
        }
        let mut known = Vec::new();
        for number in &group.absent {
            let member = &group.members[*number];
            let Some(original) = self.index.original(&self.key_of_member(member))? else {
                self.refuse_group(gathered, Refusal::Group, reports);
                return Ok(());
            };
            known.push((*number, original.ingest_id));
        }
        let lsn = Lsn(self.journal.next_lsn().0 + plan.records.len() as u64);
        let (mut records, mut duplicates) = (Vec::new(), Vec::new());
        let (mut moving, mut inodes) = (Vec::new(), Vec::new());
        let mut brought: HashMap<Key, IngestId> = HashMap::new();
        for file in in_order(&group, gathered.files) {
            let key = self.key_of(&file);
            let original = self.index.original(&key)?.map(|original| original.ingest_id);
            if let Some(of) = original.or_else(|| brought.get(&key).copied()) {
                let number = group.members.iter().position(|member| member.staged == file.settled.name);
                known.extend(number.map(|number| (number, of)));
                duplicates.push((file, of));
                continue;
            }
            let id = IngestId(lsn.0 + 1 + records.len() as u64);
            records.push(self.discovered(&file.settled));
            brought.insert(key, id);
            moving.push(id);
            inodes.push(file.settled.identity.inode);
            plan.works.push(self.intend(id, file, (&mut records, &mut plan.paths)));
        }
        plan.taken.extend(brought.into_keys());
        known.sort_unstable();
        let known = known.into_iter().map(|(number, of)| {
            let member = &group.members[number];
            KnownMember { name: member.name.clone(), sha256: member.sha256, of }
        });
        let path = self.settings.input.join(&*group.name);
        let record = GroupRecord { path, identity: group.identity, moving, inodes, known: known.collect() };
        plan.records.push(Record::Group(record));
        plan.records.append(&mut records);
        plan.groups.push(Planned { group, lsn, duplicates, is_broken: false });
        Ok(())
    }

    /// Why the group file is not the one that was read.
    pub(super) fn is_group_unfit(&mut self, group: &Group) -> Result<Option<Refusal>, Error> {
        match self.staging.dirs.look(&self.settings.input.join(&*group.name)) {
            Err(error) if error.spares_others() => Ok(Some(Refusal::Failed(error))),
            Ok(Some(stat)) if stat.identity == group.identity => Ok(None),
            stat => Ok(stat.map(|_| Some(Refusal::Changed))?),
        }
    }

    /// Moves the files of all groups. Those of a group of which one cannot be moved go back.
    fn move_groups(
        &mut self,
        works: Vec<Work<F>>,
        groups: &mut [Planned<F>],
    ) -> Result<(Works<F>, Vec<Dropped<F>>), Error> {
        let (placed, mut dropped) = self.place_all(works)?;
        self.note_broken(&dropped, groups)?;
        let (broken, placed) = self.apart(placed, groups)?;
        let placed = self.confirm(placed, &mut dropped)?;
        self.note_broken(&dropped, groups)?;
        let (more, moved) = self.apart(placed, groups)?;
        for work in broken.into_iter().chain(more) {
            // A running ingestor ends if it cannot be put back, and the next start tries again.
            if self.put_back(work.id)? {
                dropped.push(Dropped { work, reason: AbandonReason::Group, error: None });
            }
        }
        Ok((moved, dropped))
    }

    fn note_broken(&self, dropped: &[Dropped<F>], groups: &mut [Planned<F>]) -> Result<(), Error> {
        for dropped in dropped {
            let of = self.ingest(dropped.work.id)?.group.as_ref().map(|group| group.lsn);
            groups.iter_mut().filter(|group| Some(group.lsn) == of).for_each(|group| group.is_broken = true);
        }
        Ok(())
    }

    /// The files of broken groups, and the others.
    fn apart(&self, works: Vec<Work<F>>, groups: &[Planned<F>]) -> Result<(Works<F>, Works<F>), Error> {
        let broken: HashSet<Lsn> = groups.iter().filter(|group| group.is_broken).map(|group| group.lsn).collect();
        let of = |work: &Work<F>| self.index.ingest(work.id).and_then(|ingest| ingest.group.as_ref());
        Ok(works.into_iter().partition(|work| of(work).is_some_and(|group| broken.contains(&group.lsn))))
    }

    /// Adds the records of the duplicates. They follow the MOVED of their groups in the same frame: the group file, which
    /// names them, is removed after it.
    fn skip_known(
        &mut self,
        groups: &mut [Planned<F>],
        records: &mut Vec<Record>,
        reports: &mut Vec<Report>,
    ) -> Vec<Work<F>> {
        let mut works = Vec::new();
        for planned in groups {
            for (file, of) in std::mem::take(&mut planned.duplicates) {
                if planned.is_broken {
                    reports.push(Report { name: file.settled.name, outcome: Outcome::Refused(Refusal::Group) });
                    continue;
                }
                let id = IngestId(self.journal.next_lsn().0 + records.len() as u64);
                records.push(self.discovered(&file.settled));
                works.push(self.skip(id, file, of, records));
            }
        }
        works
    }

    /// Removes the files of the groups that are listed, cleans up after their members, and closes all.
    fn close_groups(
        &mut self,
        groups: Vec<Planned<F>>,
        moved: Vec<Work<F>>,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        self.staging.dirs.forget_staged();
        for planned in &groups {
            let outcome = match self.open_group(planned.lsn) {
                Some(open) if !planned.is_broken => {
                    self.metrics.group_ingested(&open.group);
                    match self.remove_group_file(&open)? {
                        Removed::Refused(error) => Outcome::Refused(Refusal::Failed(error)),
                        Removed::Done | Removed::Other => Outcome::Cleared,
                    }
                }
                _ => Outcome::Refused(Refusal::Group),
            };
            reports.push(Report { name: planned.group.name.clone(), outcome });
        }
        self.finish(moved, duplicates, reports)?;
        self.pending.closings.extend(groups.iter().map(|planned| Record::GroupDone(planned.lsn)));
        Ok(())
    }

    fn open_group(&self, lsn: Lsn) -> Option<Arc<OpenGroup>> {
        self.index.groups().find(|group| group.lsn == lsn).cloned()
    }
}

/// Files in the order in which their group names them.
pub(super) fn in_order<F: Fs>(group: &Group, mut files: Vec<HashedFile<F>>) -> Vec<HashedFile<F>> {
    let place: HashMap<_, _> =
        group.members.iter().enumerate().map(|(number, it)| (it.staged.clone(), number)).collect();
    files.sort_by_key(|file| place.get(&file.settled.name).copied());
    files
}
