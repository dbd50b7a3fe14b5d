//! Reads group files, asks the committer about missing members, and reports groups that are incomplete for too long.

use std::path::Path;
use std::time::Duration;

use crossbeam::channel::Sender;

use super::Intake;
use crate::Error;
use crate::daemon::channels::ToCommit;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::heartbeat;
use crate::metrics::FailureReason;
use crate::pipeline::group::{self, NotRead};

impl Intake {
    /// One turn of all that concerns groups.
    pub(super) fn tend_groups(&mut self, to_commit: &Sender<ToCommit<RealFs>>, now: Duration) -> Result<(), Error> {
        self.read_group_files(now);
        self.report_overdue(now);
        while self.schedule.paused_until.is_none_or(|until| now >= until) && self.release_group() {}
        while let Some(group) = self.settle.take_to_ask() {
            let ask = ToCommit::Ask(group);
            heartbeat::waiting(|| to_commit.send(ask).map_err(|_| Error::Thread("commit")))?;
        }
        while let Some(group) = self.settle.take_whole() {
            let group = ToCommit::Group(group);
            heartbeat::waiting(|| to_commit.send(group).map_err(|_| Error::Thread("commit")))?;
        }
        // With `--once`: the scan may have come to a member's name before the member.
        if self.settle.groups_want_scan() && self.schedule.window.is_some() && self.schedule.next_scan.is_none() {
            self.schedule.next_scan = Some(now);
        }
        Ok(())
    }

    fn read_group_files(&mut self, now: Duration) {
        while let Some((name, identity)) = self.settle.take_group_to_read() {
            let read = group::read(&self.shared.fs, &self.shared.staging, &name, &identity)
                .and_then(|members| self.scanner.check_members(members).map_err(NotRead::Faulty));
            let retry_in = match &read {
                Ok(members) => self.settle.read_group((&name, identity), Ok(members.clone()), now),
                Err(not_read) => self.settle.read_group((&name, identity), Err(not_read), now),
            };
            match read {
                Err(NotRead::Faulty(why)) => self.file_failed(&name, FailureReason::Group, why, None),
                Err(NotRead::Failed(error)) => {
                    self.file_failed(&name, FailureReason::Unreadable, error.to_string(), retry_in);
                }
                Ok(_) | Err(NotRead::Busy) => {}
            }
        }
    }

    fn report_overdue(&mut self, now: Duration) {
        let Some(timeout) = self.group_timeout else { return };
        let count = self.report_incomplete(timeout, now);
        self.metrics.groups_overdue(count);
    }

    /// Reports the groups that have been incomplete for so long, each once; returns how many there are.
    pub(super) fn report_incomplete(&mut self, timeout: Duration, now: Duration) -> usize {
        let (overdue, count) = self.settle.overdue_groups(timeout, now);
        let input = self.input.as_deref().unwrap_or(Path::new(""));
        for group in overdue {
            let missing = (group.missing, group.members);
            self.metrics.group_incomplete(&input.join(&*group.name), missing, &group.texts, group.waited);
        }
        count
    }

    /// Releases the next complete group, if there is room for its files.
    fn release_group(&mut self) -> bool {
        let room = self.outbox.load.in_flight_max.saturating_sub(self.settle.in_flight());
        self.settle.release_group(self.shared.fs.now(), room)
    }
}
