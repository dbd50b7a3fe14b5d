//! Names that we give in staging.

use std::ffi::{OsStr, OsString};

use crate::pipeline::names::{NAME_BYTES_MAX, suffixed_name};
use crate::types::IngestId;

/// The name under which a file goes back to staging when its own is taken again there.
pub fn returned_name(staged: &OsStr, id: IngestId, attempt: &str) -> OsString {
    suffixed_name(staged, &format!("returned-{id}-{attempt}"), NAME_BYTES_MAX)
}

/// For what a file stands aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// The source of a copy, which is removed.
    Source,
    /// A sidecar, which is removed.
    Sidecar,
    /// A duplicate, which is removed.
    Duplicate,
    /// The old name of a file that has a second one at its place.
    Second,
    /// The reason beside a file in quarantine, before it is whole.
    Reason,
    /// A file on which the file system is tried out, and its name behind the rename.
    Probe,
    /// See [`Aside::Probe`].
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

/// How the names begin that [`aside_name`] gives.
pub const ASIDE_PREFIX: &[u8] = b".csv-ingestor-";

/// Hidden names in staging under which a file stands for the moment between being taken away and being removed.
pub fn aside_name(store: &[u8; 16], id: IngestId, what: Aside) -> OsString {
    OsString::from(format!(".csv-ingestor-{:032x}-{id}-{}", u128::from_be_bytes(*store), what.text()))
}

/// True for each name that [`aside_name`] gives for `what`, whatever the id.
pub fn is_aside(name: &OsStr, store: &[u8; 16], what: Aside) -> bool {
    let prefix = format!(".csv-ingestor-{:032x}-", u128::from_be_bytes(*store));
    let id = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(what.text())?.strip_suffix('-'));
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}
