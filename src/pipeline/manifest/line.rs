//! One line, a pure function of the journal's records.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Serialize, Serializer};

use crate::journal::groups::OpenGroup;
use crate::journal::ingest::Ingest;
use crate::journal::record::{HeaderFault, Profile};
use crate::pipeline::subdir::subdir;
use crate::types::{Algorithm, IngestId, UnixMillis};

/// A manifest's name in the directory of its hour.
pub const MANIFEST_NAME: &str = "manifest.jsonl";

/// The longest line: two paths and two ends of one, of 4,096 bytes, with each byte escaped to six, and each once more as
/// base64; the column names, with each byte escaped to six; the header's faults, of 60 bytes at most; a group's name, the
/// names of its members, each escaped to six and once more as base64, and 150 bytes for each of them; and the rest.
pub const LINE_BYTES_MAX: usize = 384 << 10;

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    #[serde(flatten)]
    ends: Ends<'a>,
    sha256: &'a str,
    device: u64,
    inode: u64,
    size: u64,
    mtime: i64,
    warehouse_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    warehouse_path_base64: Option<String>,
    ingest_id: IngestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    ingested_at: Rfc3339,
    #[serde(flatten)]
    more: SomeFields<'a>,
}

/// An instant, formatted where it is written.
struct Rfc3339(UnixMillis);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.display())
    }
}

/// The fields that only some files have.
#[derive(Serialize)]
struct SomeFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<Algorithm>,
    #[serde(flatten)]
    group: Option<GroupFields>,
    #[serde(flatten)]
    profile: Option<ProfileFields<'a>>,
}

/// The fields of a file of a group.
#[derive(Serialize)]
struct GroupFields {
    group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_base64: Option<String>,
    group_size: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    group_known: Vec<KnownFields>,
}

/// A member of a group that was in the warehouse already.
#[derive(Serialize)]
struct KnownFields {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    sha256: String,
    /// None for a file of another host.
    ingest_id: Option<IngestId>,
}

impl GroupFields {
    /// The first line of a group says which members have no line.
    fn of(open: &OpenGroup, ingest: &Ingest) -> GroupFields {
        let group = &open.group;
        let (name, group_base64) = json_path(group.path.strip_prefix(&ingest.settings.input).unwrap_or(&group.path));
        let is_first = group.moving.first() == Some(&ingest.id);
        let known = group.known.iter().filter(|_| is_first).map(|known| {
            let (name, name_base64) = json_path(&known.name);
            let name = name.into_owned();
            let ingest_id = Some(known.of).filter(|of| *of != IngestId::OF_ANOTHER_HOST);
            KnownFields { name, name_base64, sha256: known.sha256.hex(), ingest_id }
        });
        let (group_size, group_known) = (group.size(), known.collect());
        GroupFields { group: name.into_owned(), group_base64, group_size, group_known }
    }
}

/// Parts of the path.
#[derive(Serialize)]
struct Ends<'a> {
    /// None for a file directly in staging.
    #[serde(skip_serializing_if = "Option::is_none")]
    subdir: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subdir_base64: Option<String>,
    /// The name, where it is part of the file's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
}

impl<'a> Ends<'a> {
    fn of(ingest: &'a Ingest) -> Ends<'a> {
        let (subdir, subdir_base64) = json_path(subdir(ingest));
        let name = ingest.key_rule.name(&ingest.source_path);
        let (name, name_base64) = name.map(|name| json_path(Path::new(name))).unzip();
        Ends {
            subdir: Some(subdir).filter(|subdir| !subdir.is_empty()),
            subdir_base64,
            name,
            name_base64: name_base64.flatten(),
        }
    }
}

/// The fields of a validated file. Null where unknown.
#[derive(Serialize)]
struct ProfileFields<'a> {
    rows: Option<u64>,
    columns: Option<u64>,
    header: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    header_faults: Vec<HeaderFaultFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed_line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed_reason: Option<&'a str>,
}

impl<'a> ProfileFields<'a> {
    fn of(profile: &'a Profile) -> ProfileFields<'a> {
        ProfileFields {
            rows: profile.rows,
            columns: profile.columns,
            header: profile.header.as_deref(),
            header_faults: profile.header_faults.iter().map(HeaderFaultFields::of).collect(),
            malformed_line: profile.fault.as_ref().map(|fault| fault.line),
            malformed_reason: profile.fault.as_ref().map(|fault| fault.reason.as_str()),
        }
    }
}

/// A name of the header that is blank, or that a column before it has.
#[derive(Serialize)]
struct HeaderFaultFields {
    column: u16,
    fault: &'static str,
    /// Null for a blank name: all objects have the same keys, so that readers see one type.
    first_column: Option<u16>,
}

impl HeaderFaultFields {
    fn of(fault: &HeaderFault) -> HeaderFaultFields {
        let text = if fault.first.is_some() { "repeated" } else { "blank" };
        HeaderFaultFields { column: fault.column, fault: text, first_column: fault.first }
    }
}

/// A path for JSON: as text, and also the exact bytes as base64 if it is not UTF-8.
pub fn json_path(path: &Path) -> (std::borrow::Cow<'_, str>, Option<String>) {
    match path.to_str() {
        Some(text) => (std::borrow::Cow::Borrowed(text), None),
        None => (path.to_string_lossy(), Some(BASE64.encode(path.as_os_str().as_bytes()))),
    }
}

/// Appends the manifest line of a file that has a target, with its newline. `journal` is the journal's UUID, in hex digits;
/// without it, the line is as versions before 0.2 wrote it.
pub fn line(journal: Option<&str>, ingest: &Ingest, out: &mut Vec<u8>) {
    let Some(target) = &ingest.target else { return };
    let (path, path_base64) = json_path(&ingest.source_path);
    let digits = target.sha256.digits();
    let (warehouse_path, warehouse_path_base64) = json_path(&target.warehouse_path);
    let line = Line {
        path: &path,
        path_base64,
        ends: Ends::of(ingest),
        sha256: digits.as_str(),
        device: ingest.identity.device,
        inode: ingest.identity.inode,
        size: ingest.identity.size,
        mtime: ingest.identity.mtime.sec,
        warehouse_path: &warehouse_path,
        warehouse_path_base64,
        ingest_id: ingest.id,
        journal,
        seq: ingest.order.seq.filter(|_| journal.is_some()),
        ingested_at: Rfc3339(ingest.discovered_at),
        more: SomeFields {
            verified_by: target.verified_by,
            group: ingest.group.as_ref().map(|group| GroupFields::of(group, ingest)),
            profile: ingest.profile().map(ProfileFields::of),
        },
    };
    // Writing strings and numbers to memory cannot fail.
    let written = serde_json::to_writer(&mut *out, &line);
    assert!(!crate::limits::IS_CHECKED || written.is_ok());
    out.push(b'\n');
}

/// The directory of the hour's manifest.
pub fn hour_dir(root: &Path, instant: UnixMillis) -> PathBuf {
    instant.hour_partition().iter().fold(root.to_path_buf(), |path, part| path.join(part))
}
