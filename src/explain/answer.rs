//! An answer, and what it goes by.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::control::StagedStatus;
use crate::fs::Fs;
use crate::journal::report::JournalReport;
use crate::pipeline::manifest::json_path;
use crate::pipeline::scan::NameRules;

/// What the answers go by.
pub struct Context<'a, F: Fs> {
    /// The file system.
    pub fs: &'a F,
    /// The journal.
    pub report: &'a JournalReport,
    /// Which names are for the ingestor, and the ending of sidecars in sidecar mode.
    pub rules: NameRules,
    /// These rules are those of an ingestor that runs.
    pub are_rules_told: bool,
    /// Only those are taken that a checksum in their sidecar vouches for.
    pub require_checksum: bool,
    /// How long to look whether a file grows.
    pub watch: Duration,
    /// Asks the running ingestor about a staged file: None if none runs, or it does not answer.
    pub ask: &'a dyn Fn(&std::ffi::OsStr) -> Option<Option<StagedStatus>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The path that was asked about.
    pub path: PathBuf,
    /// In one word: INGESTED, DUPLICATE, WAITING, READY, IN_FLIGHT, QUARANTINED, IGNORED, GONE, MISSING or UNKNOWN.
    pub status: &'static str,
    /// In one sentence.
    pub summary: String,
    /// What it rests on.
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

    /// A path, and its exact bytes beside it if it is not UTF-8.
    pub(super) fn with_path(self, key: &str, path: &Path) -> Answer {
        let (text, exact) = json_path(path);
        self.with(key, text.into_owned()).with(&format!("{key}_base64"), exact)
    }
}

pub(super) fn text(path: &Path) -> String {
    json_path(path).0.into_owned()
}
