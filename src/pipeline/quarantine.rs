//! Quarantine: which files cannot be ingested as they are, under which name they leave staging, and the reason that is
//! written beside them.
//!
//! Invariant: name and reason are functions of the journal's records, so recovery finds or makes the same ones again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::manifest::json_path;
use super::names::{NAME_BYTES_MAX, suffixed_name};
use super::stage::Refused;
use super::why_not::Refusal;
use crate::journal::format::TEXT_BYTES_MAX;
use crate::journal::hex;
use crate::journal::ingest::Ingest;
use crate::journal::record::QuarantineCause;
use crate::limits::{CHECKSUM_TRIES, FEW_FILES, UNREADABLE_TRIES};
use crate::log::json;
use crate::types::IngestId;

/// The name of a reason is the name of its file and this suffix.
pub const REASON_SUFFIX: &str = ".reason.json";
/// How many hex digits of the journal's UUID are in a name, to distinguish it from the names of other ingestors.
const STORE_DIGITS: usize = 8;

/// Where files in quarantine go, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The directory, on the staging directory's file system.
    pub dir: PathBuf,
    /// A file goes when its SHA-256 differed from its sidecar's in so many attempts, in the same state: where no lease
    /// reports a writer, it may still be being written.
    pub checksum_tries: u32,
    /// A file that cannot be read goes after so many attempts: the operator may be about to correct it.
    pub unreadable_tries: u32,
    /// Up to so many reasons of a batch are synced one by one.
    pub few_reasons: usize,
}

/// Why a file goes to quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineReason {
    /// As a keyword.
    pub cause: QuarantineCause,
    /// The line of the file, if known.
    pub line: Option<u64>,
    /// A description for people.
    pub detail: String,
}

impl Quarantine {
    /// The settings of a running ingestor.
    pub fn patiently(dir: PathBuf) -> Quarantine {
        Quarantine { checksum_tries: CHECKSUM_TRIES, ..Quarantine::at_once(dir) }
    }

    /// The settings of a run that makes no second attempt.
    pub fn at_once(dir: PathBuf) -> Quarantine {
        Quarantine { dir, checksum_tries: 1, unreadable_tries: UNREADABLE_TRIES, few_reasons: FEW_FILES }
    }

    /// Why a refused file cannot be ingested for good; None if that may change. `staging` is the staging directory.
    pub fn finding(&self, refused: &Refused, staging: &Path) -> Option<QuarantineReason> {
        let cause = refused.refusal.cause();
        let is_again = refused.settled.failing == cause;
        let tries = if is_again { refused.settled.failures.saturating_add(1) } else { 1 };
        let line = match (cause?, &refused.refusal) {
            (QuarantineCause::Malformed, Refusal::Malformed(fault)) => Some(fault.line),
            (QuarantineCause::NoMatch | QuarantineCause::Empty, _) => None,
            (QuarantineCause::ChecksumDiffers, _) if tries >= self.checksum_tries => None,
            // Only if this file itself cannot be read: a failing warehouse or an unreachable server is no reason to empty
            // staging.
            (QuarantineCause::Unreadable, Refusal::Failed(error))
                if tries >= self.unreadable_tries && error.path == staging.join(&*refused.settled.name) =>
            {
                None
            }
            _ => return None,
        };
        let cause = cause?;
        let mut detail = match &refused.refusal {
            // The line has a field of its own.
            Refusal::Malformed(fault) => fault.reason.clone(),
            refusal => refusal.error().unwrap_or_default(),
        };
        detail.truncate(detail.floor_char_boundary(TEXT_BYTES_MAX));
        Some(QuarantineReason { cause, line, detail })
    }
}

/// The name of a file in quarantine. It has the journal's UUID and the ingest id in it, so it is unique even in a
/// directory that several ingestors share. `attempt` counts from 0.
pub fn quarantine_name(staged: &std::ffi::OsStr, store: &[u8; 16], id: IngestId, attempt: u32) -> OsString {
    let store = &hex(store)[..STORE_DIGITS];
    let suffix = if attempt == 0 { format!("{store}-{id}") } else { format!("{store}-{id}-{attempt}") };
    suffixed_name(staged, &suffix, NAME_BYTES_MAX - REASON_SUFFIX.len())
}

/// The path of the reason beside `target`.
pub fn reason_path(target: &Path) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(REASON_SUFFIX);
    path.into()
}

/// The keys of a reason file. A program that may write to the quarantine directory can put others into it.
pub const REASON_KEYS: [&str; 9] =
    ["path", "path_base64", "reason", "error", "line", "size", "mtime", "ingest_id", "found_at"];

#[derive(Serialize)]
struct Reason<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    reason: QuarantineCause,
    error: &'a str,
    line: Option<u64>,
    size: u64,
    mtime: i64,
    ingest_id: IngestId,
    found_at: String,
}

/// The content of the reason file, with its newline. Empty for an ingest that is not QUARANTINED.
pub fn reason(ingest: &Ingest) -> Vec<u8> {
    let Some(quarantined) = &ingest.quarantined else { return Vec::new() };
    let (path, path_base64) = json_path(&ingest.source_path);
    let reason = Reason {
        path: &path,
        path_base64,
        reason: quarantined.cause,
        error: &quarantined.detail,
        line: quarantined.line,
        size: ingest.identity.size,
        mtime: ingest.identity.mtime.sec,
        ingest_id: ingest.id,
        found_at: ingest.discovered_at.rfc3339(),
    };
    let mut text = json::pretty(&reason);
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    /// Why: a key that is written and not listed would silently be missing in `explain`.
    #[test]
    fn each_key_of_a_reason_is_listed() {
        let reason = Reason {
            path: "a",
            path_base64: Some("YQ==".to_owned()),
            reason: QuarantineCause::Malformed,
            error: "e",
            line: Some(1),
            size: 2,
            mtime: 3,
            ingest_id: IngestId(4),
            found_at: "t".to_owned(),
        };
        let written: serde_json::Value = serde_json::from_slice(&json::pretty(&reason)).unwrap();
        let mut keys: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        let mut known = REASON_KEYS;
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
    }

    /// The name of the reason is longer, and has to fit as well.
    #[test]
    fn names_leave_room_for_the_reasons() {
        let name = |staged: &str, attempt| {
            quarantine_name(OsStr::new(staged), &[0xab; 16], IngestId(12), attempt).into_string().unwrap()
        };
        assert_eq!(
            (name("a.csv", 0), name("a.csv.gz", 2)),
            ("a-abababab-12.csv".to_owned(), "a-abababab-12-2.csv.gz".to_owned())
        );
        for length in 230..=255 {
            let long = name(&format!("{}.csv", "x".repeat(length - 4)), 0);
            assert!(long.len() + REASON_SUFFIX.len() <= NAME_BYTES_MAX && long.ends_with("-12.csv"), "{long}");
        }
        assert_eq!(reason_path(Path::new("/q/a-12.csv")), Path::new("/q/a-12.csv.reason.json"));
    }
}
