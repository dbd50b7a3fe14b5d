//! Groups: which of them are complete.
//!
//! Invariants:
//! - A group is handed out as a whole: each member is unchanged for the window, or is not in staging and its content is
//!   in the warehouse, as the committer has answered.
//! - The committer is asked only about members that a whole scan has not shown.
//! - At most [`GROUPS_WATCHED_MAX`] groups are watched; the names of their members are the only names in memory.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::groups::{Overdue, Watched};
use super::tracked::{Mode, Phase, Tracked};
use super::{RETRY_DELAY_MAX, RETRY_DELAY_MIN, Reaction, Settle};
use crate::limits::{GROUP_MISSING_NAMED_MAX, GROUPS_WATCHED_MAX};
use crate::pipeline::group::{Group, Member, NotRead, is_group_file};
use crate::pipeline::{Outcome, Refusal, Report, Settled, WhyNot, subdir};
use crate::types::{FileIdentity, UnixMillis};

impl Settle {
    /// A file is unchanged for the window: why it waits nevertheless. Its groups are checked.
    pub(super) fn waits_for_group(&mut self, name: &Arc<OsStr>) -> WhyNot {
        if !is_group_file(name) {
            let Some(groups) = self.groups.named.get(name).cloned() else { return WhyNot::NoGroup };
            groups.into_iter().for_each(|group| self.groups.check(group));
            return WhyNot::GroupIncomplete;
        }
        let identity = self.tracked.get(name).map(|tracked| tracked.identity);
        if self.groups.watched.get(name).map(|watched| watched.identity) == identity {
            self.groups.check(name.clone());
        } else {
            self.groups.forget(name);
            if self.groups.watched.len() + self.groups.to_read.len() < GROUPS_WATCHED_MAX {
                self.groups.to_read.insert(name.clone());
            }
        }
        WhyNot::GroupIncomplete
    }

    /// A group file that is settled and not read, and its identity.
    pub fn take_group_to_read(&mut self) -> Option<(Arc<OsStr>, FileIdentity)> {
        loop {
            let name = self.groups.to_read.pop_first()?;
            if let Some(tracked) = self.tracked.get(&name).filter(|it| matches!(it.phase, Phase::Waiting { .. })) {
                return Some((name, tracked.identity));
            }
        }
    }

    /// Takes in what a group file says, or why it cannot be read; returns the delay until it is read again.
    pub fn read_group(
        &mut self,
        (name, identity): (&Arc<OsStr>, FileIdentity),
        read: Result<Vec<Member>, &NotRead>,
        now: Duration,
    ) -> Option<Duration> {
        let members: Arc<[Member]> = match read {
            Ok(members) => members.into(),
            Err(not_read) => return self.hold_group(name, not_read, now),
        };
        for member in members.iter() {
            self.groups.named.entry(member.staged.clone()).or_default().push(name.clone());
            if let Some(tracked) = self.tracked.get_mut(&member.staged)
                && let Phase::Waiting { why: why @ WhyNot::NoGroup, .. } = &mut tracked.phase
            {
                *why = WhyNot::GroupIncomplete;
            }
        }
        let (known, scan) = (Vec::new(), self.groups.begun);
        let watched = Watched {
            identity,
            members,
            since: now,
            scan,
            was_asked: false,
            is_asking: false,
            known,
            is_told: false,
            attempts: 0,
        };
        self.groups.watched.insert(name.clone(), watched);
        self.groups.check(name.clone());
        None
    }

    fn hold_group(&mut self, name: &Arc<OsStr>, not_read: &NotRead, now: Duration) -> Option<Duration> {
        let (delay, why) = match not_read {
            NotRead::Busy => (Some(self.busy_delay), WhyNot::OpenForWriting),
            NotRead::Faulty(_) => (None, WhyNot::GroupFaulty),
            NotRead::Failed(_) => {
                let tracked = self.tracked.get_mut(name)?;
                (Some(tracked.fail(None, RETRY_DELAY_MIN, RETRY_DELAY_MAX)), WhyNot::Failed)
            }
        };
        self.hold(name, delay.map(|delay| now + delay), why);
        delay
    }

    /// Hands out the next complete group of at most `room` files, or a larger one if nothing is in flight. False if there
    /// is none.
    pub fn release_group(&mut self, complete_at: UnixMillis, room: usize) -> bool {
        while let Some((_, name)) = self.groups.to_check.pop_first() {
            let Some(absent) = self.absent(&name) else { continue };
            let Some(watched) = self.groups.watched.get_mut(&name) else { continue };
            let is_known = |absent: &usize| watched.known.get(*absent) == Some(&true);
            let asks = !absent.iter().all(is_known);
            if asks && watched.scan >= self.groups.ended {
                // The scan that would show them is still to come, or the answer would be the same.
                self.groups.wants_scan |= !watched.was_asked;
                continue;
            }
            if !asks && self.in_flight > 0 && watched.members.len() > room {
                self.groups.check(name);
                return false;
            }
            (watched.scan, watched.was_asked, watched.is_asking) = (self.groups.begun, true, asks);
            let (identity, members) = (watched.identity, watched.members.clone());
            self.next_ticket += 1;
            let group = Arc::new(Group { name, identity, members, absent, ticket: self.next_ticket });
            self.fly(&group.name);
            if asks {
                self.groups.to_ask.push(group);
                continue;
            }
            self.hand_out(group, complete_at);
            return true;
        }
        false
    }

    /// The numbers of the members that are not in staging; None if the group has to wait for one that is, or for its file.
    fn absent(&self, name: &OsStr) -> Option<Vec<usize>> {
        let watched = self.groups.watched.get(name)?;
        let waits = |name: &OsStr| {
            let tracked = self.tracked.get(name)?;
            Some((matches!(tracked.phase, Phase::Waiting { why: WhyNot::GroupIncomplete, .. }), tracked.identity))
        };
        if waits(name) != Some((true, watched.identity)) {
            return None;
        }
        let mut absent = Vec::new();
        for (number, member) in watched.members.iter().enumerate() {
            match waits(&member.staged) {
                Some((true, _)) => {}
                Some((false, _)) => return None,
                None => absent.push(number),
            }
        }
        Some(absent)
    }

    fn hand_out(&mut self, group: Arc<Group>, complete_at: UnixMillis) {
        if let Some(watched) = self.groups.watched.get_mut(&group.name) {
            watched.attempts = watched.attempts.saturating_add(1);
        }
        if group.staged() == 0 {
            self.groups.whole.push(group);
            return;
        }
        for member in group.members.iter() {
            let Some(tracked) = self.fly(&member.staged) else { continue };
            let settled = Settled {
                name: member.staged.clone(),
                identity: tracked.identity,
                links: tracked.links_that_count(),
                sidecar: None,
                orphaned: false,
                sidecar_name: None,
                complete_at,
                ticket: group.ticket,
                failures: u32::from(tracked.failures),
                failing: None,
                partition: None,
                group: Some(group.clone()),
            };
            self.groups.out.push_back(settled);
        }
    }

    fn fly(&mut self, name: &OsStr) -> Option<&Tracked> {
        let tracked = self.tracked.get_mut(name)?;
        tracked.phase = Phase::InFlight { dirty: false };
        self.in_flight += 1;
        Some(tracked)
    }

    /// The next member of a group that was handed out.
    pub fn take_grouped(&mut self) -> Option<Settled> {
        self.groups.out.pop_front()
    }

    /// A group that was handed out and has no file in staging.
    pub fn take_whole(&mut self) -> Option<Arc<Group>> {
        self.groups.whole.pop()
    }

    /// A group about which the committer is to be asked. Its answer is the report of the group file.
    pub fn take_to_ask(&mut self) -> Option<Arc<Group>> {
        self.groups.to_ask.pop()
    }

    /// True, once, if a scan from now on could show members that a group lacks.
    pub fn groups_want_scan(&mut self) -> bool {
        std::mem::take(&mut self.groups.wants_scan)
    }

    /// Every group is checked again: the scan has shown what there is.
    pub(super) fn end_scan_of_groups(&mut self) {
        if !matches!(self.mode, Mode::Group(_)) {
            return;
        }
        self.groups.ended = self.groups.begun;
        let gone: Vec<_> = self.groups.watched.keys().filter(|name| !self.tracked.contains(name)).cloned().collect();
        gone.iter().for_each(|name| self.groups.forget(name));
        let all: Vec<_> = self.groups.watched.keys().cloned().collect();
        all.into_iter().for_each(|name| self.groups.check(name));
    }

    /// Takes in the outcome of a file whose group goes on waiting. None if it is another outcome.
    pub(super) fn report_grouped(&mut self, report: &Report, dirty: bool) -> Option<Reaction> {
        let look_again = match &report.outcome {
            Outcome::Known(known) => {
                self.groups.check(report.name.clone());
                let watched = self.groups.watched.get_mut(&report.name)?;
                watched.is_asking = false;
                watched.known.clone_from(known);
                dirty
            }
            // It may have been moved and put back: then it has another ctime.
            Outcome::Refused(Refusal::Group) => true,
            Outcome::Abandoned(_) | Outcome::Refused(_) => return None,
            _ => {
                self.groups.recheck(&report.name);
                return None;
            }
        };
        if let Some(watched) = self.groups.watched.get_mut(&report.name).filter(|_| look_again) {
            watched.known.clear();
        }
        let tracked = self.tracked.get_mut(&report.name)?;
        tracked.phase = Phase::Waiting { since: Duration::ZERO.into(), why: WhyNot::GroupIncomplete };
        Some(Reaction { look_again, retry_in: None, abandoned: 0 })
    }

    /// The groups that have waited for longer than `timeout` and were not told yet, and how many wait for so long in all.
    pub fn overdue_groups(&mut self, timeout: Duration, now: Duration) -> (Vec<Overdue>, usize) {
        let is_overdue = |watched: &Watched| now.saturating_sub(watched.since) >= timeout;
        let late: Vec<_> =
            self.groups.watched.iter().filter(|(_, it)| is_overdue(it)).map(|(name, _)| name.clone()).collect();
        let mut told = Vec::new();
        for name in &late {
            if !self.is_in_flight(name)
                && self.groups.watched.get_mut(name).is_some_and(|it| !std::mem::replace(&mut it.is_told, true))
            {
                told.extend(self.group_status(name, now));
            }
        }
        // One that is being hashed or moved is complete.
        let waiting = late.iter().filter(|name| !self.is_in_flight(name) || self.is_asking(name));
        (told, waiting.count())
    }

    /// What a group lacks; None if its file is not read.
    pub fn group_status(&self, name: &OsStr, now: Duration) -> Option<Overdue> {
        let (name, watched) = self.groups.watched.get_key_value(name)?;
        let lacks = |(number, member): (usize, &Member)| {
            let why = match self.tracked.get(&member.staged).map(|tracked| &tracked.phase) {
                None if watched.known.get(number) == Some(&true) => return None,
                None => "not there",
                Some(Phase::Waiting { why: WhyNot::GroupIncomplete, .. } | Phase::InFlight { .. }) => return None,
                Some(Phase::Waiting { why, .. } | Phase::Held { why, .. }) => why.text(),
                Some(Phase::Ready) => return None,
            };
            Some(format!("{} ({why})", member.name.display()))
        };
        let missing: Vec<String> = watched.members.iter().enumerate().filter_map(lacks).collect();
        let count = missing.len();
        let file = self.waiting_group_file(name).filter(|_| count == 0);
        Some(Overdue {
            name: name.clone(),
            members: watched.members.len(),
            missing: count,
            texts: missing.into_iter().take(GROUP_MISSING_NAMED_MAX).chain(file).collect(),
            waited: now.saturating_sub(watched.since),
        })
    }

    /// A group file that waits although all its members are there, and why.
    fn waiting_group_file(&self, name: &OsStr) -> Option<String> {
        match self.tracked.get(name)?.phase {
            Phase::Waiting { why: WhyNot::GroupIncomplete, .. } | Phase::InFlight { .. } | Phase::Ready => None,
            Phase::Waiting { why, .. } | Phase::Held { why, .. } => {
                Some(format!("{} ({})", subdir::file_name(name).display(), why.text()))
            }
        }
    }

    /// True while the committer is asked about a group, which waits all the same.
    pub(super) fn is_asking(&self, name: &OsStr) -> bool {
        self.groups.watched.get(name).is_some_and(|watched| watched.is_asking)
    }

    /// The group file that names this member, if one was read.
    pub fn group_of(&self, member: &OsStr) -> Option<&Arc<OsStr>> {
        self.groups.named.get(member).and_then(|groups| groups.first())
    }
}
