//! Every way in which a command ends badly, and its exit code.

use std::path::PathBuf;

use crate::{config, fs, journal, pipeline};

/// A staging directory that another journal works with.
#[derive(Debug)]
pub struct StagingOfAnother {
    /// The staging directory.
    pub input: PathBuf,
    /// The other journal's marker.
    pub marker: PathBuf,
    /// This journal's directory.
    pub state: PathBuf,
    /// There is a journal in it.
    pub is_there: bool,
    /// The directories in force.
    pub warehouse: PathBuf,
    /// As above.
    pub manifests: PathBuf,
}

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The pipeline stopped.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] fs::Error),
    /// Another ingestor works on the staging directory.
    #[error("--input {} is held by another csv-ingestor{}", path.display(), pid.map_or(" (pid unknown)".to_owned(), |pid| format!(" (pid {pid})")))]
    InputLocked {
        /// The staging directory.
        path: PathBuf,
        /// Who holds it, if that can be told.
        pid: Option<u32>,
    },
    /// The staging directory's path stands for another directory than at the start.
    #[error("--input {} was removed or replaced while running; restart to watch the new one", .0.display())]
    InputReplaced(PathBuf),
    /// The manifests list what the journal should know.
    #[error(
        "{}, line {}: its file ({}, ingest id {}) is not known to the journal in {}, which is older than the manifests, or was \
         begun anew beside them: it would ingest again what they list. Nothing was modified. {}csv-ingestor journal rebuild \
         --state-path {} --warehouse {} --manifests {}; or, to go on with this journal as it is, start with --new-journal",
        unknown.manifest.display(), unknown.number, unknown.listed.source_path.display(), unknown.listed.ingest_id,
        state.display(), if *is_there { "Move it away and run: " } else { "Run: " },
        state.display(), warehouse.display(), manifests.display()
    )]
    JournalOlder {
        /// The line.
        unknown: Box<pipeline::places::older::Unknown>,
        /// The journal's directory.
        state: PathBuf,
        /// There is a journal in it.
        is_there: bool,
        /// The directories in force.
        warehouse: PathBuf,
        /// As above.
        manifests: PathBuf,
    },
    /// Another journal has worked with the staging directory last.
    #[error(
        "--input {}: {} says that journal {} has worked with it, and not the one in {}, which would ingest again what that one \
         has listed. Nothing was modified. Give that journal's --state-path; or, if it is lost, {}csv-ingestor journal \
         rebuild --state-path {} --warehouse {} --manifests {}; or, to go on with this journal as it is, start with --new-journal",
        .0.input.display(), .0.marker.display(), pipeline::places::claim::journal_of(&.0.marker), .0.state.display(),
        if .0.is_there { "move this one away and run: " } else { "run: " },
        .0.state.display(), .0.warehouse.display(), .0.manifests.display()
    )]
    StagingOfAnother(Box<StagingOfAnother>),
    /// A place in which the journal has worked, and that does not look so.
    #[error(
        "{option} {}: {} is missing, which this journal's ingestor made there: mount it, or give the right directory; or, if it \
         is to begin anew there, start with --new-warehouse", path.display(), marker.display()
    )]
    MarkerMissing {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// What is missing.
        marker: PathBuf,
    },
    /// Half-done files lie in a directory that is missing.
    #[error("{} is missing, and files that are half done lie in it: mount it{hint} and start again ({source})", path.display())]
    NotMounted {
        /// The directory.
        path: PathBuf,
        /// What else can be done.
        hint: &'static str,
        /// What the kernel said.
        source: fs::Error,
    },
    /// A file system that cannot do what everything depends on.
    #[error("{} is on a file system that cannot be used: {why}", path.display())]
    Unsuited {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// Not what the ingestor needs, but what a repair could need.
    #[error("the journal is intact, but not the generation before, which is kept for a repair: {}; nothing was modified. \
             Look at the disk; then run: csv-ingestor journal compact --state-path {}", .0.place(), .0.dir().display())]
    SpareDamaged(Box<journal::Corrupt>),
    /// The verdict of `verify`.
    #[error("journal is corrupt: {}; nothing was modified. Run: csv-ingestor journal {} --state-path {}", .0.place(), .0.next("repair"), .0.dir().display())]
    Unrepaired(Box<journal::Corrupt>),
    /// What an audit, or a look at the warehouse, came to.
    #[error("{0} findings, as listed")]
    Found(u64),
    /// `--once` is through, and some files failed.
    #[error("through, but not every file: {0} failed, as logged")]
    NotEveryFile(u64),
    /// A signal ended a command that has no verdict without its end.
    #[error("interrupted before it was through: there is no verdict")]
    Interrupted,
    /// Lines that were there are not any more.
    #[error(
        "the manifests were changed while they were read: stop what writes to them, and try again; nothing was modified"
    )]
    ManifestsChanged,
    /// Not all that has to be remembered can be read.
    #[error(
        "{0}. No journal was made, since one that does not know what is listed there would let it be ingested again: make it \
             readable, or move it away, and try again"
    )]
    ManifestUnread(pipeline::manifest::read::Error),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] pipeline::manifest::read::Error),
    /// A filter or pattern on the command line.
    #[error("{0}")]
    Usage(String),
    /// Writing results to standard output failed.
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    /// A thread could not be started, or died.
    #[error("thread {0} ended unexpectedly; nothing is lost: the next start resumes")]
    Thread(&'static str),
}

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Error {
        Error::Pipeline(pipeline::Error::Journal(error))
    }
}

impl Error {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config(_)
            | Error::Usage(_)
            | Error::MarkerMissing { .. }
            | Error::NotMounted { .. }
            | Error::Unsuited { .. } => 2,
            Error::InputLocked { .. } => 4,
            Error::Found(_) => 5,
            Error::NotEveryFile(_) => 6,
            Error::Interrupted => 130,
            Error::SpareDamaged(_) | Error::Unrepaired(_) | Error::JournalOlder { .. } | Error::StagingOfAnother(_) => {
                3
            }
            Error::Pipeline(pipeline::Error::Journal(error)) => match error {
                journal::Error::Corrupt(_) | journal::Error::Newer { .. } => 3,
                journal::Error::Locked { .. } => 4,
                journal::Error::Foreign { .. } | journal::Error::Exists(_) => 2,
                journal::Error::NotAsWritten(_) | journal::Error::Io(_) | journal::Error::Poisoned { .. } => 1,
            },
            Error::Pipeline(_)
            | Error::Io(_)
            | Error::InputReplaced(_)
            | Error::Output(_)
            | Error::ManifestsChanged
            | Error::ManifestUnread(_)
            | Error::Manifest(_)
            | Error::Thread(_) => 1,
        }
    }
}
