//! What can go wrong with a journal, with what an operator needs to act on it.

use std::path::{Path, PathBuf};

use super::frame::FrameFault;
use crate::fs;
use crate::types::Lsn;

/// A journal operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal is damaged, and not in the way a crash damages it. Nothing was modified.
    #[error(transparent)]
    Corrupt(Box<Corrupt>),
    /// Written by a newer version of this program. Nothing was modified.
    #[error("{}: {what}; use a newer csv-ingestor (nothing was modified)", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// What is newer about it.
        what: String,
    },
    /// A new file that the disk does not give back as it was written. It was not used; the journal is as it was.
    #[error("the disk does not give back what was written: {}; the journal is as it was", .0.place())]
    NotAsWritten(Box<Corrupt>),
    /// An operation on a file failed. The journal is as it was.
    #[error(transparent)]
    Io(#[from] fs::Error),
    /// A write or fsync failed, now or before: what is on the disk is unknown until the next start has read it.
    #[error("journal is poisoned by a failed write ({cause}); nothing more is written: restart to recover")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// Another process writes this journal.
    #[error("{} is held by another csv-ingestor{}", path.display(), holder(*pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, if that can be told.
        pid: Option<u32>,
    },
    /// A journal was to be made where there is one.
    #[error("{}: there is a journal already; nothing was modified. If it is damaged, run: csv-ingestor journal repair --state-path {}", .0.display(), .0.display())]
    Exists(PathBuf),
    /// The state directory is something else's.
    #[error("{} is not a journal's directory: it holds {}; give --state-path a directory of its own", dir.display(), name.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What was found in it.
        name: PathBuf,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| " (pid unknown)".to_owned(), |pid| format!(" (pid {pid})"))
}

/// Why a record is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// It cannot come after those before it.
    #[error("{0}")]
    Contradiction(&'static str),
    /// Whether it can, could not be told.
    #[error(transparent)]
    Unknown(Box<Error>),
}

impl From<&'static str> for Rejected {
    fn from(why: &'static str) -> Rejected {
        Rejected::Contradiction(why)
    }
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Rejected {
        Rejected::Unknown(Box::new(error))
    }
}

/// Where and how a journal is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal is corrupt: {}; nothing was modified. Run: csv-ingestor journal {} --state-path {}", self.place(), self.next("verify"), self.dir().display())]
pub struct Corrupt {
    /// The file.
    pub file: PathBuf,
    /// Where in it the first bad byte may lie.
    pub offset: u64,
    /// The LSN that should stand there.
    pub lsn: Lsn,
    /// What is wrong.
    pub damage: Damage,
}

impl Corrupt {
    /// File, offset, LSN, and what is wrong there.
    pub fn place(&self) -> String {
        format!("{} at offset {}, LSN {}: {}", self.file.display(), self.offset, self.lsn, self.damage)
    }

    /// The subcommand of `journal` to run next: what nothing is left of can only be made anew.
    pub fn next<'a>(&self, otherwise: &'a str) -> &'a str {
        let is_lost = matches!(self.damage, Damage::MissingSnapshot(_) | Damage::JournalMissing(_));
        if is_lost { "rebuild" } else { otherwise }
    }

    /// The journal's directory.
    pub fn dir(&self) -> &Path {
        self.file.parent().unwrap_or(&self.file)
    }
}

/// What is wrong with a corrupt journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A frame that is not valid, in a place where a crash leaves none.
    #[error("{0}, and it is not a torn tail: {1}")]
    Frame(FrameFault, NotTorn),
    /// The segment's header block is not valid.
    #[error("segment header is not valid: {0}")]
    SegmentHeader(&'static str),
    /// The file was cut or has grown.
    #[error("segment is {actual} bytes long instead of {expected}")]
    SegmentLength {
        /// Bytes that the header says.
        expected: u64,
        /// Bytes that there are.
        actual: u64,
    },
    /// The segment that has to follow is not there.
    #[error("the segment that follows (first LSN {0}) is missing")]
    MissingSuccessor(Lsn),
    /// The segment that has to come before is not there.
    #[error("the segment before (first LSN {0}) is missing")]
    MissingPredecessor(Lsn),
    /// A snapshot is missing, of which the empty segment behind it tells that a repair or a rebuild made it.
    #[error(
        "the snapshot before (LSN {0}) is missing: it was lost, or a `journal rebuild` was cut off and has to be run again"
    )]
    MissingSnapshot(Lsn),
    /// Two neighbouring segments do not fit together.
    #[error("segment does not continue the one before it: {0}")]
    Successor(&'static str),
    /// A frame with a right checksum holds what is no record.
    #[error("record cannot be read")]
    Record,
    /// The snapshot's header block is not valid.
    #[error("snapshot header is not valid: {0}")]
    SnapshotHeader(&'static str),
    /// The file was cut or has grown.
    #[error("snapshot is {actual} bytes long instead of {expected}")]
    SnapshotLength {
        /// Bytes that the header says.
        expected: u64,
        /// Bytes that there are.
        actual: u64,
    },
    /// One of a snapshot's lists.
    #[error("snapshot's {0} is not valid: {1}")]
    Section(&'static str, &'static str),
    /// A block of a snapshot's rows.
    #[error("snapshot's block of rows is not valid: {0}")]
    RowBlock(&'static str),
    /// A snapshot and the segment behind it do not fit together.
    #[error("segment does not continue the snapshot: {0}")]
    Snapshot(&'static str),
    /// The generation before the newest snapshot.
    #[error("the generation before it (from LSN {0}) is not all there")]
    SpareMissing(Lsn),
    /// The records contradict each other.
    #[error("record contradicts those before it: {0}")]
    Transition(&'static str),
    /// The lock file says that there was a journal; there is none.
    #[error("all segments of store {0} are missing")]
    JournalMissing(String),
}

/// Why bad bytes are not a torn tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTorn {
    /// A later segment was begun.
    #[error("a later segment exists")]
    LaterSegment,
    /// A valid frame lies behind the bad bytes.
    #[error("a valid frame follows")]
    ValidFrameBeyond,
    /// More bytes than one write can have left.
    #[error("bytes follow further than one frame reaches")]
    BytesBeyondOneFrame,
    /// Nothing was written after a clean shutdown.
    #[error("it follows a clean shutdown")]
    AfterShutdown,
}

impl Error {
    /// A full disk: waiting may help, and the journal is as it was.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Io(error) if error.is_no_space())
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Error {
        Error::Corrupt(Box::new(corrupt))
    }
}
