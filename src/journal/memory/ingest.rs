//! What the index holds of a file and of a content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::disk::lifecycle::FileState;
use crate::journal::disk::record::{Copy, DuplicateAction, Profile, Profiled, Quarantined, Settings, Sidecar};
use crate::journal::disk::relocations::Relocations;
use crate::journal::disk::snapshot::Row;
use crate::types::{Algorithm, FileIdentity, IngestId, Lsn, Sha256, UnixMillis};

/// A file that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Its name for life.
    pub id: IngestId,
    /// How far it has come.
    pub state: FileState,
    /// Which file, in which state.
    pub identity: FileIdentity,
    /// When it was found complete.
    pub discovered_at: UnixMillis,
    /// Where it was found.
    pub source_path: PathBuf,
    /// What released it.
    pub sidecar: Option<Sidecar>,
    /// The directories in force when it was found.
    pub settings: Arc<Settings>,
    /// From HASHED on.
    pub target: Option<Target>,
    /// From SKIPPED_DUPLICATE on.
    pub duplicate: Option<Duplicate>,
    /// What a look into the file showed, if there was one. Boxed, since few have it.
    pub profiled: Option<Box<Profiled>>,
    /// From QUARANTINED on.
    pub quarantined: Option<Box<Quarantined>>,
}

impl Ingest {
    /// What a look into the content that it has now showed.
    pub fn profile(&self) -> Option<&Profile> {
        let sha256 = self.target.as_ref()?.sha256;
        self.profiled.as_ref().filter(|profiled| profiled.sha256 == sha256).map(|profiled| &profiled.profile)
    }
}

/// Where an ingest's content goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of its content.
    pub sha256: Sha256,
    /// Its place in the warehouse.
    pub warehouse_path: PathBuf,
    /// The copy that gets that name, if the file itself does not.
    pub copy: Option<Copy>,
    /// The checksum in its sidecar that matched.
    pub verified_by: Option<Algorithm>,
}

/// What is being done with a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The file that brought the content.
    pub of: IngestId,
    /// Of its content.
    pub sha256: Sha256,
    /// What is done.
    pub action: DuplicateAction,
    /// Where `move` moves it.
    pub target: Option<PathBuf>,
}

/// A content that is in the warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The file that brought it.
    pub ingest_id: IngestId,
    /// Where it is.
    pub warehouse_path: Box<Path>,
    /// When that file was found complete.
    pub discovered_at: UnixMillis,
    /// The LSN of its MANIFESTED; None as long as it is not finished.
    pub finished: Option<Lsn>,
    /// What stood there when it was published, if that was noted.
    pub published: Option<FileIdentity>,
    /// When that was written: decides when it is forgotten.
    pub listed_at: UnixMillis,
}

impl Original {
    /// Of a content that a snapshot holds.
    pub fn of_row(row: &Row, relocations: &Relocations) -> Original {
        Original {
            ingest_id: row.ingest_id,
            warehouse_path: relocations.now(row.lsn, &row.warehouse_path).into_boxed_path(),
            discovered_at: row.discovered_at,
            finished: Some(row.lsn),
            published: row.published,
            listed_at: row.manifested_at,
        }
    }
}

/// A duplicate that stays in staging, so that it is not hashed again at each scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The file as it was hashed.
    pub identity: FileIdentity,
    /// Of its content.
    pub sha256: Sha256,
    /// The sidecar that released it: it must not release a successor.
    pub sidecar: Option<FileIdentity>,
}
