//! Questions to the intake, which alone knows the files in staging.
//!
//! Invariant: a question waits for a limited time until the intake takes it, and again for its answer. The intake itself
//! never waits for a question.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};

use crate::control::{STEP_TIME_MAX, StagedStatus};
use crate::pipeline::settle::Age;

/// A question on its way to the intake.
pub enum Asked {
    /// What it knows of one file.
    File {
        /// Its path below the staging directory.
        name: OsString,
        /// None: it does not know the file.
        answer: Sender<Option<StagedStatus>>,
    },
    /// Some of the files that it knows.
    Search {
        /// Which.
        search: Search,
        /// What was found.
        answer: Sender<Part>,
    },
}

/// Which files are searched for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Those behind this one.
    pub after: Option<Age>,
    /// At most so many.
    pub rows: usize,
    /// Those whose name contains this; ASCII letters match in either case.
    pub name: Vec<u8>,
}

/// Some of the files.
pub struct Part {
    /// The files, in the order in which they were first seen.
    pub files: Vec<Staged>,
    /// Behind it there are more, which may match.
    pub next: Option<Age>,
    /// How many files the intake knows, whether they match or not.
    pub known: usize,
    /// How long the intake worked on the answer.
    pub took: Duration,
}

/// A file that waits.
pub struct Staged {
    /// Its path below the staging directory.
    pub name: Arc<OsStr>,
    /// How long ago it was first seen, to the second.
    pub waited: Duration,
    /// What is known of it.
    pub status: StagedStatus,
}

/// Asks the intake.
#[derive(Clone)]
pub struct Asker(Sender<Asked>);

impl Asker {
    /// The two ends.
    pub fn new() -> (Asker, Receiver<Asked>) {
        let (sender, asked) = channel::bounded(0);
        (Asker(sender), asked)
    }

    /// What is known of a file. The outer None: there is no answer.
    pub fn file(&self, name: OsString) -> Option<Option<StagedStatus>> {
        self.ask(|answer| Asked::File { name, answer })
    }

    /// Searches a part of the files. None: there is no answer.
    pub fn search(&self, search: Search) -> Option<Part> {
        self.ask(|answer| Asked::Search { search, answer })
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Asked) -> Option<T> {
        let (answer, answered) = channel::bounded(1);
        self.0.send_timeout(question(answer), STEP_TIME_MAX).ok()?;
        answered.recv_timeout(STEP_TIME_MAX).ok()
    }
}
