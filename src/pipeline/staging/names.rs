//! Names that this program gives in staging.

use std::ffi::{OsStr, OsString};

use crate::pipeline::names::{NAME_BYTES_MAX, suffixed_name};
use crate::types::IngestId;

/// The name for a file that goes back to staging when its own name is taken there.
pub fn returned_name(staged: &OsStr, id: IngestId, attempt: &str) -> OsString {
    suffixed_name(staged, &format!("returned-{id}-{attempt}"), NAME_BYTES_MAX)
}

/// Why a file is aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// The source of a copy, to be removed.
    Source,
    /// A used sidecar, to be removed.
    Sidecar,
    /// A duplicate, to be removed.
    Duplicate,
    /// The old name of a file that already has its new one.
    Second,
    /// The reason beside a file in quarantine, until it is complete.
    Reason,
    /// A file that probes the file system, before it is renamed.
    Probe,
    /// The same file after it was renamed.
    ProbeRenamed,
}

impl Aside {
    fn text(self) -> &'static str {
        match self {
            Aside::Source => "source",
            Aside::Sidecar => "sidecar",
            Aside::Duplicate => "duplicate",
            Aside::Second => "second",
            Aside::Reason => "reason",
            Aside::Probe => "probe",
            Aside::ProbeRenamed => "probe-renamed",
        }
    }
}

/// The prefix of every name that [`aside_name`] returns.
pub const ASIDE_PREFIX: &[u8] = b".csv-ingestor-";

/// A hidden name in staging, for a file between being taken from its own name and being removed.
pub fn aside_name(store: &[u8; 16], id: IngestId, what: Aside) -> OsString {
    OsString::from(format!(".csv-ingestor-{:032x}-{id}-{}", u128::from_be_bytes(*store), what.text()))
}

/// True for every name that [`aside_name`] returns for `what`, whatever the id.
pub fn is_aside(name: &OsStr, store: &[u8; 16], what: Aside) -> bool {
    let prefix = format!(".csv-ingestor-{:032x}-", u128::from_be_bytes(*store));
    let id = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(what.text())?.strip_suffix('-'));
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}
