//! The parameters of an audit, and its result.

use std::path::PathBuf;
use std::time::Duration;

use super::sample::Sample;
use crate::journal::relocations::Relocations;
use crate::types::UnixMillis;

/// The parameters of an audit.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The journal's directory; None leaves the journal out.
    pub state: Option<PathBuf>,
    /// The warehouse.
    pub warehouse: PathBuf,
    /// The manifests.
    pub manifests: PathBuf,
    /// Only files that were ingested at this instant or later: the beginning of a day.
    pub since: Option<UnixMillis>,
    /// How much is hashed.
    pub sample: Sample,
    /// The seed that selects the sample.
    pub seed: u64,
    /// Report contents, places and ids that are in several lines.
    pub compare_lines: bool,
    /// How long an ingestor may take between a file's arrival and its line. An item that is older is reported at once.
    pub grace: Duration,
    /// Threads that hash.
    pub concurrency: usize,
    /// Directories that were moved, according to the journal.
    pub relocations: Relocations,
}

/// The result of an audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Manifest lines.
    pub lines: u64,
    /// Files.
    pub files: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Files in the warehouse whose lines are not written yet: the next start finishes them, unless an ingestor is
    /// running.
    pub on_their_way: u64,
    /// Lines of contents that the journal was told to forget.
    pub forgotten: u64,
    /// Lines that the journal does not know, of files from staging directories that are not its own.
    pub of_others: u64,
    /// Rows of the journal, and names in the warehouse, that may be listed in a manifest that cannot be read: they are
    /// not reported.
    pub undecided: u64,
    /// It was stopped before it finished.
    pub is_interrupted: bool,
}
