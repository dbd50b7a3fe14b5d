//! The records: what can happen to a file, as bytes.
//!
//! Invariants: `decode(encode(r)) == r`; `decode` accepts nothing that `encode` does not make; no record is longer
//! than [`RECORD_BYTES_MAX`]. Paths are bytes, since Linux's names are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::format::{PATH_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::types::{FileIdentity, FileTime, IngestId, Sha256, UnixMillis};

/// The longest record, header included: its payload length is a u16.
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES + u16::MAX as usize;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The places and rules in force for the records that follow.
    Settings(Settings),
    /// A file was found complete. Its LSN is the file's ingest id.
    Discovered(Discovered),
    /// Its content is known and durable, and it is about to be moved to `warehouse_path`.
    Hashed(Hashed),
    /// It is in the warehouse, durably; its manifest line is about to be written.
    Moved(IngestId),
    /// Its manifest line is durable, and what it left in staging is gone: done.
    Manifested(IngestId),
    /// Its content is in the warehouse already; what `action` says is about to be done with it.
    SkippedDuplicate(SkippedDuplicate),
    /// What `action` said has been done.
    DuplicateCleared(IngestId),
    /// It vanished or changed before it was moved.
    Abandoned(Abandoned),
    /// Contents of files that were found complete before this instant are forgotten: they may be ingested again.
    Expired(UnixMillis),
}

/// Where things are and what the rules are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Staging directory.
    pub input: PathBuf,
    /// Warehouse root.
    pub warehouse: PathBuf,
    /// Manifests root.
    pub manifests: PathBuf,
    /// What becomes of duplicates.
    pub duplicates: DuplicateAction,
    /// Where `move` moves them.
    pub duplicates_dir: Option<PathBuf>,
}

/// A complete file in staging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Which file, in which state.
    pub identity: FileIdentity,
    /// When it was found complete: decides both partitions.
    pub discovered_at: UnixMillis,
    /// Where it lies.
    pub source_path: PathBuf,
    /// The `.ok` file that released it.
    pub sidecar: Option<Sidecar>,
}

/// The file that says another file is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Which file, in which state.
    pub identity: FileIdentity,
    /// Its path.
    pub path: PathBuf,
}

/// A file with its content's hash, and where it is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The file.
    pub ingest_id: IngestId,
    /// Of its content.
    pub sha256: Sha256,
    /// Where it is about to be published.
    pub warehouse_path: PathBuf,
    /// The copy that is to be renamed there, if the file itself is not.
    pub copy: Option<Copy>,
}

/// A finished, durable copy that waits for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which file.
    pub identity: FileIdentity,
    /// Its temporary path.
    pub path: PathBuf,
}

/// A file whose content is in the warehouse already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedDuplicate {
    /// The file.
    pub ingest_id: IngestId,
    /// Of its content.
    pub sha256: Sha256,
    /// The file that brought the content.
    pub duplicate_of: IngestId,
    /// What is to be done with it.
    pub action: DuplicateAction,
    /// Where `Move` moves it.
    pub target: Option<PathBuf>,
}

/// What becomes of a staged file whose content is in the warehouse already.
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
    /// As the option and the log write it.
    pub fn text(self) -> &'static str {
        match self {
            DuplicateAction::Keep => "keep",
            DuplicateAction::Remove => "remove",
            DuplicateAction::Move => "move",
        }
    }
}

/// A file that will not be ingested in the state it was found in.
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
    /// The directories are others than when it was found.
    SettingsChanged = 5,
    /// It has to be copied, not renamed: it got another name, or the directories are on different mounts.
    NeedsCopy = 6,
}

impl AbandonReason {
    const ALL: [AbandonReason; 6] = [
        AbandonReason::Vanished,
        AbandonReason::Changed,
        AbandonReason::OpenForWriting,
        AbandonReason::Failed,
        AbandonReason::SettingsChanged,
        AbandonReason::NeedsCopy,
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
        }
    }
}

const KIND_SETTINGS: u8 = 1;
const KIND_DISCOVERED: u8 = 2;
const KIND_HASHED: u8 = 3;
const KIND_MOVED: u8 = 4;
const KIND_MANIFESTED: u8 = 5;
const KIND_SKIPPED_DUPLICATE: u8 = 6;
const KIND_DUPLICATE_CLEARED: u8 = 7;
const KIND_ABANDONED: u8 = 8;
const KIND_EXPIRED: u8 = 9;

impl Record {
    /// The file that it is about; None for those about no file, and for DISCOVERED, whose LSN is the id.
    pub fn ingest_id(&self) -> Option<IngestId> {
        match self {
            Record::Settings(_) | Record::Discovered(_) | Record::Expired(_) => None,
            Record::Hashed(hashed) => Some(hashed.ingest_id),
            Record::SkippedDuplicate(skipped) => Some(skipped.ingest_id),
            Record::Abandoned(abandoned) => Some(abandoned.ingest_id),
            Record::Moved(id) | Record::Manifested(id) | Record::DuplicateCleared(id) => Some(*id),
        }
    }

    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        let kind = self.encode_payload(out);
        let length = out.len() - start - RECORD_HEADER_BYTES;
        debug_assert!(u16::try_from(length).is_ok(), "paths are limited, so records are");
        out[start] = kind;
        out[start + 2..start + 4].copy_from_slice(&(length as u16).to_le_bytes());
    }

    fn encode_payload(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Record::Settings(settings) => {
                put_path(out, &settings.input);
                put_path(out, &settings.warehouse);
                put_path(out, &settings.manifests);
                out.push(settings.duplicates as u8);
                put_option(out, settings.duplicates_dir.as_ref(), |out, path| put_path(out, path));
                KIND_SETTINGS
            }
            Record::Discovered(found) => {
                put_identity(out, &found.identity);
                put_u64(out, found.discovered_at.0);
                put_path(out, &found.source_path);
                put_option(out, found.sidecar.as_ref(), |out, sidecar| {
                    put_identity(out, &sidecar.identity);
                    put_path(out, &sidecar.path);
                });
                KIND_DISCOVERED
            }
            Record::Hashed(hashed) => {
                put_u64(out, hashed.ingest_id.0);
                out.extend_from_slice(&hashed.sha256.0);
                put_path(out, &hashed.warehouse_path);
                put_option(out, hashed.copy.as_ref(), |out, copy| {
                    put_identity(out, &copy.identity);
                    put_path(out, &copy.path);
                });
                KIND_HASHED
            }
            Record::SkippedDuplicate(skipped) => {
                put_u64(out, skipped.ingest_id.0);
                out.extend_from_slice(&skipped.sha256.0);
                put_u64(out, skipped.duplicate_of.0);
                out.push(skipped.action as u8);
                put_option(out, skipped.target.as_ref(), |out, path| put_path(out, path));
                KIND_SKIPPED_DUPLICATE
            }
            Record::Abandoned(abandoned) => {
                put_u64(out, abandoned.ingest_id.0);
                out.push(abandoned.reason as u8);
                KIND_ABANDONED
            }
            Record::Expired(before) => {
                put_u64(out, before.0);
                KIND_EXPIRED
            }
            Record::Moved(id) => put_id(out, *id, KIND_MOVED),
            Record::Manifested(id) => put_id(out, *id, KIND_MANIFESTED),
            Record::DuplicateCleared(id) => put_id(out, *id, KIND_DUPLICATE_CLEARED),
        }
    }

    /// Reads the record at the front of `bytes` and the number of bytes it takes; None if there is none.
    pub fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
        let (header, rest) = bytes.split_at_checked(RECORD_HEADER_BYTES)?;
        let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
        let mut fields = Fields(rest.get(..length)?);
        let record = fields.record(header[0])?;
        (header[1] == 0 && fields.0.is_empty()).then_some((record, RECORD_HEADER_BYTES + length))
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_id(out: &mut Vec<u8>, id: IngestId, kind: u8) -> u8 {
    put_u64(out, id.0);
    kind
}

fn put_path(out: &mut Vec<u8>, path: &Path) {
    let bytes = path.as_os_str().as_bytes();
    debug_assert!(bytes.len() <= PATH_BYTES_MAX, "configuration and scan let no longer path in");
    let bytes = &bytes[..bytes.len().min(PATH_BYTES_MAX)];
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_time(out: &mut Vec<u8>, time: FileTime) {
    out.extend_from_slice(&time.sec.to_le_bytes());
    out.extend_from_slice(&time.nsec.to_le_bytes());
}

fn put_identity(out: &mut Vec<u8>, identity: &FileIdentity) {
    put_u64(out, identity.device);
    put_u64(out, identity.inode);
    put_u64(out, identity.size);
    put_time(out, identity.mtime);
    put_time(out, identity.ctime);
}

/// What is left to read of a record's payload.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn record(&mut self, kind: u8) -> Option<Record> {
        Some(match kind {
            KIND_SETTINGS => Record::Settings(Settings {
                input: self.path()?,
                warehouse: self.path()?,
                manifests: self.path()?,
                duplicates: self.action()?,
                duplicates_dir: self.option(Fields::path)?,
            }),
            KIND_DISCOVERED => Record::Discovered(Discovered {
                identity: self.identity()?,
                discovered_at: UnixMillis(self.u64()?),
                source_path: self.path()?,
                sidecar: self.option(|fields| Some(Sidecar { identity: fields.identity()?, path: fields.path()? }))?,
            }),
            KIND_HASHED => Record::Hashed(Hashed {
                ingest_id: self.id()?,
                sha256: Sha256(self.array()?),
                warehouse_path: self.path()?,
                copy: self.option(|fields| Some(Copy { identity: fields.identity()?, path: fields.path()? }))?,
            }),
            KIND_MOVED => Record::Moved(self.id()?),
            KIND_MANIFESTED => Record::Manifested(self.id()?),
            KIND_SKIPPED_DUPLICATE => Record::SkippedDuplicate(SkippedDuplicate {
                ingest_id: self.id()?,
                sha256: Sha256(self.array()?),
                duplicate_of: self.id()?,
                action: self.action()?,
                target: self.option(Fields::path)?,
            }),
            KIND_DUPLICATE_CLEARED => Record::DuplicateCleared(self.id()?),
            KIND_ABANDONED => Record::Abandoned(Abandoned { ingest_id: self.id()?, reason: self.reason()? }),
            KIND_EXPIRED => Record::Expired(UnixMillis(self.u64()?)),
            _ => return None,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Option<IngestId> {
        self.u64().map(IngestId)
    }

    fn path(&mut self) -> Option<PathBuf> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (path, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (length <= PATH_BYTES_MAX).then(|| PathBuf::from(OsStr::from_bytes(path)))
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn time(&mut self) -> Option<FileTime> {
        Some(FileTime { sec: i64::from_le_bytes(self.array()?), nsec: u32::from_le_bytes(self.array()?) })
    }

    fn identity(&mut self) -> Option<FileIdentity> {
        Some(FileIdentity {
            device: self.u64()?,
            inode: self.u64()?,
            size: self.u64()?,
            mtime: self.time()?,
            ctime: self.time()?,
        })
    }

    fn action(&mut self) -> Option<DuplicateAction> {
        let byte = self.byte()?;
        [DuplicateAction::Keep, DuplicateAction::Remove, DuplicateAction::Move]
            .into_iter()
            .find(|action| *action as u8 == byte)
    }

    fn reason(&mut self) -> Option<AbandonReason> {
        let byte = self.byte()?;
        AbandonReason::ALL.into_iter().find(|reason| *reason as u8 == byte)
    }
}
