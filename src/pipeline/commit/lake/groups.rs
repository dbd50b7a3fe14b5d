//! Groups whose warehouse is a lake: one entry claims all files of a group, or none does.
//!
//! ```text
//! plan ──▶ GROUP, HASHED ──▶ bytes, entry ──▶ CLAIMED ──▶ data, lines ──▶ MOVED ──▶ group file removed ──▶ GROUP_DONE
//! ```
//!
//! Invariants:
//! - P3: GROUP and the HASHED of all its files are durable before the entry is made; its files are MOVED when all lines of
//!   the entry are in the lake.
//! - A content that is claimed and not listed yet keeps its whole group waiting, and one that is claimed while the group is
//!   on its way ends the attempt: nothing of the group is claimed then.
//! - Duplicates of a group are handled when its files are listed. Until then no record names them but GROUP: a life that did
//!   not plan the group finds them by that.
//! - The group file is removed last: a host that has lost its journal finds what is left of the group by it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::on_its_way::{Duplicate, OnItsWay};
use super::{Verdict, unfinished};
use crate::fs::{FileKind, Fs, Open};
use crate::journal::groups::OpenGroup;
use crate::journal::hex;
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, Claimed, Discovered, Group as GroupRecord, KnownMember, Record};
use crate::lake::host::{State, Whole};
use crate::pipeline::commit::claims::Chosen;
use crate::pipeline::commit::gathered::Gathered;
use crate::pipeline::commit::groups::in_order;
use crate::pipeline::commit::{Committer, Dropped, Work, ingest};
use crate::pipeline::dirs::split;
use crate::pipeline::group::{Group, Member};
use crate::pipeline::hash::digest_of;
use crate::pipeline::lake::{Waited, line};
use crate::pipeline::staging::Removed;
use crate::pipeline::{Error, Outcome, Refusal, Report, Settled, subdir};
use crate::types::{FileIdentity, IngestId, Key, Lsn, Sha256};

/// A group whose files are HASHED, and these.
type Planned<F> = (OnItsWay, Vec<Work<F>>);

/// Groups whose files are listed, and their duplicates.
type Ended<F> = (Vec<(OnItsWay, Arc<OpenGroup>)>, Vec<Work<F>>);

/// How far a member's content is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    /// An entry claims it, and it is not listed yet.
    Claimed,
    /// It is listed; with the file that brought it, or [`IngestId::OF_ANOTHER_HOST`].
    Known(IngestId),
}

impl<F: Fs> Committer<F> {
    /// Takes the groups that are ready as far as they get, one after the other: each has an entry of its own.
    pub(in crate::pipeline::commit) fn commit_groups_to_lake(
        &mut self,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        self.flush_kept_gone()?;
        for gathered in std::mem::take(&mut self.pending.groups.ready) {
            let mut records = Vec::new();
            self.take_pending(&mut records);
            let planned = self.plan_in_lake(gathered, &mut records, reports)?;
            self.write(records)?;
            if let Some((group, works)) = planned {
                self.claim_group(group, works, reports)?;
                // The log was read: see the head of the module above.
                self.finish_listed(Vec::new(), reports)?;
            }
        }
        Ok(())
    }

    /// Adds a group's records. None if it starts again.
    fn plan_in_lake(
        &mut self,
        gathered: Gathered<F>,
        records: &mut Vec<Record>,
        reports: &mut Vec<Report>,
    ) -> Result<Option<Planned<F>>, Error> {
        let group = gathered.group.clone();
        if let Some(refusal) = self.is_group_unfit(&group)? {
            self.refuse_group(gathered, refusal, reports);
            return Ok(None);
        }
        let standing = |member| self.standing(member, records);
        let standings: Vec<Standing> = group.members.iter().map(standing).collect::<Result<_, Error>>()?;
        let is_lost = |number: &usize| standings[*number] == Standing::New;
        let refusal = match standings.contains(&Standing::Claimed) {
            true => Some(Refusal::ClaimedElsewhere),
            false => group.absent.iter().any(is_lost).then_some(Refusal::Group),
        };
        if let Some(refusal) = refusal {
            self.refuse_group(gathered, refusal, reports);
            return Ok(None);
        }
        let lsn = Lsn(self.journal.next_lsn().0 + records.len() as u64);
        let (mut of_files, mut works, mut duplicates) = (Vec::new(), Vec::new(), Vec::new());
        let (mut moving, mut inodes) = (Vec::new(), Vec::new());
        let mut brought: HashMap<Key, IngestId> = HashMap::new();
        for file in in_order(&group, gathered.files) {
            let number = group.members.iter().position(|member| member.staged == file.settled.name);
            let known = match number.map(|number| standings[number]) {
                Some(Standing::Known(of)) => Some(of),
                _ => brought.get(&self.key_of(&file)).copied(),
            };
            if let Some(of) = known {
                let Settled { name, identity, complete_at: found_at, .. } = file.settled;
                duplicates.push(Duplicate { name, identity, found_at, sha256: file.sha256, of });
                continue;
            }
            let id = IngestId(lsn.0 + 1 + of_files.len() as u64);
            of_files.push(self.discovered(&file.settled));
            brought.insert(self.key_of(&file), id);
            moving.push(id);
            inodes.push(file.settled.identity.inode);
            works.push(self.intend(id, file, (&mut of_files, &mut Chosen::default())));
        }
        let known = group.members.iter().zip(&standings).filter_map(|(member, standing)| {
            let twin = || Some(duplicates.iter().find(|it| it.name == member.staged)?.of);
            let of = if let Standing::Known(of) = standing { *of } else { twin()? };
            Some(KnownMember { name: member.name.clone(), sha256: member.sha256, of })
        });
        let known = known.collect();
        let path = self.settings.input.join(&*group.name);
        records.push(Record::Group(GroupRecord { path, identity: group.identity, moving, inodes, known }));
        records.append(&mut of_files);
        Ok(Some((OnItsWay { lsn, name: group.name.clone(), duplicates: Some(duplicates) }, works)))
    }

    fn standing(&mut self, member: &Member, records: &mut Vec<Record>) -> Result<Standing, Error> {
        let key = self.key_of_member(member);
        if let Some(of) = self.original_unless_forgotten(&key, &member.sha256, records)? {
            return Ok(Standing::Known(of));
        }
        Ok(match self.state_in_lake(&member.sha256) {
            State::New => Standing::New,
            State::Claimed => Standing::Claimed,
            State::Listed => Standing::Known(IngestId::OF_ANOTHER_HOST),
        })
    }

    /// For each member of a group, whether its content is listed in the lake, as far as the log was read.
    pub(in crate::pipeline::commit) fn answer_in_lake(&mut self, group: &Group) -> Result<Vec<bool>, Error> {
        let known = |member| Ok(matches!(self.standing(member, &mut Vec::new())?, Standing::Known(_)));
        group.members.iter().map(known).collect()
    }

    /// Brings all files of a group, which are HASHED, into one entry, or abandons all. Returns how many were abandoned. When
    /// the process is to stop, a group whose bytes are under way, or that has to wait for entries of others, stays HASHED for
    /// the next start.
    pub(in crate::pipeline) fn claim_group(
        &mut self,
        group: OnItsWay,
        works: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<u64, Error> {
        self.take_over_uploads(&works)?;
        let mut whole = None;
        while !works.is_empty() {
            whole = self.append_whole(&works)?;
            if !matches!(whole, Some(Whole::UnderWay | Whole::Busy)) {
                break;
            }
            self.write_with_uploads(Vec::new(), &works)?;
            // Busy: a wait for entries was cut short.
            if whole == Some(Whole::Busy) || self.is_stopping() {
                return Ok(0);
            }
        }
        if self.record_group_claim(&works.iter().map(|work| work.id).collect::<Vec<_>>())? || works.is_empty() {
            // While the bytes are at hand, no pack needs to be read.
            self.with_batch(&works, &mut |lake, batch| lake.help(batch))?;
            self.pending.claimed.extend(works);
            self.pending.groups_in_lake.push(group);
            return Ok(0);
        }
        let abandoned = works.len() as u64;
        self.abandon_group(group, works, whole, reports)?;
        Ok(abandoned)
    }

    /// Records that an entry claims all these files of a group, if one does: whatever became of their contents since. False if
    /// none does; true if there are no files. An entry that claims some of them only is that of another host with a copy of
    /// this one's journal, which has given the same ids to the files of another group.
    pub(in crate::pipeline) fn record_group_claim(&mut self, files: &[IngestId]) -> Result<bool, Error> {
        let recorded = |id: &IngestId| Ok(self.ingest(*id)?.claimed.map(|(_, entry)| entry));
        let recorded: Vec<Option<u64>> = files.iter().map(recorded).collect::<Result<_, Error>>()?;
        if recorded.iter().all(Option::is_some) {
            return Ok(true);
        }
        let (journal, known) = (hex(&self.journal.store()), recorded.into_iter().flatten().next());
        let mut found = known;
        for id in files {
            if found.is_none()
                && let Verdict::Ours(claim, _) = self.verdict(*id)?
            {
                found = Some(claim.entry);
            }
        }
        let Some(entry) = found else { return Ok(false) };
        let mut records = Vec::new();
        for id in files {
            let torn = || Error::Transition("a group is claimed in part", *id);
            let (Some(lake), Some(target)) = (&mut self.lake, &ingest(&self.index, *id)?.target) else {
                return Err(torn());
            };
            let claimed = lake.patiently(&mut |host| host.claim_at(&target.sha256, entry))?;
            let of_it = match claimed.filter(|claimed| line::is_of(&claimed.claim.line, &journal, *id)) {
                Some(of_it) => of_it,
                None if known.is_none() => return Ok(false),
                None => return Err(torn()),
            };
            let url = lake.url(&of_it.claim.key);
            self.record_claim(Claimed { ingest_id: *id, shard: of_it.shard, entry }, &url, &mut records)?;
        }
        self.write(records)?;
        Ok(true)
    }

    /// Claims the contents of all these files with one entry, unless something stops that. Returns while bytes are under way,
    /// since the notes of uploads have to become durable first; None if there is no lake.
    fn append_whole(&mut self, works: &[Work<F>]) -> Result<Option<Whole>, Error> {
        let (mut decided, mut waited) = (None, Duration::ZERO);
        self.with_batch(works, &mut |lake, batch| {
            let contents = batch.contents();
            // The entry of a group gets no larger by a wait.
            lake.keep_pace(true);
            loop {
                let whole = lake.patiently(&mut |host| host.ingest_whole(&contents, batch))?;
                let is_busy = whole == Whole::Busy;
                decided = Some(whole);
                if !is_busy {
                    return Ok(());
                }
                lake.help(batch)?;
                match lake.wait_a_little(&mut waited) {
                    Waited::Enough => {}
                    Waited::TooLong => return Err(unfinished()),
                    Waited::Stopping => return Ok(()),
                }
            }
        })?;
        Ok(decided)
    }

    /// Nothing of this group is claimed: it starts again, or stays.
    fn abandon_group(
        &mut self,
        group: OnItsWay,
        works: Vec<Work<F>>,
        whole: Option<Whole>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let mut dropped = Vec::with_capacity(works.len());
        for work in works {
            let content = self.ingest(work.id)?.target.as_ref().map(|target| target.sha256);
            let is_changed = matches!(&whole, Some(Whole::Differs(differs)) if Some(*differs) == content);
            let reason = if is_changed { AbandonReason::Changed } else { AbandonReason::Group };
            dropped.push(Dropped { work, reason, error: None });
        }
        self.record_moves(&[], dropped, reports)?;
        for duplicate in group.duplicates.into_iter().flatten() {
            reports.push(Report { name: duplicate.name, outcome: Outcome::Refused(Refusal::Group) });
        }
        let refusal = match whole {
            Some(Whole::Taken) => Refusal::ClaimedElsewhere,
            Some(Whole::Unfit(why)) => Refusal::GroupUnfit(why),
            _ => Refusal::Group,
        };
        reports.push(Report { name: group.name, outcome: Outcome::Refused(refusal) });
        // Recovery ends all groups of which no file is open.
        if !self.pending.is_recovering {
            self.pending.closings.push(Record::GroupDone(group.lsn));
        }
        Ok(())
    }

    /// Takes the files whose lines are there to their end, and with them the groups of which they are the last.
    pub(in crate::pipeline::commit) fn finish_listed(
        &mut self,
        to_clear: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let listed = self.take_listed()?;
        if listed.is_empty() && to_clear.is_empty() && !self.has_listed_group() {
            return Ok(());
        }
        self.look_at_places()?;
        self.record_moves(&listed, Vec::new(), reports)?;
        let (listed_groups, mut duplicates) = self.end_groups_in_lake()?;
        duplicates.extend(to_clear);
        self.finish(listed, duplicates, reports)?;
        let done: Vec<Lsn> = listed_groups.iter().map(|(group, _)| group.lsn).collect();
        for (group, open) in listed_groups {
            let outcome = match self.remove_group_file(&open)? {
                Removed::Refused(error) => Outcome::Refused(Refusal::Failed(error)),
                Removed::Done | Removed::Other => Outcome::Cleared,
            };
            reports.push(Report { name: group.name, outcome });
        }
        if !done.is_empty() {
            self.patiently(|staging| staging.dirs.sync())?;
        }
        self.pending.closings.extend(done.into_iter().map(Record::GroupDone));
        Ok(())
    }

    fn has_listed_group(&self) -> bool {
        self.pending.groups_in_lake.iter().any(|group| self.listed_group(group.lsn).is_some())
    }

    /// The group, if all its files are MOVED.
    fn listed_group(&self, lsn: Lsn) -> Option<Arc<OpenGroup>> {
        let open = self.index.groups().find(|group| group.lsn == lsn)?;
        let is_moved = |id: &IngestId| self.index.ingest(*id).is_none_or(|ingest| ingest.state == FileState::Moved);
        open.group.moving.iter().all(is_moved).then(|| open.clone())
    }

    /// Records what becomes of the duplicates of the groups that are listed. Returns both.
    fn end_groups_in_lake(&mut self) -> Result<Ended<F>, Error> {
        let (mut listed, mut works, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for mut group in std::mem::take(&mut self.pending.groups_in_lake) {
            let Some(open) = self.listed_group(group.lsn) else {
                waiting.push(group);
                continue;
            };
            works.extend(self.end_group_in_lake(&open, group.duplicates.take())?);
            listed.push((group, open));
        }
        self.pending.groups_in_lake = waiting;
        Ok((listed, works))
    }

    /// Records what becomes of the duplicates of a group whose files are listed. Returns them, to be cleared.
    fn end_group_in_lake(
        &mut self,
        open: &OpenGroup,
        duplicates: Option<Vec<Duplicate>>,
    ) -> Result<Vec<Work<F>>, Error> {
        self.metrics.group_ingested(&open.group);
        self.staging.dirs.forget_staged();
        let duplicates = match duplicates {
            Some(known) => known,
            None => self.find_duplicates(open)?,
        };
        let (mut records, mut works) = (Vec::new(), Vec::new());
        for Duplicate { name, identity, found_at, sha256, of } in duplicates {
            let id = IngestId(self.journal.next_lsn().0 + records.len() as u64);
            let source_path = self.settings.input.join(&*name);
            records.push(Record::Discovered(Discovered {
                identity,
                discovered_at: found_at,
                source_path,
                sidecar: None,
            }));
            // What another host has listed is no file of this journal: the duplicate stands for it.
            let of = if of == IngestId::OF_ANOTHER_HOST { id } else { of };
            records.push(self.skipped(id, &name, &sha256, of));
            works.push(Work::unopened(id, name, identity.key()));
        }
        self.write(records)?;
        Ok(works)
    }

    /// As [`Committer::end_groups_in_lake`], for a group that an earlier life has recorded; recovery clears the duplicates.
    pub(in crate::pipeline) fn recover_listed_group(&mut self, open: &OpenGroup) -> Result<(), Error> {
        self.end_group_in_lake(open, None).map(drop)
    }

    /// The files in staging that have the content of a known member, and that no record names.
    fn find_duplicates(&mut self, open: &OpenGroup) -> Result<Vec<Duplicate>, Error> {
        let (mut found, dir) = (Vec::new(), open.group.path.parent().unwrap_or(Path::new("/")));
        for KnownMember { name, sha256, of } in &open.group.known {
            let path = dir.join(name);
            match self.staged_content(&path) {
                Ok(Some((identity, content))) if content == *sha256 && !self.is_recorded(&identity) => {
                    let name = Arc::from(subdir::name_in(&self.settings.input, &path));
                    found.push(Duplicate { name, identity, found_at: self.fs.now(), sha256: *sha256, of: *of });
                }
                Err(Error::Io(error)) if !error.spares_others() => return Err(error.into()),
                // It stays: it belongs to no group then.
                _ => {}
            }
        }
        Ok(found)
    }

    /// The file at a path in staging, and the SHA-256 of its content; None if there is none.
    fn staged_content(&mut self, path: &Path) -> Result<Option<(FileIdentity, Sha256)>, Error> {
        let Some(stat) = self.staging.dirs.look(path)?.filter(|stat| stat.kind == FileKind::Regular) else {
            return Ok(None);
        };
        let (dir, name) = split(path)?;
        let dir = self.staging.dirs.dir(dir)?;
        let file = self.fs.open(&dir, name, Open::Read)?;
        let content = digest_of(&self.fs, &file)?;
        let is_it = self.fs.stat_file(&file)?.identity == stat.identity;
        Ok(is_it.then_some((stat.identity, content)))
    }

    /// True if a record says what becomes of this duplicate.
    fn is_recorded(&self, identity: &FileIdentity) -> bool {
        let is_it = |ingest: &Ingest| ingest.duplicate.is_some() && ingest.identity == *identity;
        self.index.kept_at(identity.key()).is_some_and(|kept| kept.identity == *identity)
            || self.index.open().any(is_it)
    }
}
