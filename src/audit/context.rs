//! An audit in progress: the state that its parts share, and how they report findings.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::finding::Finding;
use super::journal_view::Known;
use super::plan::{Plan, Summary};
use super::table::{Entry, Table};
use super::unread::Unreads;
use super::warehouse::WarehouseView;
use super::watch::Watch;
use crate::fs::Fs;
use crate::journal;
use crate::journal::lifecycle::FileState;
use crate::pipeline::manifest::hours::Unread;
use crate::pipeline::manifest::read::{self, LinePlace, Listed};
use crate::types::UnixMillis;

/// What the journal knows about a staging directory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Input {
    /// It is in the journal's settings.
    pub(super) is_own: bool,
    /// It is, or files that the journal remembers came from there; a rebuilt journal also remembers files of others.
    pub(super) is_known: bool,
}

/// An audit in progress.
pub(super) struct Audit<'a, 'w, F: Fs> {
    pub(super) fs: &'a F,
    pub(super) state: Option<PathBuf>,
    pub(super) warehouse: &'a WarehouseView<F>,
    pub(super) manifests: PathBuf,
    pub(super) since: Option<UnixMillis>,
    pub(super) grace: Duration,
    pub(super) watch: &'a Watch<'w>,
    pub(super) table: &'a Table,
    /// Lines by place, for places with several lines.
    pub(super) rivals: &'a HashMap<u64, Vec<u32>>,
    /// What the journal knows about the staging directories, by their numbers.
    pub(super) inputs: Vec<Input>,
    pub(super) unreads: RefCell<Unreads>,
    pub(super) undecided: Cell<u64>,
    pub(super) summary: Summary,
}

impl<'a, 'w, F: Fs> Audit<'a, 'w, F> {
    pub(super) fn new(
        fs: &'a F,
        plan: &Plan,
        watch: &'a Watch<'w>,
        warehouse: &'a WarehouseView<F>,
        table: &'a Table,
        rivals: &'a HashMap<u64, Vec<u32>>,
    ) -> Audit<'a, 'w, F> {
        Audit {
            fs,
            state: plan.state.clone(),
            warehouse,
            manifests: plan.manifests.clone(),
            since: plan.since,
            grace: plan.grace,
            watch,
            table,
            rivals,
            inputs: vec![Input::default(); table.inputs().len()],
            unreads: RefCell::new(Unreads::none(&plan.manifests)),
            undecided: Cell::new(0),
            summary: Summary::default(),
        }
    }

    /// Records what the journal knows about the staging directories, and how many files are on their way.
    pub(super) fn note_journal(&mut self, known: Option<&Known>) {
        let Some(known) = known else { return };
        let input = |input: &PathBuf| Input { is_own: known.is_own_input(input), is_known: known.is_input(input) };
        self.inputs = self.table.inputs().iter().map(input).collect();
        let moved = known.on_their_way().filter(|file| file.state == FileState::Moved);
        self.summary.on_their_way = moved.count() as u64;
    }

    /// The numbers of the finished audit.
    pub(super) fn sum_up(&self) -> Summary {
        let progress = self.watch.progress;
        Summary {
            lines: self.table.entries().len() as u64,
            files: progress.files.load(Ordering::Relaxed),
            bytes: progress.bytes.load(Ordering::Relaxed),
            is_interrupted: self.watch.is_stopped(),
            undecided: self.undecided.get(),
            ..self.summary
        }
    }

    pub(super) fn report(&self, finding: &Finding) {
        self.watch.reporter.report(finding);
    }

    /// Reports a manifest that cannot be read.
    pub(super) fn note_unread(&self, unread: Unread) {
        self.unreads.borrow_mut().add(unread, self.watch.reporter);
    }

    /// The answer of an entry's manifest; None, and a finding, if it cannot be read any more.
    pub(super) fn asked<T>(&self, entry: &Entry, answer: Result<T, read::Error>) -> Option<T> {
        let unread = |why| self.note_unread(Unread { path: self.table.manifest_of(entry).to_path_buf(), why });
        answer.map_err(unread).ok()
    }

    /// The content of an entry's line; None if it is not there any more.
    pub(super) fn reread(&self, entry: &Entry) -> Option<Listed> {
        self.asked(entry, self.table.read(self.fs, entry)).flatten()
    }

    /// The position of an entry's line.
    pub(super) fn line_place(&self, entry: &Entry) -> Option<LinePlace> {
        self.asked(entry, self.table.line_place(self.fs, entry))
    }

    /// Counts items that the audit cannot decide about.
    pub(super) fn leave_undecided(&self, count: usize) {
        self.undecided.set(self.undecided.get() + count as u64);
    }

    pub(super) fn with_journal(&self) -> bool {
        self.state.is_some()
    }

    /// Reads the journal as it is now, if it is part of the audit.
    pub(super) fn read_journal(&self) -> Result<Option<Known>, journal::Error> {
        self.state.as_ref().map_or(Ok(None), |state| Known::read(self.fs, state))
    }
}
