//! What ends the pipeline.

use crate::fs;
use crate::journal;
use crate::lake;
use crate::types::IngestId;

/// An error that ends the pipeline. Nothing is lost: the next start resumes from the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// An effect on a file failed, and continuing could break a promise.
    #[error("{0}; nothing is lost: the next start resumes")]
    Io(#[from] fs::Error),
    /// The disk is full, and the process is not to wait for room.
    #[error("disk is full: {0}; nothing is lost: make room, and the next start resumes")]
    Full(String),
    /// A directory that is in use is no longer the one that was opened.
    #[error(
        "{what} {} was removed or replaced while running: nothing more is ingested, because no reader would find it; put \
         the original directory back, and start again", path.display()
    )]
    Replaced {
        /// The option that names it.
        what: &'static str,
        /// The directory.
        path: std::path::PathBuf,
    },
    /// The lake cannot be used any more, or not by this program.
    #[error("{0}; nothing is lost: what is in staging stays there")]
    Lake(#[from] lake::Error),
    /// The store does not answer as it should, and the process is not to wait for it.
    #[error("the store cannot be used: {0}; nothing is lost: the next start resumes")]
    StoreAway(String),
    /// A thread that the pipeline needs has ended: a defect of this program.
    #[error("internal error: the {0} thread has ended; nothing is lost: the next start resumes")]
    Ended(&'static str),
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
