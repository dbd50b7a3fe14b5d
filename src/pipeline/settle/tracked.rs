//! What is known of a file that is in staging and not finished.

use std::num::NonZeroU64;
use std::time::Duration;

use super::census::{Census, second};
use crate::fs::Stat;
use crate::journal::record::QuarantineCause;
use crate::pipeline::why_not::WhyNot;
use crate::types::FileIdentity;

/// When a file counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When its size and mtime have not changed for this long.
    Stability(Duration),
    /// When its sidecar exists.
    Sidecar,
    /// As with `Stability`, and its group is complete.
    Group(Duration),
}

impl Mode {
    /// How long a file has to stay unchanged; None in sidecar mode.
    pub fn window(self) -> Option<Duration> {
        match self {
            Mode::Stability(window) | Mode::Group(window) => Some(window),
            Mode::Sidecar => None,
        }
    }

    /// Its name, as `--mode` has it.
    pub fn text(self) -> &'static str {
        match self {
            Mode::Stability(_) => "stability",
            Mode::Sidecar => "sidecar",
            Mode::Group(_) => "group",
        }
    }
}

/// What one check of a name showed.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// The file; it is a regular one.
    pub stat: Stat,
    /// Its sidecar.
    pub sidecar: Option<FileIdentity>,
    /// The sidecar existed before the file.
    pub orphaned: bool,
    /// How old the file is: see [`super::bounds::age`].
    pub age: Duration,
}

/// How a file failed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// It has not failed. It may have been abandoned: that is counted, too.
    Not,
    /// In a way that is a reason for quarantine.
    For(QuarantineCause),
    /// In a way that may have nothing to do with the file.
    Otherwise,
}

impl Failing {
    pub(super) fn cause(self) -> Option<QuarantineCause> {
        match self {
            Failing::For(cause) => Some(cause),
            Failing::Not | Failing::Otherwise => None,
        }
    }
}

/// A time of the monotonic clock, in half the room: there is one for each of very many files. It ends after 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroU64);

impl From<Duration> for Moment {
    fn from(time: Duration) -> Moment {
        Moment(NonZeroU64::MIN.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl From<Moment> for Duration {
    fn from(moment: Moment) -> Duration {
        Duration::from_nanos(moment.0.get() - 1)
    }
}

/// The phase of a file.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not known to be complete; seen unchanged since then.
    Waiting { since: Moment, why: WhyNot },
    /// Complete, and queued to be handed out.
    Ready,
    /// Handed out. `dirty`: the name had an event since.
    InFlight { dirty: bool },
    /// Refused: checked again when it changes, or at a certain time.
    Held { until: Option<Moment>, why: WhyNot },
}

/// A file that is in staging and not finished.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) identity: FileIdentity,
    /// At most [`u32::MAX`].
    pub(super) links: u32,
    /// It must be copied, whatever its link count says: a rename has shown that.
    pub(super) copies: bool,
    /// Boxed: where very many files wait, they have no sidecar.
    pub(super) sidecar: Option<Box<FileIdentity>>,
    /// The sidecar existed before the file.
    pub(super) orphaned: bool,
    /// Its birth is known.
    pub(super) is_dated: bool,
    /// It is too large, and that was told.
    pub(super) is_told_too_large: bool,
    pub(super) phase: Phase,
    /// When it was first seen, on the monotonic clock.
    pub(super) first_seen_seconds: u32,
    /// How often in a row it has failed in the same way.
    pub(super) failures: u8,
    pub(super) failing: Failing,
    pub(super) scan: u16,
}

impl Tracked {
    pub(super) fn new(sighting: &Sighting, scan: u16, now: Duration) -> Tracked {
        Tracked {
            first_seen_seconds: second(now),
            identity: sighting.stat.identity,
            links: u32::try_from(sighting.stat.links).unwrap_or(u32::MAX),
            copies: false,
            sidecar: sighting.sidecar.map(Box::new),
            orphaned: sighting.orphaned,
            is_dated: sighting.stat.born.is_some(),
            is_told_too_large: false,
            phase: Phase::Waiting { since: now.into(), why: WhyNot::Settling },
            failures: 0,
            failing: Failing::Not,
            scan,
        }
    }

    /// The link count: two if it must be copied.
    pub(super) fn links_that_count(&self) -> u64 {
        u64::from(if self.copies { self.links.max(2) } else { self.links })
    }

    /// Takes in what a check showed. Returns since when the file has been unchanged; None if there is nothing to decide.
    pub(super) fn observe(
        &mut self,
        sighting: &Sighting,
        nudged: bool,
        now: Duration,
        census: &mut Census,
    ) -> Option<Duration> {
        if let Phase::InFlight { dirty } = &mut self.phase {
            *dirty |= nudged;
            return None;
        }
        let identity = sighting.stat.identity;
        let changed =
            !self.identity.same_but_renamed(&identity) || self.sidecar.as_deref() != sighting.sidecar.as_ref();
        self.links = u32::try_from(sighting.stat.links).unwrap_or(u32::MAX);
        self.sidecar = sighting.sidecar.map(Box::new);
        self.orphaned = sighting.orphaned;
        self.is_dated = sighting.stat.born.is_some();
        if changed {
            self.failures = 0;
            self.copies = false;
        }
        if self.identity.key() != identity.key() {
            census.left(self.first_seen_seconds);
            self.first_seen_seconds = second(now);
            census.came(self.first_seen_seconds);
            self.is_told_too_large = false;
        }
        self.identity = identity;
        let hold_is_void = match &self.phase {
            Phase::Held { why, until } => {
                changed || until.is_some_and(|until| now >= until.into()) || (nudged && *why == WhyNot::OpenForWriting)
            }
            _ => false,
        };
        match self.phase {
            Phase::Waiting { since, .. } if !changed => Some(since.into()),
            // A file whose hold ran out has waited long enough.
            Phase::Held { .. } if hold_is_void && !changed && !nudged => Some(Duration::ZERO),
            Phase::Ready | Phase::Held { .. } if !changed && !hold_is_void => None,
            _ => Some(now),
        }
    }

    /// Counts a failure; returns how long to wait: twice as long each time.
    pub(super) fn fail(
        &mut self,
        cause: Option<QuarantineCause>,
        delay_min: Duration,
        delay_max: Duration,
    ) -> Duration {
        let failing = cause.map_or(Failing::Otherwise, Failing::For);
        if std::mem::replace(&mut self.failing, failing) != failing {
            self.failures = 0;
        }
        let delay = delay_min.saturating_mul(1 << self.failures.min(16)).min(delay_max);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

impl Tracked {
    /// Removes it from the counts of waiting files.
    pub(super) fn leave(&self, census: &mut Census) {
        census.left(self.first_seen_seconds);
        if matches!(self.phase, Phase::Held { .. }) {
            census.release();
        }
    }
}
