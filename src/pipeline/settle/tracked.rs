//! What is known of one file that is there and not done.

use std::time::Duration;

use super::census::{Census, second};
use crate::fs::Stat;
use crate::journal::record::QuarantineCause;
use crate::pipeline::why_not::WhyNot;
use crate::types::FileIdentity;

/// When a file counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Once size and mtime have not changed for so long.
    Stability(Duration),
    /// Once its sidecar is there.
    Sidecar,
}

/// What one look at a name showed.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// The file: regular, or it would not be shown to us.
    pub stat: Stat,
    /// Its sidecar.
    pub sidecar: Option<FileIdentity>,
    /// The sidecar was there before the file.
    pub orphaned: bool,
}

/// How far a file has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not complete, as far as we know; seen unchanged since then.
    Waiting { since: Duration, why: WhyNot },
    /// Complete, and in the queue of those to be handed out.
    Ready,
    /// Handed out. `dirty`: something happened to the name meanwhile.
    InFlight { dirty: bool },
    /// Refused: looked at again when it changes, or at a certain time.
    Held { until: Option<Duration>, why: WhyNot },
}

/// A file that is there and not done.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) identity: FileIdentity,
    pub(super) links: u64,
    /// It has to be copied, whatever its links say: a rename has shown that.
    pub(super) copies: bool,
    /// Boxed: where a great many files wait, they have none.
    pub(super) sidecar: Option<Box<FileIdentity>>,
    /// The sidecar was there before the file.
    pub(super) orphaned: bool,
    pub(super) phase: Phase,
    /// When it was first seen, on the monotonic clock.
    pub(super) first_seen_seconds: u32,
    /// How often it has failed in the same way, one time behind the other.
    pub(super) failures: u8,
    pub(super) failing: Option<QuarantineCause>,
    pub(super) scan: u16,
}

impl Tracked {
    pub(super) fn new(sighting: &Sighting, scan: u16, now: Duration) -> Tracked {
        Tracked {
            first_seen_seconds: second(now),
            identity: sighting.stat.identity,
            links: sighting.stat.links,
            copies: false,
            sidecar: sighting.sidecar.map(Box::new),
            orphaned: sighting.orphaned,
            phase: Phase::Waiting { since: now, why: WhyNot::Settling },
            failures: 0,
            failing: None,
            scan,
        }
    }

    /// Counts a failure; returns how long to wait: twice as long each time.
    pub(super) fn fail(
        &mut self,
        failing: Option<QuarantineCause>,
        delay_min: Duration,
        delay_max: Duration,
    ) -> Duration {
        if std::mem::replace(&mut self.failing, failing) != failing {
            self.failures = 0;
        }
        let delay = delay_min.saturating_mul(1 << self.failures.min(16)).min(delay_max);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

impl Tracked {
    /// It is no longer among those that wait.
    pub(super) fn leave(&self, census: &mut Census) {
        census.left(self.first_seen_seconds);
        if matches!(self.phase, Phase::Held { .. }) {
            census.release();
        }
    }
}
