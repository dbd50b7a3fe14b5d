//! Takes in the outcome of a file that was handed out, and decides when it is tried again.

use std::cmp::Reverse;
use std::time::Duration;

use super::tracked::{Mode, Phase, Tracked};
use super::{REMINDER_DELAY_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN, Settle, order};
use crate::journal::record::AbandonReason;
use crate::limits::FULL_DISK_RETRY_MAX;
use crate::pipeline::{Outcome, Refusal, Report, WhyNot};

impl Settle {
    /// Takes in a file's outcome, and returns what to do next.
    pub fn report(&mut self, report: &Report, now: Duration) -> Reaction {
        let none = Reaction { look_again: false, retry_in: None, abandoned: 0 };
        let Some(tracked) = self.tracked.get_mut(&report.name) else { return none };
        let Phase::InFlight { dirty } = tracked.phase else { return none };
        self.in_flight -= 1;
        let refused = matches!(report.outcome, Outcome::Refused(_));
        if !matches!(report.outcome, Outcome::Abandoned(_) | Outcome::Refused(_)) {
            self.abandonments.end(&report.name);
        }
        let reaction = self.report_grouped(report, dirty);
        if let Some(reaction) = reaction.or_else(|| self.hold_abandoned(report, dirty, now)) {
            return reaction;
        }
        let Some(tracked) = self.tracked.get_mut(&report.name) else { return none };
        let refusal = match &report.outcome {
            Outcome::Ingested { used_sidecar } | Outcome::Quarantined { used_sidecar } => {
                self.forget(&report.name);
                if let Some(sidecar) = used_sidecar {
                    self.use_sidecar(*sidecar, Some(&report.name));
                }
                return Reaction { look_again: dirty, ..none };
            }
            Outcome::Cleared | Outcome::Known(_) => {
                self.forget(&report.name);
                return Reaction { look_again: dirty, ..none };
            }
            Outcome::Kept(kept) => {
                self.forget(&report.name);
                self.keep(**kept);
                kept.sidecar.into_iter().for_each(|sidecar| self.use_sidecar(sidecar, Some(&report.name)));
                self.kept_names.iter_mut().for_each(|names| names.push((report.name.clone(), kept.key)));
                return Reaction { look_again: dirty, ..none };
            }
            Outcome::Abandoned(AbandonReason::NeedsCopy) => {
                // Nothing is wrong with the file: it is handed out again at once, and copied.
                tracked.copies = true;
                if matches!(self.mode, Mode::Group(_)) {
                    tracked.phase = Phase::Waiting { since: Duration::ZERO.into(), why: WhyNot::GroupIncomplete };
                } else {
                    tracked.phase = Phase::Ready;
                    let key = order::key(self.queues.order, tracked.identity.mtime);
                    self.queues.ready.push(Reverse((key, report.name.clone())));
                }
                // It was renamed there and back, which changed its ctime: with the known identity it would be refused.
                return Reaction { look_again: true, ..none };
            }
            Outcome::Abandoned(AbandonReason::Failed) => None,
            Outcome::Abandoned(AbandonReason::OpenForWriting) => Some(&Refusal::OpenForWriting),
            Outcome::Abandoned(AbandonReason::ClaimedElsewhere) => Some(&Refusal::ClaimedElsewhere),
            Outcome::Abandoned(_) => Some(&Refusal::Changed),
            Outcome::Refused(refusal) => Some(refusal),
        };
        if starts_again(refusal, refused) {
            self.forget(&report.name);
            return Reaction { look_again: true, ..none };
        }
        let (delay, why) = tracked.hold(refusal, self.busy_delay);
        self.hold(&report.name, delay.map(|delay| now + delay), why);
        Reaction { look_again: dirty, retry_in: delay, abandoned: 0 }
    }

    /// A file that has started again too often waits. If that continues, the cause is not the file, but what its file system
    /// reports about it.
    fn hold_abandoned(&mut self, report: &Report, dirty: bool, now: Duration) -> Option<Reaction> {
        let Outcome::Abandoned(reason @ (AbandonReason::NeedsCopy | AbandonReason::Changed)) = &report.outcome else {
            return None;
        };
        let (times, delay) = self.abandonments.add(&report.name)?;
        let tracked = self.tracked.get_mut(&report.name)?;
        tracked.copies |= *reason == AbandonReason::NeedsCopy;
        tracked.failures = tracked.failures.saturating_add(1);
        self.hold(&report.name, Some(now + delay), WhyNot::Failed);
        Some(Reaction { look_again: dirty, retry_in: Some(delay), abandoned: times })
    }
}

/// True if nothing holds the file: it is checked at once, as if it had just come.
fn starts_again(refusal: Option<&Refusal>, refused: bool) -> bool {
    match refusal {
        // If refused, it waits first: otherwise a writer that never pauses would have it hashed again and again.
        Some(Refusal::Changed) => !refused,
        Some(Refusal::Vanished | Refusal::SidecarChanged | Refusal::Interrupted) => true,
        _ => false,
    }
}

impl Tracked {
    /// How long a refused file is held, and why; without a time, until it or its sidecar changes.
    fn hold(&mut self, refusal: Option<&Refusal>, busy_delay: Duration) -> (Option<Duration>, WhyNot) {
        let (cause, why) = (refusal.and_then(Refusal::cause), refusal.map_or(WhyNot::Failed, Refusal::why));
        match why {
            WhyNot::OpenForWriting | WhyNot::ClaimedElsewhere => (Some(busy_delay), why),
            // Hashing it again helps only if it was read wrongly, but repeats the message for readers of the log.
            WhyNot::ChecksumDiffers(_)
            | WhyNot::SidecarOdd
            | WhyNot::OtherSum
            | WhyNot::Malformed
            | WhyNot::NoMatch => (Some(self.fail(cause, busy_delay, REMINDER_DELAY_MAX)), why),
            // Only another sidecar or another file changes that.
            WhyNot::NoChecksum | WhyNot::OrphanedSidecar | WhyNot::Empty | WhyNot::GroupFaulty => (None, why),
            WhyNot::Failed => {
                // A full disk is not the file's fault, and may have room again at any time.
                let is_full = matches!(refusal, Some(Refusal::Failed(error)) if error.is_no_space());
                let delay_max = if is_full { FULL_DISK_RETRY_MAX } else { RETRY_DELAY_MAX };
                (Some(self.fail(cause, RETRY_DELAY_MIN, delay_max)), why)
            }
            _ => (Some(busy_delay), WhyNot::Settling),
        }
    }
}

/// What to do after a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Check the name now.
    pub look_again: bool,
    /// After how long a failed file is tried again.
    pub retry_in: Option<Duration>,
    /// How often in a row the file had to start again, if that is too often and counts as a failure; otherwise 0.
    pub abandoned: u32,
}
