//! Handles reports about files.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;

use super::{Full, Intake};
use crate::Error;
use crate::daemon::channels::ToCommit;
use crate::fs::real::RealFs;
use crate::heartbeat;
use crate::limits::{ERRORS_REMEMBERED_MAX, FULL_DISK_RETRY, KEPT_GONE_BATCH_MAX};
use crate::metrics::{FailureReason, events};
use crate::pipeline::settle::Reaction;
use crate::pipeline::{Outcome, Refusal, Report};

impl Intake {
    /// Logs an error of a file, and remembers it for `explain`; for a limited number of files.
    pub(super) fn file_failed(
        &mut self,
        name: &Arc<OsStr>,
        reason: FailureReason,
        error: String,
        retry_in: Option<Duration>,
    ) {
        let path = self.input.as_deref().unwrap_or(Path::new("")).join(&**name);
        self.metrics.file_failed(&path, reason, &error, retry_in);
        self.errors.retain(|(of, _)| of != name);
        if self.errors.len() >= ERRORS_REMEMBERED_MAX {
            self.errors.pop_front();
        }
        self.errors.push_back((name.clone(), error));
    }

    /// Reports the files that stay because of their size.
    pub(super) fn tell_too_large(&mut self) {
        for (name, size) in self.settle.take_too_large() {
            let error = format!("it has {size} bytes: more than --max-size");
            self.file_failed(&name, FailureReason::TooLarge, error, None);
        }
    }

    /// Tells the committer which kept duplicates are not in staging any more.
    pub(super) fn tell_gone(&mut self, to_commit: &Sender<ToCommit<RealFs>>) -> Result<(), Error> {
        for gone in self.settle.take_gone().chunks(KEPT_GONE_BATCH_MAX) {
            let gone = ToCommit::Gone(gone.to_vec());
            heartbeat::waiting(|| to_commit.send(gone).map_err(|_| Error::Thread("commit")))?;
        }
        Ok(())
    }

    /// Handles the report about a file.
    pub(super) fn hear(&mut self, report: &Report, now: Duration) -> Result<(), Error> {
        let reaction = self.settle.report(report, now);
        self.outbox.ahead.iter_mut().for_each(|ahead| ahead.remove(&report.name));
        self.log_refusal(report, &reaction, now);
        // `replay` watches nothing: files that it cannot finish from the journal are left for the daemon to find.
        if reaction.look_again && self.input.is_some() {
            let seen = self.scanner.look_at(&mut self.settle, &report.name, true, now);
            self.is_seen(seen.map(drop), now)?;
        }
        Ok(())
    }

    fn log_refusal(&mut self, report: &Report, reaction: &Reaction, now: Duration) {
        match &report.outcome {
            Outcome::Refused(Refusal::Failed(error)) if error.is_no_space() => {
                if self.outbox.full.is_none() {
                    self.metrics.disk_full(&error.to_string(), FULL_DISK_RETRY);
                }
                self.outbox.full = Some(Full { name: report.name.clone(), error: error.to_string() });
                self.schedule.paused_until = Some(now + FULL_DISK_RETRY);
            }
            Outcome::Refused(Refusal::Empty { leaves: false }) => {
                let path = self.input.as_deref().unwrap_or(Path::new("")).join(&*report.name);
                events::empty_kept(&path);
            }
            Outcome::Refused(refusal) => {
                if let Some(error) = refusal.error() {
                    let reason = refusal.failure_reason(self.input.as_deref());
                    self.file_failed(&report.name, reason, error, reaction.retry_in);
                }
            }
            Outcome::Abandoned(reason) if reaction.abandoned > 0 => {
                let error = format!("abandoned {} times in a row: {}", reaction.abandoned, reason.text());
                self.file_failed(&report.name, FailureReason::NotMoved, error, reaction.retry_in);
            }
            // The file that found no room may turn out to be a duplicate once it finds some.
            Outcome::Ingested { .. } | Outcome::Kept(_) | Outcome::Cleared if self.outbox.full.take().is_some() => {
                self.metrics.disk_has_room();
            }
            _ => {}
        }
    }
}
