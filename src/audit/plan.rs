//! What is to be audited, and what was.

use std::path::PathBuf;

use super::sample::Sample;
use crate::journal::relocations::Relocations;
use crate::types::UnixMillis;

/// What is to be audited.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The journal's directory; None leaves the journal out.
    pub state: Option<PathBuf>,
    /// The warehouse.
    pub warehouse: PathBuf,
    /// The manifests.
    pub manifests: PathBuf,
    /// Only what was ingested from this instant on: the beginning of a day.
    pub since: Option<UnixMillis>,
    /// How much is hashed.
    pub sample: Sample,
    /// Chooses the sample.
    pub seed: u64,
    /// Report what stands in several lines.
    pub compare_lines: bool,
    /// Threads that hash.
    pub concurrency: usize,
    /// Directories that were moved, as the journal says.
    pub relocations: Relocations,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Manifest lines.
    pub lines: u64,
    /// Files.
    pub files: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Files that were in the warehouse, their lines not written yet: the next start finishes them, if nobody is at it.
    pub on_their_way: u64,
    /// Lines of contents that the journal was told to forget.
    pub forgotten: u64,
    /// Lines that the journal does not know, of files from staging directories that are not its own.
    pub of_others: u64,
    /// Rows of the journal, and names in the warehouse, that a manifest may list which cannot be read: nothing is said of
    /// them.
    pub undecided: u64,
    /// It was stopped before it was through.
    pub is_interrupted: bool,
}
