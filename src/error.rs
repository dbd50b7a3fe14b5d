//! All errors that end a command, and their exit codes.

use std::path::PathBuf;

use crate::lake::probe::Defect;
use crate::store::location::Location;
use crate::store::open::Unopened;
use crate::{config, follow, fs, journal, lake, pipeline, store};

/// A staging directory with which another journal works.
#[derive(Debug)]
pub struct StagingOfAnother {
    /// The staging directory.
    pub input: PathBuf,
    /// The other journal's marker.
    pub marker: PathBuf,
    /// This journal's directory.
    pub state: PathBuf,
    /// A journal exists in it.
    pub is_there: bool,
    /// The directories in force.
    pub warehouse: PathBuf,
    /// As above.
    pub manifests: PathBuf,
}

/// The error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that is not valid.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A layout that cannot be used.
    #[error(transparent)]
    Layout(#[from] pipeline::layout::Error),
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
        /// The process that holds the lock, if it is known.
        pid: Option<u32>,
    },
    /// The path of the staging directory leads to another directory than at the start, or to none.
    #[error("--input {} was removed or replaced while running; restart to watch the new one", .0.display())]
    InputReplaced(PathBuf),
    /// The manifests list a file that the journal should know, and does not.
    #[error(
        "{}, line {}: its file ({}, ingest id {}) is unknown to the journal in {}. This journal is older than the manifests, \
         or was newly created beside them, and would ingest again what they list. Nothing was modified. {}csv-ingestor journal \
         rebuild --state-path {} --warehouse {} --manifests {}; or, to go on with this journal as it is, start with --new-journal",
        unknown.manifest.display(), unknown.number, unknown.listed.source_path.display(), unknown.listed.ingest_id,
        state.display(), if *is_there { "Move it away and run: " } else { "Run: " },
        state.display(), warehouse.display(), manifests.display()
    )]
    JournalOlder {
        /// The line.
        unknown: Box<pipeline::places::older::Unknown>,
        /// The journal's directory.
        state: PathBuf,
        /// A journal exists in it.
        is_there: bool,
        /// The directories in force.
        warehouse: PathBuf,
        /// As above.
        manifests: PathBuf,
    },
    /// Another journal was the last to work with the staging directory.
    #[error(
        "--input {}: {} says that journal {} has worked with it, not the journal in {}, which would ingest again the files that \
         the other one has listed. Nothing was modified. Give that journal's --state-path; or, if it is lost, {}csv-ingestor journal \
         rebuild --state-path {} --warehouse {} --manifests {}; or, to go on with this journal as it is, start with --new-journal",
        .0.input.display(), .0.marker.display(), pipeline::places::claim::journal_of(&.0.marker), .0.state.display(),
        if .0.is_there { "move this one away and run: " } else { "run: " },
        .0.state.display(), .0.warehouse.display(), .0.manifests.display()
    )]
    StagingOfAnother(Box<StagingOfAnother>),
    /// A directory in which the journal has worked lacks the journal's marker.
    #[error(
        "{option} {}: {} is missing, which this journal's ingestor created there: mount the directory, or give the right one; \
         or, to begin with an empty one, start with --new-warehouse", path.display(), marker.display()
    )]
    MarkerMissing {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// The marker that is missing.
        marker: PathBuf,
    },
    /// Two files are to be the same by something else than until now.
    #[error(
        "--identity {now}: until now, this journal has worked with --identity {known}. Nothing was modified. To change it, start \
         once with --new-identity: files that come from then on are compared only with those that were ingested with --identity \
         {now}. So the contents that are in the warehouse with --identity {known} do not count any more: {what_follows}. \
         Duplicates that were kept in staging stay there"
    )]
    IdentityDiffers {
        /// What it was.
        known: &'static str,
        /// What was given.
        now: &'static str,
        /// What happens to contents that are in the warehouse.
        what_follows: &'static str,
    },
    /// A journal has worked with another warehouse, and one of both is a lake.
    #[error(
        "this journal has worked with --warehouse {}, and what it knows is there and not in {}: give another --state-path. \
         Nothing was modified", known.display(), now.display()
    )]
    OtherWarehouse {
        /// What it was.
        known: PathBuf,
        /// What was given.
        now: PathBuf,
    },
    /// There is no lake at the URL.
    #[error("{0}: there is no lake; csv-ingestor lake init {0} makes one")]
    NoLake(Location),
    /// A store does not keep what exactly-once rests on.
    #[error("{location} cannot be used: {defect}")]
    StoreUnsuited {
        /// The store.
        location: Location,
        /// What it does wrong.
        defect: Defect,
    },
    /// The host's clock and the store's are too far apart.
    #[error("{location}: the store's clock is {ahead_seconds} s ahead of this host's: set the one that is wrong")]
    ClockOff {
        /// The store.
        location: Location,
        /// Negative if the store is behind.
        ahead_seconds: i64,
    },
    /// A store cannot be opened.
    #[error(transparent)]
    Unopened(#[from] Unopened),
    /// A directory that contains half-done files is missing.
    #[error("{} is missing, and it contains half-done files: mount it{hint} and start again ({source})", path.display())]
    NotMounted {
        /// The directory.
        path: PathBuf,
        /// What else the operator can do.
        hint: &'static str,
        /// The error that the kernel reported.
        source: fs::Error,
    },
    /// A file system without an operation that the ingestor depends on.
    #[error("{} is on a file system that cannot be used: {why}", path.display())]
    Unsuited {
        /// The directory.
        path: PathBuf,
        /// The operation that is missing.
        why: String,
    },
    /// The damage is not in what the ingestor needs, but in what a repair could need.
    #[error("the journal is intact, but not the generation before, which is kept for a repair: {}; nothing was modified. \
             Look at the disk; then run: csv-ingestor journal compact --state-path {}", .0.place(), .0.dir().display())]
    SpareDamaged(Box<journal::Corrupt>),
    /// The verdict of `verify` on a corrupt journal.
    #[error("journal is corrupt: {}; nothing was modified. Run: csv-ingestor journal {} --state-path {}", .0.place(), .0.next("repair"), .0.dir().display())]
    Unrepaired(Box<journal::Corrupt>),
    /// An audit, or a check of the warehouse, had findings.
    #[error("{0} findings, as listed")]
    Found(u64),
    /// `--once` is finished, and some files failed.
    #[error("finished, but not every file was ingested: {0} failed, see the log")]
    NotEveryFile(u64),
    /// A signal ended a command that has a verdict only when it runs to its end.
    #[error("interrupted before it finished: there is no verdict")]
    Interrupted,
    /// Lines of the manifests disappeared while they were read.
    #[error(
        "the manifests were changed while they were read: stop what writes to them, and try again; nothing was modified"
    )]
    ManifestsChanged,
    /// A manifest that a rebuild needs cannot be read.
    #[error(
        "{0}. No journal was made: without this manifest's lines it would allow their files to be ingested again. Make \
             the manifest readable, or move it away, and try again"
    )]
    ManifestUnread(pipeline::manifest::read::Error),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] pipeline::manifest::read::Error),
    /// A filter or pattern on the command line is not valid.
    #[error("{0}")]
    Usage(String),
    /// A lake cannot be used, or a request to its stores failed.
    #[error("{at}: {source}")]
    Lake {
        /// The warehouse, or the manifests.
        at: Location,
        /// What is wrong.
        source: Box<lake::Error>,
    },
    /// A store does not keep what a lake rests on.
    #[error("{0}: no lake can be on this store, as listed")]
    StoreUnfit(Location),
    /// Entries of a lake could not be finished.
    #[error("{0} entries stay unfinished, as listed")]
    EntriesUnfinished(u64),
    /// Following the manifests ended.
    #[error(transparent)]
    Follow(#[from] follow::Error),
    /// Writing results to standard output failed.
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    /// A thread could not be started, or panicked.
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
            | Error::Layout(_)
            | Error::Usage(_)
            | Error::MarkerMissing { .. }
            | Error::OtherWarehouse { .. }
            | Error::NoLake(_)
            | Error::ClockOff { .. }
            | Error::StoreUnsuited { .. }
            | Error::Unopened(_)
            | Error::IdentityDiffers { .. }
            | Error::NotMounted { .. }
            | Error::Unsuited { .. } => 2,
            Error::StoreUnfit(_) => 2,
            Error::Lake { source, .. } => exit_code_of_lake(source),
            Error::InputLocked { .. } | Error::Follow(follow::Error::InUse { .. }) => 4,
            Error::Found(_) => 5,
            Error::NotEveryFile(_) | Error::EntriesUnfinished(_) => 6,
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
            Error::Pipeline(pipeline::Error::Lake(error)) => exit_code_of_lake(error),
            Error::Pipeline(pipeline::Error::StoreAway(_)) | Error::Follow(follow::Error::Gone(_)) => 7,
            Error::Follow(follow::Error::Lake(error)) => exit_code_of_lake(error),
            Error::Follow(follow::Error::Consumer(_) | follow::Error::TooMany { .. }) => 2,
            Error::Pipeline(_)
            | Error::Io(_)
            | Error::InputReplaced(_)
            | Error::Output(_)
            | Error::ManifestsChanged
            | Error::ManifestUnread(_)
            | Error::Manifest(_)
            | Error::Follow(_)
            | Error::Thread(_) => 1,
        }
    }
}

fn exit_code_of_lake(error: &lake::Error) -> u8 {
    use store::Kind;
    match error {
        error if error.is_damage() => 3,
        lake::Error::Malformed { .. } | lake::Error::NotSkipped { .. } => 3,
        lake::Error::Description { .. }
        | lake::Error::ManifestsOfAnother { .. }
        | lake::Error::ManifestsUnmarked { .. } => 2,
        lake::Error::Store(error) => match error.kind {
            Kind::Denied | Kind::Gone | Kind::Refused => 2,
            Kind::DidNotHappen | Kind::MayHaveHappened | Kind::SlowDown => 7,
            Kind::Exists | Kind::NotFound => 1,
        },
        lake::Error::Undecided { .. } => 7,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Kind, Verb};

    fn code(error: lake::Error) -> u8 {
        let at = Location::parse("file:///lake").ok();
        at.map_or(0, |at| Error::Lake { at, source: Box::new(error) }.exit_code())
    }

    /// A script decides by the code whether to wait, to mend its settings, or to call somebody.
    #[test]
    fn what_is_wrong_with_a_lake_shows_in_the_exit_code() {
        let key = || "k".to_owned();
        for (kind, expected) in [
            (Kind::Denied, 2),
            (Kind::Gone, 2),
            (Kind::Refused, 2),
            (Kind::DidNotHappen, 7),
            (Kind::MayHaveHappened, 7),
            (Kind::SlowDown, 7),
            (Kind::NotFound, 1),
        ] {
            let error = store::Error { verb: Verb::Get, key: key(), kind, detail: String::new() };
            assert_eq!(code(error.into()), expected, "{kind:?}");
        }
        assert_eq!(code(lake::Error::Undecided { key: key() }), 7);
        assert_eq!(code(lake::Error::Description { key: key(), why: key() }), 2);
        for damage in [
            lake::Error::Hole { key: key(), empty: key() },
            lake::Error::Newer { key: key(), version: 2 },
            lake::Error::Malformed { key: key(), why: "" },
        ] {
            assert_eq!(code(damage), 3);
        }
        assert_eq!(code(lake::Error::Foreign { key: key(), shard: 0, entry: 0 }), 1);
    }
}
