//! The findings of an audit, and their reporter.
//!
//! Invariant: each finding is reported once, at once, and counted.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::pipeline::manifest::read::LinePlace;
use crate::types::{IngestId, Sha256};

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It should be in the warehouse, but is not.
    Missing,
    /// Its size or SHA-256 has changed.
    Altered,
    /// Its path leads out of the warehouse, or through a link: the file was not opened.
    Outside,
    /// It is in the warehouse, but neither listed nor in the journal.
    Extra,
    /// The same content, place or ingest id in several lines.
    ListedTwice,
    /// MANIFESTED in the journal, but in no manifest.
    NotListed,
    /// A line of this journal's ingestor that the journal does not know.
    NotInJournal,
    /// Line and journal contradict each other about one file.
    Contradiction,
    /// A line of a manifest that is not valid.
    MalformedLine,
    /// A last line without its line end.
    TornLine,
    /// A group of which some lines are missing.
    GroupIncomplete,
    /// Numbers of lines that no line has, between others.
    Gap,
    /// An entry with a manifest's name that is not a regular file: a link, a directory, a pipe.
    IrregularManifest,
    /// It cannot be read, so it cannot be checked.
    Unreadable,
    /// The log of a lake: an entry or a chain that no host can read.
    DamagedLog,
    /// An entry of a lake that nobody has finished in time.
    Unfinished,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 16] = [
        Kind::Missing,
        Kind::Altered,
        Kind::Outside,
        Kind::Extra,
        Kind::ListedTwice,
        Kind::NotListed,
        Kind::NotInJournal,
        Kind::Contradiction,
        Kind::MalformedLine,
        Kind::TornLine,
        Kind::GroupIncomplete,
        Kind::Gap,
        Kind::IrregularManifest,
        Kind::Unreadable,
        Kind::DamagedLog,
        Kind::Unfinished,
    ];

    /// The name in the audit's output.
    pub fn text(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Altered => "altered",
            Kind::Outside => "outside",
            Kind::Extra => "extra",
            Kind::ListedTwice => "listed_twice",
            Kind::NotListed => "not_listed",
            Kind::NotInJournal => "not_in_journal",
            Kind::Contradiction => "contradiction",
            Kind::MalformedLine => "malformed_line",
            Kind::TornLine => "torn_line",
            Kind::GroupIncomplete => "group_incomplete",
            Kind::Gap => "gap",
            Kind::IrregularManifest => "irregular_manifest",
            Kind::Unreadable => "unreadable",
            Kind::DamagedLog => "damaged_log",
            Kind::Unfinished => "unfinished",
        }
    }
}

/// A size and a SHA-256, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: Option<u64>,
    /// The SHA-256 of the bytes.
    pub sha256: Option<Sha256>,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// The file or manifest that it is about.
    pub path: PathBuf,
    /// The file's ingest id.
    pub ingest_id: Option<IngestId>,
    /// The content that it should have.
    pub expected: Content,
    /// The content that it has.
    pub actual: Content,
    /// The manifest lines that it is about.
    pub lines: Vec<LinePlace>,
    /// A description of the problem.
    pub detail: String,
}

impl Finding {
    /// A finding about a path.
    pub(super) fn new(kind: Kind, path: PathBuf, detail: impl Into<String>) -> Finding {
        let (expected, actual) = (Content::default(), Content::default());
        Finding { kind, path, ingest_id: None, expected, actual, lines: Vec::new(), detail: detail.into() }
    }
}

/// Receives each finding.
pub type Sink = Box<dyn FnMut(&Finding) -> io::Result<()> + Send>;

/// Passes findings from any thread to the sink, and counts them.
pub struct Reporter {
    output: Mutex<Output>,
}

struct Output {
    sink: Sink,
    counts: [u64; Kind::ALL.len()],
    failed: Option<io::Error>,
}

impl Reporter {
    /// A reporter without findings.
    pub fn new(sink: Sink) -> Reporter {
        Reporter { output: Mutex::new(Output { sink, counts: [0; Kind::ALL.len()], failed: None }) }
    }

    /// Reports a finding.
    pub fn report(&self, finding: &Finding) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.counts[finding.kind as usize] += 1;
        if output.failed.is_none()
            && let Err(error) = (output.sink)(finding)
        {
            output.failed = Some(error);
        }
    }

    /// How many findings of each kind there were, in the order of [`Kind::ALL`].
    ///
    /// # Errors
    /// The sink failed for one of them.
    pub fn counts(&self) -> io::Result<[u64; Kind::ALL.len()]> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.failed.take().map_or(Ok(output.counts), Err)
    }
}
