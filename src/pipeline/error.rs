//! What ends the pipeline.

use crate::fs;
use crate::journal;
use crate::types::IngestId;

/// What ends the pipeline. Nothing is lost by it: the next start resumes from the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// An effect on a file failed, and going on could break a promise.
    #[error("{0}; nothing is lost: the next start resumes")]
    Io(#[from] fs::Error),
    /// The disk is full, and we were told not to wait.
    #[error("disk is full: {0}; nothing is lost: make room, and the next start resumes")]
    Full(String),
    /// A directory that is relied on is not the one any more that was opened.
    #[error(
        "{what} {} was removed or replaced while running: nothing more is ingested, since nobody would find it; see to it that \
         the one that was there is there, and start again", path.display()
    )]
    Replaced {
        /// The option that names it.
        what: &'static str,
        /// The directory.
        path: std::path::PathBuf,
    },
    /// A transition that the journal's rules forbid: a defect of this program.
    #[error("internal error: {0} (ingest id {1}); nothing is lost: the next start resumes")]
    Transition(&'static str, IngestId),
}

impl Error {
    /// See [`fs::Error::spares_others`].
    pub fn spares_others(&self) -> bool {
        matches!(self, Error::Io(error) if error.spares_others())
    }
}
