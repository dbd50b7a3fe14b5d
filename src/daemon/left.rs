//! The files that are left in staging at the end of `--once`, and why.

use std::path::{Path, PathBuf};

use crate::pipeline::WhyNot;
use crate::pipeline::scan::names::Ignored;

/// A file that is left in staging at the end of `--once`.
#[derive(Debug)]
pub enum Left {
    /// Not ingested, for a reason.
    Waiting(PathBuf, WhyNot),
    /// A sidecar without its file.
    Orphan(PathBuf),
    /// A kept duplicate, and its original if that is known.
    Duplicate(PathBuf, Option<PathBuf>),
    /// Never taken.
    Ignored(PathBuf, Ignored),
    /// Further ignored entries, only counted.
    MoreIgnored(usize),
}

impl Left {
    /// The path; None for a count.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Left::Waiting(path, _) | Left::Duplicate(path, _) | Left::Ignored(path, _) | Left::Orphan(path) => {
                Some(path)
            }
            Left::MoreIgnored(_) => None,
        }
    }
}
