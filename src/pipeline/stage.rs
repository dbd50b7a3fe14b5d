//! The stages of a file: each has a type that only the stage before it can make.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::group::Group;
use super::sidecar::SidecarNames;
use super::subdir;
use super::why_not::Refusal;
use crate::fs::Fs;
use crate::journal::ingest::Kept;
use crate::journal::record::{AbandonReason, Copy, Profile, QuarantineCause};
use crate::limits::SMALL_BYTES_END;
use crate::types::{Algorithm, FileIdentity, Sha256, UnixMillis};

/// A file that was found complete. Made by `settle` and by recovery.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its path, relative to the staging directory: see [`super::subdir`].
    pub name: Arc<OsStr>,
    /// Its identity, as it was found complete.
    pub identity: FileIdentity,
    /// The inode's link count: with more than one name, a rename would leave a second way to write to the warehouse's
    /// file.
    pub links: u64,
    /// The identity of the sidecar that released it.
    pub sidecar: Option<FileIdentity>,
    /// That sidecar existed before the file: it releases nothing, unless it has a checksum.
    pub orphaned: bool,
    /// The sidecar's own name, if the journal has it; otherwise it follows from the file's.
    pub sidecar_name: Option<OsString>,
    /// When it was found complete.
    pub complete_at: UnixMillis,
    /// The directory in the warehouse that an earlier HASHED named, with the warehouse's path; None: the layout says it.
    pub partition: Option<PathBuf>,
    /// The number of this attempt, unique within the process.
    pub ticket: u64,
    /// How often in a row it has failed in the same way in this state.
    pub failures: u32,
    /// In which way, if that indicates a fault of the file itself.
    pub failing: Option<QuarantineCause>,
    /// The group to which it belongs, which was found complete as a whole.
    pub group: Option<Arc<Group>>,
}

impl Settled {
    /// The path of its sidecar, relative to the staging directory: beside it, under the name that the journal has, or as
    /// it follows from the file's.
    pub fn sidecar_name(&self, names: Option<&SidecarNames>) -> Option<OsString> {
        let known = self.sidecar_name.as_ref().map(|name| subdir::beside(&self.name, name));
        known.or_else(|| names.map(|names| names.of(&self.name)))
    }

    /// True for a file that is hashed quickly, and whose bytes are made durable together with those of others.
    pub fn is_small(&self) -> bool {
        self.identity.size < SMALL_BYTES_END
    }
}

/// A settled file whose content is known. Made by `hash`.
pub struct HashedFile<F: Fs> {
    /// The file that was hashed.
    pub settled: Settled,
    /// The open file; holds the lease until it is dropped.
    pub file: F::File,
    /// Whether a lease is held, so that `lease_broken` means something.
    pub leased: bool,
    /// The SHA-256 of its content.
    pub sha256: Sha256,
    /// Whether its bytes (or its copy's) are already durable.
    pub durable: bool,
    /// Its directory in the warehouse, without the warehouse's path or with it.
    pub partition: PathBuf,
    /// The finished copy, if it has to be copied. Boxed like the next one: few files have it, and all of them are moved from
    /// queue to queue.
    pub copy: Option<Box<Copy>>,
    /// The result of validating it, if it was validated.
    pub profile: Option<Box<Profile>>,
    /// The strongest checksum in its sidecar that matched.
    pub verified_by: Option<Algorithm>,
    /// The SHA-256 of each part in which a lake gets it; none for a file that goes in one piece.
    pub parts: Vec<Sha256>,
}

/// A settled file that was not hashed to its end.
#[derive(Debug)]
pub struct Refused {
    /// The file.
    pub settled: Settled,
    /// Why.
    pub refusal: Refusal,
}

/// A worker's result for a settled file. Boxed, since refusals are rare and large.
pub type HashResult<F> = std::result::Result<HashedFile<F>, Box<Refused>>;

/// The outcome of a settled file.
#[derive(Debug)]
pub enum Outcome {
    /// It is in the warehouse and in the manifest.
    Ingested {
        /// A sidecar that could not be removed: it must not release another file.
        used_sidecar: Option<FileIdentity>,
    },
    /// It is a duplicate and stays in staging.
    Kept(Box<Kept>),
    /// It was a duplicate, and was removed or moved away.
    Cleared,
    /// It cannot be ingested as it is, and was moved to quarantine.
    Quarantined {
        /// As above.
        used_sidecar: Option<FileIdentity>,
    },
    /// It changed or vanished meanwhile; if it still exists, it starts again.
    Abandoned(AbandonReason),
    /// It was refused before anything was decided.
    Refused(Refusal),
    /// An answer about a group that waits: for each of its members, whether its content is in the warehouse.
    Known(Vec<bool>),
}

/// Reports the outcome of a file to `settle`.
#[derive(Debug)]
pub struct Report {
    /// Its path, relative to the staging directory.
    pub name: Arc<OsStr>,
    /// Its outcome.
    pub outcome: Outcome,
}
