//! What is known of one file that is there and not done.

use std::time::Duration;

use super::census::{Census, second};
use crate::fs::Stat;
use crate::pipeline::Failing;
use crate::types::{Algorithm, FileIdentity};

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

/// Why a file is not being ingested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It was seen too short a time ago, or has changed since.
    Settling,
    /// Its sidecar is missing.
    NoSidecar,
    /// Its sidecar released another file already.
    UsedSidecar,
    /// Its sidecar was there before it, and holds no checksum.
    OrphanedSidecar,
    /// A writer has it open, or its sidecar.
    OpenForWriting,
    /// Its sidecar holds another checksum.
    ChecksumDiffers(Algorithm),
    /// Its sidecar holds what looks like a checksum and is none that is known.
    SidecarOdd,
    /// Its sidecar holds no checksum, and one is required.
    NoChecksum,
    /// It is no CSV file.
    Malformed,
    /// It could not be read; it will be tried again.
    Failed,
}

impl Waiting {
    /// True if something is wrong with the file, rather than that its time has not come.
    pub fn is_failure(self) -> bool {
        matches!(self, Waiting::ChecksumDiffers(_) | Waiting::SidecarOdd | Waiting::Malformed | Waiting::Failed)
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Waiting::Settling => "not stable yet",
            Waiting::NoSidecar => "no sidecar",
            Waiting::UsedSidecar => "sidecar was used already",
            Waiting::OrphanedSidecar => "orphaned sidecar: it was there before the file, and holds no checksum",
            Waiting::OpenForWriting => "open for writing",
            Waiting::ChecksumDiffers(algorithm) => match algorithm {
                Algorithm::Md5 => "sidecar has another MD5",
                Algorithm::Sha1 => "sidecar has another SHA-1",
                Algorithm::Sha256 => "sidecar has another SHA-256",
                Algorithm::Sha384 => "sidecar has another SHA-384",
                Algorithm::Sha512 => "sidecar has another SHA-512",
            },
            Waiting::SidecarOdd => "sidecar has a checksum that is not understood",
            Waiting::NoChecksum => "sidecar has no checksum (--require-checksum)",
            Waiting::Malformed => "malformed",
            Waiting::Failed => "failed, will be tried again",
        }
    }
}

/// How far a file has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not complete, as far as we know; seen unchanged since then.
    Waiting { since: Duration, why: Waiting },
    /// Complete, and in the queue of those to be handed out.
    Ready,
    /// Handed out. `dirty`: something happened to the name meanwhile.
    InFlight { dirty: bool },
    /// Refused: looked at again when it changes, or at a certain time.
    Held { until: Option<Duration>, why: Waiting },
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
    pub(super) failing: Failing,
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
            phase: Phase::Waiting { since: now, why: Waiting::Settling },
            failures: 0,
            failing: Failing::default(),
            scan,
        }
    }

    /// Counts a failure; returns how long to wait: twice as long each time.
    pub(super) fn fail(&mut self, failing: Failing, delay_min: Duration, delay_max: Duration) -> Duration {
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
