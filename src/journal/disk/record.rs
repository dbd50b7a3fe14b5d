//! The records: one for each step of a file.
//!
//! Invariants: no record is longer than [`RECORD_BYTES_MAX`]. Paths are bytes, since file names on Linux are.

mod code;
mod csv;
mod group;
mod identity;
mod lake;

use std::path::PathBuf;

pub use csv::{CsvFault, HeaderFault, Profile, Profiled, Validation};
pub use group::{Group, KnownMember};
pub use identity::{EmptyFiles, Identity, KeyRule, SameBy};
pub use lake::{Claimed, Upload, Uploading};

use super::expired::Ranges;
use super::format::RECORD_HEADER_BYTES;
use crate::store::location::Location;
use crate::types::{Algorithm, FileIdentity, IngestId, Key, Lsn, Sha256, UnixMillis};

/// The longest record, header included: its payload length is a u16.
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES + u16::MAX as usize;

/// One step of one file, or a change that concerns all files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The directories and options in force for the records that follow.
    Settings(Settings),
    /// A file was found complete. Its LSN is the file's ingest id.
    Discovered(Discovered),
    /// Its content is known and durable, and it is about to be moved to `warehouse_path`.
    Hashed(Hashed),
    /// It is in the warehouse, durably; its manifest line is about to be written.
    Moved(Moved),
    /// Its manifest line is durable, and its leftovers in staging are removed: done.
    Manifested(IngestId),
    /// Its content is in the warehouse already; `action` is about to be done.
    SkippedDuplicate(SkippedDuplicate),
    /// `action` has been done.
    DuplicateCleared(IngestId),
    /// It vanished or changed before it was moved.
    Abandoned(Abandoned),
    /// Contents of files that were found complete before this instant are forgotten: they may be ingested again.
    Expired(UnixMillis),
    /// The result of parsing the file as CSV; its HASHED, with the same content, follows.
    Profiled(Profiled),
    /// It cannot be ingested as it is, and is about to be moved out of staging.
    Quarantined(Quarantined),
    /// It has been moved to the quarantine.
    QuarantineDone(IngestId),
    /// Files with this key may be ingested again, if one was ingested before.
    Forgotten(Key),
    /// Further options: in force for the files that follow, and for files that a recovery hashes again.
    Rules(Rules),
    /// The layout of the warehouse, if it is not the one before.
    Layout(LayoutRule),
    /// The wall clock has jumped.
    ClockJumped(ClockJumped),
    /// Contents that were listed before these instants, at LSNs before these, are forgotten. Replaces
    /// [`Record::Expired`], which has no end.
    ExpiredRanges(Ranges),
    /// A duplicate that was kept in staging is gone.
    KeptGone(KeptGone),
    /// By what two files that are found from here on are one and the same, and what happens to empty ones.
    Identity(Identity),
    /// A directory was moved: paths in earlier records below its old path are now below the new one.
    Relocated(Relocated),
    /// A group of files is about to be moved, all of them or none.
    Group(Group),
    /// The group with that LSN is done: all its members are listed and its group file is removed, or all were put back.
    GroupDone(Lsn),
    /// The lake of the settings: its id. A journal works with one lake only.
    Lake([u8; 16]),
    /// An entry of the lake claims the file's content, for this file: nothing undoes that.
    Claimed(Claimed),
    /// The file's content is put into this upload of the lake, part by part, until the next record of the file.
    Uploading(Uploading),
}

/// A step of the wall clock that the passing of time does not explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockJumped {
    /// The first LSN that was written with the new time: this record's own or an earlier one.
    pub from: Lsn,
    /// The wall clock's time from then on, minus the time that has passed according to the journal itself.
    pub shift_ms: i64,
}

/// A kept duplicate, by its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptGone {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// The old and the new path of one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocated {
    /// The path before the move.
    pub old: PathBuf,
    /// The path since.
    pub new: PathBuf,
}

/// The directories and options of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Staging directory.
    pub input: PathBuf,
    /// Warehouse root.
    pub warehouse: PathBuf,
    /// Manifests root.
    pub manifests: PathBuf,
    /// What is done with duplicates.
    pub duplicates: DuplicateAction,
    /// Where `move` moves them.
    pub duplicates_dir: Option<PathBuf>,
}

impl Settings {
    /// True if the warehouse is a lake: then it and the manifests are URLs.
    pub fn is_lake(&self) -> bool {
        self.warehouse.to_str().is_some_and(Location::is_meant)
    }
}

/// Options beyond moving files and listing them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Directory for files that cannot be ingested; None: they stay in staging.
    pub quarantine: Option<PathBuf>,
    /// How files are parsed as CSV; None: they are not.
    pub validation: Option<Validation>,
    /// Only files whose content matches a checksum in their sidecar are ingested.
    pub require_checksum: bool,
}

/// How files are arranged in the warehouse. It decides the paths of files that are not HASHED yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutRule {
    /// The template of a file's directory, at most 1,024 bytes.
    pub template: String,
    /// The regular expression that files' names must match, at most 1,024 bytes; None: any name.
    pub name_pattern: Option<String>,
}

impl Default for LayoutRule {
    /// The layout of a journal that records none.
    fn default() -> LayoutRule {
        LayoutRule { template: DEFAULT_TEMPLATE.to_owned(), name_pattern: None }
    }
}

/// A partition per day.
pub const DEFAULT_TEMPLATE: &str = "ingest_date={ingest_date}";

/// A complete file in staging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Its identity.
    pub identity: FileIdentity,
    /// When it was found complete: decides both partitions.
    pub discovered_at: UnixMillis,
    /// Its path in staging.
    pub source_path: PathBuf,
    /// The `.ok` file that released it.
    pub sidecar: Option<Sidecar>,
}

/// A file that says another file is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Its identity.
    pub identity: FileIdentity,
    /// Its path.
    pub path: PathBuf,
}

/// A file with the hash of its content and its planned path in the warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The file.
    pub ingest_id: IngestId,
    /// The hash of its content.
    pub sha256: Sha256,
    /// Where it is about to be published.
    pub warehouse_path: PathBuf,
    /// The copy that is to be renamed there, if the file itself is not.
    pub copy: Option<Copy>,
    /// The strongest checksum in its sidecar that matched its content, if there was one.
    pub verified_by: Option<Algorithm>,
}

/// A finished, durable copy that waits for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its identity.
    pub identity: FileIdentity,
    /// Its temporary path.
    pub path: PathBuf,
}

/// A file that has its name in the warehouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The file.
    pub ingest_id: IngestId,
    /// The identity of the file at that name after the rename and its sync; None if it was not recorded, as in older
    /// journals. As long as the file at that name has exactly this identity, its content need not be read.
    pub published: Option<FileIdentity>,
    /// The number of its manifest line, from 1: one more than that of the MOVED before it. None in a lake, where the entry
    /// numbers its lines, and in older journals.
    pub seq: Option<u64>,
}

/// A file whose content is in the warehouse already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedDuplicate {
    /// The file.
    pub ingest_id: IngestId,
    /// The hash of its content.
    pub sha256: Sha256,
    /// The file that had the content first.
    pub duplicate_of: IngestId,
    /// What is done with it.
    pub action: DuplicateAction,
    /// Where `Move` moves it.
    pub target: Option<PathBuf>,
}

/// What is done with a staged file whose content is in the warehouse already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum DuplicateAction {
    /// It stays where it is.
    Keep = 1,
    /// It is unlinked.
    Remove = 2,
    /// It is moved to the directory for duplicates.
    Move = 3,
}

impl DuplicateAction {
    /// The spelling of the option and of the log.
    pub fn text(self) -> &'static str {
        match self {
            DuplicateAction::Keep => "keep",
            DuplicateAction::Remove => "remove",
            DuplicateAction::Move => "move",
        }
    }
}

/// A file that cannot be ingested as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The file.
    pub ingest_id: IngestId,
    /// Why.
    pub cause: QuarantineCause,
    /// The line of the fault, if it is known: the first line is 1.
    pub line: Option<u64>,
    /// What exactly, for people.
    pub detail: String,
    /// The path that it is moved to.
    pub target: PathBuf,
}

/// Why a file cannot be ingested as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum QuarantineCause {
    /// Its sidecar holds another SHA-256.
    ChecksumDiffers = 1,
    /// It cannot be read.
    Unreadable = 2,
    /// It is not valid CSV.
    Malformed = 3,
    /// Its name does not fit the warehouse's layout.
    NoMatch = 4,
    /// It has no bytes.
    Empty = 5,
}

impl QuarantineCause {
    const ALL: [QuarantineCause; 5] = [
        QuarantineCause::ChecksumDiffers,
        QuarantineCause::Unreadable,
        QuarantineCause::Malformed,
        QuarantineCause::NoMatch,
        QuarantineCause::Empty,
    ];

    /// The spelling of the log and of the reason file.
    pub fn text(self) -> &'static str {
        match self {
            QuarantineCause::ChecksumDiffers => "checksum_differs",
            QuarantineCause::Unreadable => "unreadable",
            QuarantineCause::Malformed => "malformed",
            QuarantineCause::NoMatch => "no_match",
            QuarantineCause::Empty => "empty",
        }
    }
}

/// A file that will not be ingested in the state in which it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// The file.
    pub ingest_id: IngestId,
    /// Why.
    pub reason: AbandonReason,
}

/// Why a file was abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AbandonReason {
    /// It is gone.
    Vanished = 1,
    /// It is another file, or was written to.
    Changed = 2,
    /// A writer has it open.
    OpenForWriting = 3,
    /// It could not be read or copied.
    Failed = 4,
    /// The directories have changed since it was found.
    SettingsChanged = 5,
    /// It has to be copied, not renamed: it got another name, or the directories are on different mounts.
    NeedsCopy = 6,
    /// Another file of its group cannot be moved, so that none is.
    Group = 7,
    /// Another host of the lake has claimed its content, and has not listed it yet.
    ClaimedElsewhere = 8,
}

impl AbandonReason {
    const ALL: [AbandonReason; 8] = [
        AbandonReason::Vanished,
        AbandonReason::Changed,
        AbandonReason::OpenForWriting,
        AbandonReason::Failed,
        AbandonReason::SettingsChanged,
        AbandonReason::NeedsCopy,
        AbandonReason::Group,
        AbandonReason::ClaimedElsewhere,
    ];

    /// For logs and `inspect`.
    pub fn text(self) -> &'static str {
        match self {
            AbandonReason::Vanished => "vanished",
            AbandonReason::Changed => "changed",
            AbandonReason::OpenForWriting => "open for writing",
            AbandonReason::Failed => "failed",
            AbandonReason::SettingsChanged => "settings changed",
            AbandonReason::NeedsCopy => "must be copied",
            AbandonReason::Group => "its group was put back",
            AbandonReason::ClaimedElsewhere => "claimed by another host",
        }
    }
}

impl Record {
    /// The number of a manifest line that the record gives.
    pub fn seq(&self) -> Option<u64> {
        if let Record::Moved(moved) = self { moved.seq } else { None }
    }

    /// The file that the record is about; None for records about no single file, and for DISCOVERED, whose LSN is the
    /// id.
    pub fn ingest_id(&self) -> Option<IngestId> {
        match self {
            Record::Settings(_)
            | Record::Lake(_)
            | Record::Discovered(_)
            | Record::Expired(_)
            | Record::Forgotten(_)
            | Record::ClockJumped(_)
            | Record::ExpiredRanges(_)
            | Record::KeptGone(_)
            | Record::Relocated(_)
            | Record::Group(_)
            | Record::GroupDone(_)
            | Record::Identity(_)
            | Record::Rules(_)
            | Record::Layout(_) => None,
            Record::Hashed(hashed) => Some(hashed.ingest_id),
            Record::SkippedDuplicate(skipped) => Some(skipped.ingest_id),
            Record::Abandoned(abandoned) => Some(abandoned.ingest_id),
            Record::Profiled(profiled) => Some(profiled.ingest_id),
            Record::Quarantined(quarantined) => Some(quarantined.ingest_id),
            Record::Moved(moved) => Some(moved.ingest_id),
            Record::Claimed(claimed) => Some(claimed.ingest_id),
            Record::Uploading(uploading) => Some(uploading.ingest_id),
            Record::Manifested(id) | Record::DuplicateCleared(id) | Record::QuarantineDone(id) => Some(*id),
        }
    }
}
