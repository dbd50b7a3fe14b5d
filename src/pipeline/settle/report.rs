//! What became of a file that was handed out, and when it is tried again.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Phase, REMINDER_DELAY_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN, Settle, Waiting};
use crate::journal::record::AbandonReason;
use crate::limits::FULL_DISK_RETRY_MAX;
use crate::pipeline::{Failing, Outcome, Refusal, Report};

impl Settle {
    /// Hears what became of a file. True if the name should be looked at at once, since something happened to it.
    /// `retry_in` of a failure is returned for the log.
    pub fn report(&mut self, report: &Report, now: Duration) -> Reaction {
        let none = Reaction { look_again: false, retry_in: None };
        let Some(tracked) = self.tracked.get_mut(&report.name) else { return none };
        let Phase::InFlight { dirty } = tracked.phase else { return none };
        self.in_flight -= 1;
        let refused = matches!(report.outcome, Outcome::Refused(_));
        let refusal = match &report.outcome {
            Outcome::Ingested { used_sidecar } | Outcome::Quarantined { used_sidecar } => {
                self.forget(&report.name);
                if let Some(sidecar) = used_sidecar {
                    self.use_sidecar(*sidecar);
                }
                return Reaction { look_again: dirty, retry_in: None };
            }
            Outcome::Cleared => {
                self.forget(&report.name);
                return Reaction { look_again: dirty, retry_in: None };
            }
            Outcome::Kept(kept) => {
                self.forget(&report.name);
                self.keep(*kept);
                if let Some(names) = &mut self.kept_names {
                    names.push((report.name.clone(), kept.sha256));
                }
                return Reaction { look_again: dirty, retry_in: None };
            }
            Outcome::Abandoned(AbandonReason::NeedsCopy) => {
                // Nothing is wrong with the file: it goes again at once, and is copied.
                tracked.phase = Phase::Ready;
                self.ready.push(Reverse((tracked.identity.mtime, report.name.clone())));
                return Reaction { look_again: dirty, retry_in: None };
            }
            Outcome::Abandoned(AbandonReason::Failed) => None,
            Outcome::Abandoned(AbandonReason::OpenForWriting) => Some(&Refusal::OpenForWriting),
            Outcome::Abandoned(_) => Some(&Refusal::Changed),
            Outcome::Refused(refusal) => Some(refusal),
        };
        let failing = refusal.map_or(Failing::Otherwise, Refusal::failing);
        let (delay, why) = match refusal {
            // After a while: a writer that never pauses would otherwise have it hashed again and again.
            Some(Refusal::Changed) if refused => (Some(self.busy_delay), Waiting::Settling),
            Some(Refusal::Vanished | Refusal::Changed | Refusal::SidecarChanged | Refusal::Interrupted) => {
                self.forget(&report.name);
                return Reaction { look_again: true, retry_in: None };
            }
            Some(Refusal::OpenForWriting) => (Some(self.busy_delay), Waiting::OpenForWriting),
            // Hashing it again helps only if it was read wrongly; but who looks at the log finds it there again.
            Some(Refusal::ChecksumDiffers { .. } | Refusal::Malformed(_)) => {
                let is_malformed = failing == Failing::Malformed;
                let why = if is_malformed { Waiting::Malformed } else { Waiting::ChecksumDiffers };
                (Some(tracked.fail(failing, self.busy_delay, REMINDER_DELAY_MAX)), why)
            }
            Some(Refusal::Failed(_)) | None => {
                // A full disk is not the file's fault, and may be over at any time.
                let is_full = matches!(refusal, Some(Refusal::Failed(error)) if error.is_no_space());
                let delay_max = if is_full { FULL_DISK_RETRY_MAX } else { RETRY_DELAY_MAX };
                (Some(tracked.fail(failing, RETRY_DELAY_MIN, delay_max)), Waiting::Failed)
            }
        };
        let until = delay.map(|delay| now + delay);
        tracked.phase = Phase::Held { until, why };
        self.census.hold();
        self.due.extend(until.map(|until| Reverse((until, report.name.clone()))));
        Reaction { look_again: dirty, retry_in: delay }
    }
}

/// What a report leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Look at the name now.
    pub look_again: bool,
    /// When a failed file is tried again.
    pub retry_in: Option<Duration>,
}
