//! The journal's errors, with the information an operator needs to act on them.

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
    /// A newer version of this program wrote the file. Nothing was modified.
    #[error("{}: {what}; use a newer csv-ingestor (nothing was modified)", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// What is newer about it.
        what: String,
    },
    /// A new file reads back from the disk differently from what was written. It was not used; the journal is
    /// unchanged.
    #[error("the disk returns other bytes than were written: {}; the journal is unchanged", .0.place())]
    NotAsWritten(Box<Corrupt>),
    /// An operation on a file failed. The journal is unchanged.
    #[error(transparent)]
    Io(#[from] fs::Error),
    /// A write or fsync failed, now or earlier: the content of the disk is unknown until the next start has read it.
    #[error("journal is poisoned by a failed write ({cause}); nothing more is written: restart to recover")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// Another process has this journal open for writing.
    #[error("{} is held by another csv-ingestor{}", path.display(), holder(*pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if known.
        pid: Option<u32>,
    },
    /// A journal already exists where one was to be created.
    #[error("{}: a journal already exists; nothing was modified. If it is damaged, run: csv-ingestor journal repair --state-path {}", .0.display(), .0.display())]
    Exists(PathBuf),
    /// The state directory belongs to something else.
    #[error("{} is not a journal's directory: it holds {}; give --state-path a directory of its own", dir.display(), name.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// The foreign file in it.
        name: PathBuf,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| " (pid unknown)".to_owned(), |pid| format!(" (pid {pid})"))
}

/// Why a record is refused.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// It contradicts the records before it.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The check failed: whether it contradicts them is unknown.
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
    /// The lowest offset at which a byte may be bad.
    pub offset: u64,
    /// The LSN that should be there.
    pub lsn: Lsn,
    /// What is wrong.
    pub damage: Damage,
}

impl Corrupt {
    /// File, offset, LSN, and damage, for messages.
    pub fn place(&self) -> String {
        format!("{} at offset {}, LSN {}: {}", self.file.display(), self.offset, self.lsn, self.damage)
    }

    /// The subcommand of `journal` to run next: `rebuild` if nothing is left to repair, otherwise `otherwise`.
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
    /// A frame that is not valid, at a position where a crash cannot leave one.
    #[error("{0}, and it is not a torn tail: {1}")]
    Frame(FrameFault, NotTorn),
    /// The segment's header block is not valid.
    #[error("segment header is not valid: {0}")]
    SegmentHeader(&'static str),
    /// The file was cut or has grown.
    #[error("segment is {actual} bytes long instead of {expected}")]
    SegmentLength {
        /// The length in bytes according to the header.
        expected: u64,
        /// The actual length in bytes.
        actual: u64,
    },
    /// The next segment does not exist.
    #[error("the segment that follows (first LSN {0}) is missing")]
    MissingSuccessor(Lsn),
    /// The previous segment does not exist.
    #[error("the segment before (first LSN {0}) is missing")]
    MissingPredecessor(Lsn),
    /// A snapshot is missing. The empty segment after it shows that a repair or a rebuild made it.
    #[error(
        "the snapshot before (LSN {0}) is missing: it was lost, or a `journal rebuild` was cut off and has to be run again"
    )]
    MissingSnapshot(Lsn),
    /// Two neighbouring segments do not fit together.
    #[error("segment does not continue the one before it: {0}")]
    Successor(&'static str),
    /// A frame with a correct checksum holds bytes that are not a record.
    #[error("record cannot be read")]
    Record,
    /// The snapshot's header block is not valid.
    #[error("snapshot header is not valid: {0}")]
    SnapshotHeader(&'static str),
    /// The file was cut or has grown.
    #[error("snapshot is {actual} bytes long instead of {expected}")]
    SnapshotLength {
        /// The length in bytes according to the header.
        expected: u64,
        /// The actual length in bytes.
        actual: u64,
    },
    /// One of a snapshot's lists is not valid.
    #[error("snapshot's {0} is not valid: {1}")]
    Section(&'static str, &'static str),
    /// A block of a snapshot's rows is not valid.
    #[error("snapshot's block of rows is not valid: {0}")]
    RowBlock(&'static str),
    /// A snapshot and the segment after it do not fit together.
    #[error("segment does not continue the snapshot: {0}")]
    Snapshot(&'static str),
    /// The generation before the newest snapshot is incomplete.
    #[error("the generation before it (from LSN {0}) is incomplete")]
    SpareMissing(Lsn),
    /// The records contradict each other.
    #[error("record contradicts those before it: {0}")]
    Transition(&'static str),
    /// The lock file names a journal, but no segment exists.
    #[error("all segments of store {0} are missing")]
    JournalMissing(String),
}

/// Why bad bytes are not a torn tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTorn {
    /// A later segment exists.
    #[error("a later segment exists")]
    LaterSegment,
    /// A valid frame follows the bad bytes.
    #[error("a valid frame follows")]
    ValidFrameBeyond,
    /// There are bytes beyond the reach of one write.
    #[error("bytes follow beyond the reach of one frame")]
    BytesBeyondOneFrame,
    /// A clean shutdown is before it, and nothing is written after one.
    #[error("it follows a clean shutdown")]
    AfterShutdown,
}

impl Error {
    /// True if the disk is full: waiting may help, and the journal is unchanged.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Io(error) if error.is_no_space())
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Error {
        Error::Corrupt(Box::new(corrupt))
    }
}
