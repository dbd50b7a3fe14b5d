//! The index's entries for a file and for a content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::disk::lifecycle::FileState;
use crate::journal::disk::record::{
    Copy, DuplicateAction, KeyRule, Profile, Profiled, Quarantined, Settings, Sidecar, Upload,
};
use crate::journal::disk::relocations::Relocations;
use crate::journal::disk::snapshot::Row;
use crate::journal::memory::groups::OpenGroup;
use crate::types::{Algorithm, FileIdentity, IngestId, Key, Lsn, Sha256, UnixMillis};

/// The place of a manifest line among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The LSN of MOVED, from then on: lines are written in this order.
    pub moved_at: Option<Lsn>,
    /// The line's number, if MOVED says one.
    pub seq: Option<u64>,
}

/// A file that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Its ingest id, which never changes.
    pub id: IngestId,
    /// Its state.
    pub state: FileState,
    /// Its identity.
    pub identity: FileIdentity,
    /// When it was found complete.
    pub discovered_at: UnixMillis,
    /// Its path in staging.
    pub source_path: PathBuf,
    /// The sidecar that released it.
    pub sidecar: Option<Sidecar>,
    /// The directories in force when it was found.
    pub settings: Arc<Settings>,
    /// How its key is made.
    pub key_rule: KeyRule,
    /// From HASHED on.
    pub target: Option<Target>,
    /// The shard and the entry of the lake that claim its content for it.
    pub claimed: Option<(u16, u64)>,
    /// Where its manifest line comes among the others.
    pub order: Order,
    /// From SKIPPED_DUPLICATE on.
    pub duplicate: Option<Duplicate>,
    /// The result of parsing the file as CSV, if that was done. Boxed, since few files have it.
    pub profiled: Option<Box<Profiled>>,
    /// From QUARANTINED on.
    pub quarantined: Option<Box<Quarantined>>,
    /// The group with which it is moved and listed.
    pub group: Option<Arc<OpenGroup>>,
}

impl Ingest {
    /// Its key, with this content.
    pub fn key(&self, sha256: &Sha256) -> Key {
        self.key_rule.key(&self.source_path, sha256)
    }

    /// The key to which it refers as a duplicate.
    pub fn refers_to(&self) -> Option<Key> {
        self.duplicate.as_ref().map(|duplicate| self.key(&duplicate.sha256))
    }

    /// The result of parsing its current content as CSV.
    pub fn profile(&self) -> Option<&Profile> {
        let sha256 = self.target.as_ref()?.sha256;
        self.profiled.as_ref().filter(|profiled| profiled.sha256 == sha256).map(|profiled| &profiled.profile)
    }
}

/// The content of a file and its planned path in the warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The hash of its content.
    pub sha256: Sha256,
    /// Its path in the warehouse.
    pub warehouse_path: PathBuf,
    /// The copy that gets that name, if the file itself does not.
    pub copy: Option<Copy>,
    /// The checksum in its sidecar that matched.
    pub verified_by: Option<Algorithm>,
    /// The upload into which a lake gets it. Boxed, since few files have it.
    pub upload: Option<Box<Upload>>,
}

/// A duplicate, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The file that had the content first.
    pub of: IngestId,
    /// The hash of its content.
    pub sha256: Sha256,
    /// What is done with it.
    pub action: DuplicateAction,
    /// Where `move` moves it.
    pub target: Option<PathBuf>,
}

/// A content that is in the warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The file that had it first.
    pub ingest_id: IngestId,
    /// Its path in the warehouse.
    pub warehouse_path: Box<Path>,
    /// When that file was found complete.
    pub discovered_at: UnixMillis,
    /// The LSN of its MANIFESTED; None while it is not finished.
    pub finished: Option<Lsn>,
    /// The identity of the file at that path when it was published, if it was recorded.
    pub published: Option<FileIdentity>,
    /// When its MANIFESTED was written: decides when the content is forgotten.
    pub listed_at: UnixMillis,
}

impl Original {
    /// Makes the entry of a content that a snapshot holds.
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
    /// The file's identity when it was hashed.
    pub identity: FileIdentity,
    /// The hash of its content.
    pub sha256: Sha256,
    /// The key that it has in common with its original.
    pub key: Key,
    /// The sidecar that released it: it must not release another file.
    pub sidecar: Option<FileIdentity>,
}
