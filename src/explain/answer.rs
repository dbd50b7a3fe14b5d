//! An answer, and its inputs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::control::StagedStatus;
use crate::fs::Fs;
use crate::journal::report::JournalReport;
use crate::pipeline::layout::Layout;
use crate::pipeline::manifest::json_path;
use crate::pipeline::scan::NameRules;
use crate::pipeline::settle::bounds::Bounds;

/// The inputs of all answers.
pub struct Context<'a, F: Fs> {
    /// The file system.
    pub fs: &'a F,
    /// The journal.
    pub report: &'a JournalReport,
    /// Which names the ingestor takes, and in sidecar mode the names of sidecars.
    pub rules: NameRules,
    /// `rules` came from a running ingestor.
    pub are_rules_known: bool,
    /// Only files with a matching checksum in their sidecar are ingested.
    pub require_checksum: bool,
    /// In which directory of the warehouse a file is published.
    pub layout: Layout,
    /// How old a file has to be, and how large it may be.
    pub bounds: Bounds,
    /// How long to watch whether a file grows.
    pub watch: Duration,
    /// Asks the running ingestor about a staged file: None if none runs, or it does not answer.
    pub ask: &'a dyn Fn(&std::ffi::OsStr) -> Option<Option<StagedStatus>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The path that was asked about.
    pub path: PathBuf,
    /// One of INGESTED, DUPLICATE, WAITING, READY, IN_FLIGHT, QUARANTINED, IGNORED, GONE, MISSING or UNKNOWN.
    pub status: &'static str,
    /// The reason, in one sentence.
    pub summary: String,
    /// The facts behind it.
    pub facts: Map<String, Value>,
}

impl Answer {
    pub(super) fn new(path: &Path, status: &'static str, summary: impl Into<String>) -> Answer {
        Answer { path: path.to_path_buf(), status, summary: summary.into(), facts: Map::new() }
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Answer {
        let value = value.into();
        if !value.is_null() {
            self.facts.insert(key.to_owned(), value);
        }
        self
    }

    /// Adds a path, and its exact bytes if it is not UTF-8.
    pub(super) fn with_path(self, key: &str, path: &Path) -> Answer {
        let ((text, exact), key_exact) = (json_path(path), format!("{key}_base64"));
        let mut answer = self.with(key, text.into_owned());
        // A reason file may have given bytes that belong to no path of ours.
        answer.facts.remove(&key_exact);
        answer.with(&key_exact, exact)
    }
}

pub(super) fn text(path: &Path) -> String {
    json_path(path).0.into_owned()
}
