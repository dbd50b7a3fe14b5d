//! A file's way from staging to the manifest. Each stage has a type, and only the stage before can make it, so no
//! file skips one:
//!
//! ```text
//! scan ──▶ settle ──▶ Settled ──▶ hash ──▶ Hashed ──▶ commit ──▶ Report
//! ```
//!
//! Invariants:
//! - `scan`, `settle` and `hash` change nothing anywhere but the copies in the warehouse's private directory.
//! - Every ordered, durable effect is the committer's, which is one thread: it alone owns journal and state.

pub mod claim;
pub mod commit;
pub mod hash;
pub mod hours;
pub mod ignored;
pub mod lines;
pub mod manifest;
mod manifest_lock;
pub mod names;
pub mod naming;
pub mod older;
pub mod patterns;
pub mod places;
pub mod probe;
pub mod profile;
pub mod publish;
pub mod quarantine;
pub mod recover;
pub mod scan;
pub mod settle;
pub mod sidecar;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use self::sidecar::Mismatch;
use crate::fs::{self, Fs};
use crate::journal;
use crate::journal::ingest::Kept;
use crate::journal::record::{AbandonReason, Copy, CsvFault, Profile};
use crate::limits::SMALL_BYTES_END;
use crate::metrics::FailureReason;
use crate::types::{Algorithm, FileIdentity, IngestId, Sha256, UnixMillis};

/// A file that was found complete. Made by `settle` and by recovery.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its name in the staging directory.
    pub name: Arc<OsStr>,
    /// Which file, in which state.
    pub identity: FileIdentity,
    /// Names that the inode has: with more than one, a rename would leave a second way into the warehouse's file.
    pub links: u64,
    /// The state of the sidecar that released it.
    pub sidecar: Option<FileIdentity>,
    /// That sidecar was there before the file: it releases nothing, unless it holds a checksum.
    pub orphaned: bool,
    /// The sidecar's name, where the journal tells it; otherwise it follows from the file's.
    pub sidecar_name: Option<OsString>,
    /// When it was found complete.
    pub complete_at: UnixMillis,
    /// Names this attempt within the process.
    pub ticket: u64,
    /// How often it has failed in this state in the same way, one time behind the other.
    pub failures: u32,
    /// In which way.
    pub failing: Failing,
}

impl Settled {
    /// The name of its sidecar: as the journal has it, or the file's with the suffix.
    pub fn sidecar_name(&self, suffix: Option<&OsStr>) -> Option<OsString> {
        self.sidecar_name.clone().or_else(|| suffix.map(|suffix| sidecar::sidecar_name(&self.name, suffix)))
    }

    /// True for a file that is hashed in a moment, and whose bytes are made durable together with others'.
    pub fn is_small(&self) -> bool {
        self.identity.size < SMALL_BYTES_END
    }
}

/// A settled file whose content is known. Made by `hash`.
pub struct Hashed<F: Fs> {
    /// What was hashed.
    pub settled: Settled,
    /// The open file; holds the lease until it is dropped.
    pub file: F::File,
    /// Whether a lease is held, so that `lease_broken` means something.
    pub leased: bool,
    /// Of its content.
    pub sha256: Sha256,
    /// Whether its bytes (or its copy's) were made durable already.
    pub durable: bool,
    /// The finished copy, if it has to be copied.
    pub copy: Option<Copy>,
    /// What a look into it showed, if there was one.
    pub profile: Option<Profile>,
    /// The strongest checksum in its sidecar that matched.
    pub verified_by: Option<Algorithm>,
}

/// A settled file that was not hashed to its end.
#[derive(Debug)]
pub struct Refused {
    /// The file.
    pub settled: Settled,
    /// Why.
    pub refusal: Refusal,
}

/// What a worker makes of a settled file. Boxed, since refusals are rare and large.
pub type HashResult<F> = std::result::Result<Hashed<F>, Box<Refused>>;

/// Why a file was not hashed to its end.
#[derive(Debug)]
pub enum Refusal {
    /// It is gone.
    Vanished,
    /// It is not what was listed, or was written to.
    Changed,
    /// A writer has it open, or its sidecar.
    OpenForWriting,
    /// The sidecar is another than the one that released it, or gone.
    SidecarChanged,
    /// The sidecar holds another checksum.
    ChecksumDiffers(Box<Mismatch>),
    /// The sidecar holds what looks like a checksum and is none that is known; what, for people.
    SidecarOdd(String),
    /// The sidecar holds no checksum, and one is required.
    NoChecksum,
    /// The sidecar was there before its file, and holds no checksum.
    OrphanedSidecar,
    /// It is no CSV file, and such files are not wanted.
    Malformed(CsvFault),
    /// It could not be read or copied.
    Failed(fs::Error),
    /// The process is stopping.
    Interrupted,
}

/// In which way a file fails: only what happens again and again tells something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failing {
    /// It has not failed.
    #[default]
    Not,
    /// Its sidecar has another checksum, or what looks like one.
    Checksum,
    /// It is malformed.
    Malformed,
    /// It itself cannot be read.
    Unreadable,
    /// Anything else, which may have nothing to do with it.
    Otherwise,
}

impl Refusal {
    /// In which way the file fails.
    pub fn failing(&self) -> Failing {
        match self {
            Refusal::ChecksumDiffers(_) | Refusal::SidecarOdd(_) => Failing::Checksum,
            Refusal::Malformed(_) => Failing::Malformed,
            Refusal::Failed(error) if quarantine::is_unreadable(error) => Failing::Unreadable,
            _ => Failing::Otherwise,
        }
    }

    /// What is wrong, for people; None if nothing is, and the file only has to begin anew.
    pub fn error(&self) -> Option<String> {
        match self {
            Refusal::ChecksumDiffers(mismatch) => Some(mismatch.to_string()),
            Refusal::SidecarOdd(what) => Some(what.clone()),
            Refusal::Malformed(fault) => Some(format!("malformed, line {}: {}", fault.line, fault.reason)),
            Refusal::Failed(error) => Some(error.to_string()),
            _ => None,
        }
    }

    /// The same in a word. Of the operations that fail, those that come before a file of staging is copied or moved are its
    /// own fault.
    pub fn failure_reason(&self, input: Option<&Path>) -> FailureReason {
        let reads = [fs::OPEN, "fstat", fs::READ, "fdatasync", "fcntl F_SETLEASE"];
        match self {
            Refusal::ChecksumDiffers(_) | Refusal::SidecarOdd(_) => FailureReason::Checksum,
            Refusal::Malformed(_) => FailureReason::Malformed,
            Refusal::Failed(error)
                if reads.contains(&error.op) && input.is_some_and(|input| error.path.starts_with(input)) =>
            {
                FailureReason::Unreadable
            }
            _ => FailureReason::NotMoved,
        }
    }

    /// How the journal puts it.
    pub fn abandon_reason(&self) -> AbandonReason {
        match self {
            Refusal::Vanished => AbandonReason::Vanished,
            Refusal::Changed | Refusal::SidecarChanged => AbandonReason::Changed,
            Refusal::OpenForWriting => AbandonReason::OpenForWriting,
            Refusal::ChecksumDiffers(_)
            | Refusal::SidecarOdd(_)
            | Refusal::NoChecksum
            | Refusal::OrphanedSidecar
            | Refusal::Malformed(_)
            | Refusal::Failed(_)
            | Refusal::Interrupted => AbandonReason::Failed,
        }
    }
}

/// What became of a settled file.
#[derive(Debug)]
pub enum Outcome {
    /// It is in the warehouse and in the manifest.
    Ingested {
        /// A sidecar that could not be removed: it must not release another file.
        used_sidecar: Option<FileIdentity>,
    },
    /// It is a duplicate and stays where it is.
    Kept(Kept),
    /// It was a duplicate, and was removed or moved away.
    Cleared,
    /// It cannot be ingested as it is, and was moved to quarantine.
    Quarantined {
        /// As above.
        used_sidecar: Option<FileIdentity>,
    },
    /// It changed or vanished under us; if it is still there it begins anew.
    Abandoned(AbandonReason),
    /// It was refused before anything was decided.
    Refused(Refusal),
}

/// Tells `settle` what became of a file.
#[derive(Debug)]
pub struct Report {
    /// Its name in the staging directory.
    pub name: Arc<OsStr>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What ends the pipeline. Nothing is lost by it: the next start resumes from the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// An effect on a file failed, and going on could break a promise.
    #[error("{0}; nothing is lost: the next start resumes")]
    Io(#[from] fs::Error),
    /// The disk is full, and we were told not to wait.
    #[error("disk is full: {0}; nothing is lost: make room, and the next start resumes")]
    Full(String),
    /// A directory that is relied on is not the one any more that was opened.
    #[error(
        "{what} {} was removed or replaced while running: nothing more is ingested, since nobody would find it; see to it that \
         the one that was there is there, and start again", path.display()
    )]
    Replaced {
        /// The option that names it.
        what: &'static str,
        /// The directory.
        path: std::path::PathBuf,
    },
    /// A transition that the journal's rules forbid: a defect of this program.
    #[error("internal error: {0} (ingest id {1}); nothing is lost: the next start resumes")]
    Transition(&'static str, IngestId),
}

impl Error {
    /// See [`fs::Error::spares_others`].
    pub fn spares_others(&self) -> bool {
        matches!(self, Error::Io(error) if error.spares_others())
    }
}
