//! The encoding of records.
//!
//! Invariants: `decode(encode(r)) == r`; `decode` accepts nothing that `encode` does not make.

mod csv;
mod fields;
mod group;
mod lake;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use csv::{put_header_faults, put_profile, put_validation};
use fields::{Fields, put_identity, put_option, put_path, put_text, put_u64};
use group::put_group;
use lake::{KIND_CLAIMED, KIND_UPLOADING, put_claimed, put_uploading};

use super::{
    AbandonReason, Abandoned, ClockJumped, Copy, Discovered, DuplicateAction, EmptyFiles, Hashed, Identity, KeptGone,
    LayoutRule, Moved, Profiled, QuarantineCause, Quarantined, Record, Relocated, Rules, SameBy, Settings, Sidecar,
    SkippedDuplicate,
};
use crate::journal::disk::expired::{Cutoffs, Ranges};
use crate::journal::disk::format::{PATH_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::types::{Algorithm, FileIdentity, FileTime, IngestId, Key, Lsn, Sha256, UnixMillis};

const KIND_SETTINGS: u8 = 1;
const KIND_DISCOVERED: u8 = 2;
const KIND_HASHED: u8 = 3;
const KIND_MOVED: u8 = 4;
const KIND_MANIFESTED: u8 = 5;
const KIND_SKIPPED_DUPLICATE: u8 = 6;
const KIND_DUPLICATE_CLEARED: u8 = 7;
const KIND_ABANDONED: u8 = 8;
const KIND_EXPIRED: u8 = 9;
const KIND_PROFILED: u8 = 10;
const KIND_QUARANTINED: u8 = 11;
const KIND_QUARANTINE_DONE: u8 = 12;
const KIND_FORGOTTEN: u8 = 13;
const KIND_RULES: u8 = 14;
const KIND_MOVED_AS: u8 = 15;
/// HASHED plus the algorithm of the checksum that verified the content.
const KIND_VERIFIED: u8 = 16;
const KIND_CLOCK_JUMPED: u8 = 17;
const KIND_EXPIRED_RANGES: u8 = 18;
const KIND_KEPT_GONE: u8 = 19;
const KIND_RELOCATED: u8 = 20;
/// PROFILED plus the faults of the header.
const KIND_PROFILED_FAULTS: u8 = 21;
const KIND_GROUP: u8 = 23;
const KIND_GROUP_DONE: u8 = 25;
const KIND_IDENTITY: u8 = 22;
const KIND_LAYOUT: u8 = 24;
const KIND_LAKE: u8 = 26;
/// MOVED plus the number of the manifest line.
const KIND_MOVED_NUMBERED: u8 = 29;

impl Record {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        let kind = self.encode_payload(out);
        let length = out.len() - start - RECORD_HEADER_BYTES;
        assert!(!crate::limits::IS_CHECKED || u16::try_from(length).is_ok(), "paths are limited, so records are");
        out[start] = kind;
        out[start + 2..start + 4].copy_from_slice(&(length as u16).to_le_bytes());
    }

    fn encode_payload(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Record::Settings(settings) => {
                for path in [&settings.input, &settings.warehouse, &settings.manifests] {
                    put_path(out, path);
                }
                out.push(settings.duplicates as u8);
                put_option(out, settings.duplicates_dir.as_ref(), |out, path| put_path(out, path));
                KIND_SETTINGS
            }
            Record::Discovered(found) => put_discovered(out, found),
            Record::Hashed(hashed) => put_hashed(out, hashed),
            Record::SkippedDuplicate(skipped) => {
                put_skipped(out, skipped);
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
            Record::Profiled(profiled) => {
                put_u64(out, profiled.ingest_id.0);
                out.extend_from_slice(&profiled.sha256.0);
                put_profile(out, &profiled.profile);
                if put_header_faults(out, &profiled.profile) { KIND_PROFILED_FAULTS } else { KIND_PROFILED }
            }
            Record::Quarantined(quarantined) => {
                put_quarantined(out, quarantined);
                KIND_QUARANTINED
            }
            Record::Forgotten(key) => {
                out.extend_from_slice(&key.0);
                KIND_FORGOTTEN
            }
            Record::Rules(rules) => {
                put_rules(out, rules);
                KIND_RULES
            }
            Record::ClockJumped(_)
            | Record::ExpiredRanges(_)
            | Record::KeptGone(_)
            | Record::Relocated(_)
            | Record::Group(_)
            | Record::GroupDone(_)
            | Record::Identity(_)
            | Record::Lake(_)
            | Record::Layout(_) => self.encode_note(out),
            Record::QuarantineDone(id) => put_id(out, *id, KIND_QUARANTINE_DONE),
            Record::Moved(moved) => put_moved(out, moved),
            Record::Claimed(claimed) => put_claimed(out, claimed),
            Record::Uploading(uploading) => put_uploading(out, uploading),
            Record::Manifested(id) => put_id(out, *id, KIND_MANIFESTED),
            Record::DuplicateCleared(id) => put_id(out, *id, KIND_DUPLICATE_CLEARED),
        }
    }

    /// Encodes the payload of a record that is about no single file.
    fn encode_note(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Record::ClockJumped(jumped) => {
                put_u64(out, jumped.from.0);
                out.extend_from_slice(&jumped.shift_ms.to_le_bytes());
                KIND_CLOCK_JUMPED
            }
            Record::ExpiredRanges(ranges) => {
                put_cutoffs(out, &ranges.listed);
                put_cutoffs(out, &ranges.found);
                put_u64(out, ranges.old_lsn.0);
                KIND_EXPIRED_RANGES
            }
            Record::KeptGone(gone) => {
                put_u64(out, gone.device);
                put_u64(out, gone.inode);
                KIND_KEPT_GONE
            }
            Record::Relocated(roots) => {
                put_path(out, &roots.old);
                put_path(out, &roots.new);
                KIND_RELOCATED
            }
            Record::Group(group) => {
                put_group(out, group);
                KIND_GROUP
            }
            Record::GroupDone(lsn) => {
                put_u64(out, lsn.0);
                KIND_GROUP_DONE
            }
            Record::Layout(layout) => {
                put_text(out, &layout.template);
                put_option(out, layout.name_pattern.as_ref(), |out, pattern| put_text(out, pattern));
                KIND_LAYOUT
            }
            Record::Identity(identity) => {
                out.extend_from_slice(&[identity.same_by as u8, identity.empty as u8]);
                KIND_IDENTITY
            }
            Record::Lake(id) => {
                out.extend_from_slice(id);
                KIND_LAKE
            }
            _ => 0,
        }
    }

    /// Reads the record at the front of `bytes`. Returns it and its length in bytes; None if there is no valid record.
    pub fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
        let (header, rest) = bytes.split_at_checked(RECORD_HEADER_BYTES)?;
        let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
        let mut fields = Fields(rest.get(..length)?);
        let record = fields.record(header[0])?;
        (header[1] == 0 && fields.0.is_empty()).then_some((record, RECORD_HEADER_BYTES + length))
    }
}

fn put_id(out: &mut Vec<u8>, id: IngestId, kind: u8) -> u8 {
    put_u64(out, id.0);
    kind
}

fn put_cutoffs(out: &mut Vec<u8>, cutoffs: &Cutoffs) {
    out.extend_from_slice(&(cutoffs.steps().len() as u16).to_le_bytes());
    for (end, before) in cutoffs.steps() {
        put_u64(out, end.0);
        put_u64(out, before.0);
    }
}

fn put_discovered(out: &mut Vec<u8>, found: &Discovered) -> u8 {
    put_identity(out, &found.identity);
    put_u64(out, found.discovered_at.0);
    put_path(out, &found.source_path);
    put_option(out, found.sidecar.as_ref(), |out, sidecar| {
        put_identity(out, &sidecar.identity);
        put_path(out, &sidecar.path);
    });
    KIND_DISCOVERED
}

fn put_hashed(out: &mut Vec<u8>, hashed: &Hashed) -> u8 {
    put_u64(out, hashed.ingest_id.0);
    out.extend_from_slice(&hashed.sha256.0);
    put_path(out, &hashed.warehouse_path);
    put_option(out, hashed.copy.as_ref(), |out, copy| {
        put_identity(out, &copy.identity);
        put_path(out, &copy.path);
    });
    let Some(algorithm) = hashed.verified_by else { return KIND_HASHED };
    out.push(algorithm as u8);
    KIND_VERIFIED
}

fn put_moved(out: &mut Vec<u8>, moved: &Moved) -> u8 {
    put_u64(out, moved.ingest_id.0);
    if let Some(seq) = moved.seq {
        put_u64(out, seq);
        put_option(out, moved.published.as_ref(), put_identity);
        return KIND_MOVED_NUMBERED;
    }
    let Some(published) = &moved.published else { return KIND_MOVED };
    put_identity(out, published);
    KIND_MOVED_AS
}

fn put_rules(out: &mut Vec<u8>, rules: &Rules) {
    put_option(out, rules.quarantine.as_ref(), |out, path| put_path(out, path));
    put_option(out, rules.validation, put_validation);
    // Absent means false: older journals do not have this byte.
    out.extend(rules.require_checksum.then_some(1));
}

fn put_skipped(out: &mut Vec<u8>, skipped: &SkippedDuplicate) {
    put_u64(out, skipped.ingest_id.0);
    out.extend_from_slice(&skipped.sha256.0);
    put_u64(out, skipped.duplicate_of.0);
    out.push(skipped.action as u8);
    put_option(out, skipped.target.as_ref(), |out, path| put_path(out, path));
}

fn put_quarantined(out: &mut Vec<u8>, quarantined: &Quarantined) {
    put_u64(out, quarantined.ingest_id.0);
    out.push(quarantined.cause as u8);
    put_option(out, quarantined.line, put_u64);
    put_text(out, &quarantined.detail);
    put_path(out, &quarantined.target);
}

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
            KIND_HASHED | KIND_VERIFIED => Record::Hashed(Hashed {
                ingest_id: self.id()?,
                sha256: Sha256(self.array()?),
                warehouse_path: self.path()?,
                copy: self.option(|fields| Some(Copy { identity: fields.identity()?, path: fields.path()? }))?,
                verified_by: if kind == KIND_VERIFIED { Some(self.algorithm()?) } else { None },
            }),
            KIND_MOVED | KIND_MOVED_AS | KIND_MOVED_NUMBERED => Record::Moved(self.moved(kind)?),
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
            KIND_PROFILED | KIND_PROFILED_FAULTS => Record::Profiled(Profiled {
                ingest_id: self.id()?,
                sha256: Sha256(self.array()?),
                profile: self.profile(kind == KIND_PROFILED_FAULTS)?,
            }),
            KIND_QUARANTINED => Record::Quarantined(Quarantined {
                ingest_id: self.id()?,
                cause: self.cause()?,
                line: self.option(Fields::u64)?,
                detail: self.text()?,
                target: self.path()?,
            }),
            KIND_QUARANTINE_DONE => Record::QuarantineDone(self.id()?),
            KIND_RULES => Record::Rules(Rules {
                quarantine: self.option(Fields::path)?,
                validation: self.option(Fields::validation)?,
                require_checksum: self.flag_at_the_end()?,
            }),
            KIND_FORGOTTEN => Record::Forgotten(Key(self.array()?)),
            KIND_CLAIMED => Record::Claimed(self.claimed()?),
            KIND_UPLOADING => Record::Uploading(self.uploading()?),
            kind => self.note(kind)?,
        })
    }

    fn moved(&mut self, kind: u8) -> Option<Moved> {
        let ingest_id = self.id()?;
        Some(match kind {
            KIND_MOVED_NUMBERED => {
                let seq = Some(self.u64().filter(|seq| *seq > 0)?);
                Moved { ingest_id, published: self.option(Fields::identity)?, seq }
            }
            KIND_MOVED_AS => Moved { ingest_id, published: Some(self.identity()?), seq: None },
            _ => Moved { ingest_id, published: None, seq: None },
        })
    }

    /// Reads a record that is about no single file.
    fn note(&mut self, kind: u8) -> Option<Record> {
        Some(match kind {
            KIND_CLOCK_JUMPED => {
                Record::ClockJumped(ClockJumped { from: Lsn(self.u64()?), shift_ms: i64::from_le_bytes(self.array()?) })
            }
            KIND_EXPIRED_RANGES => Record::ExpiredRanges(Ranges {
                listed: self.cutoffs()?,
                found: self.cutoffs()?,
                old_lsn: Lsn(self.u64()?),
            }),
            KIND_KEPT_GONE => Record::KeptGone(KeptGone { device: self.u64()?, inode: self.u64()? }),
            KIND_LAYOUT => {
                Record::Layout(LayoutRule { template: self.text()?, name_pattern: self.option(Fields::text)? })
            }
            KIND_RELOCATED => Record::Relocated(Relocated { old: self.path()?, new: self.path()? }),
            KIND_GROUP => Record::Group(self.group()?),
            KIND_GROUP_DONE => Record::GroupDone(Lsn(self.u64()?)),
            KIND_LAKE => Record::Lake(self.array()?),
            KIND_IDENTITY => Record::Identity(Identity { same_by: self.same_by()?, empty: self.empty_files()? }),
            _ => return None,
        })
    }

    fn id(&mut self) -> Option<IngestId> {
        self.u64().map(IngestId)
    }

    fn cutoffs(&mut self) -> Option<Cutoffs> {
        let count = u16::from_le_bytes(self.array()?);
        let steps = (0..count).map(|_| Some((Lsn(self.u64()?), UnixMillis(self.u64()?)))).collect::<Option<_>>()?;
        Cutoffs::new(steps)
    }

    fn path(&mut self) -> Option<PathBuf> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (path, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (length <= PATH_BYTES_MAX).then(|| PathBuf::from(OsStr::from_bytes(path)))
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

    fn same_by(&mut self) -> Option<SameBy> {
        let byte = self.byte()?;
        SameBy::ALL.into_iter().find(|same_by| *same_by as u8 == byte)
    }

    fn empty_files(&mut self) -> Option<EmptyFiles> {
        let byte = self.byte()?;
        EmptyFiles::ALL.into_iter().find(|empty| *empty as u8 == byte)
    }

    /// True if a 1 is left, false if no byte is left.
    fn flag_at_the_end(&mut self) -> Option<bool> {
        if self.0.is_empty() {
            return Some(false);
        }
        (self.byte()? == 1).then_some(true)
    }

    fn algorithm(&mut self) -> Option<Algorithm> {
        let byte = self.byte()?;
        Algorithm::ALL.into_iter().find(|algorithm| *algorithm as u8 == byte)
    }

    fn cause(&mut self) -> Option<QuarantineCause> {
        let byte = self.byte()?;
        QuarantineCause::ALL.into_iter().find(|cause| *cause as u8 == byte)
    }

    fn reason(&mut self) -> Option<AbandonReason> {
        let byte = self.byte()?;
        AbandonReason::ALL.into_iter().find(|reason| *reason as u8 == byte)
    }
}
