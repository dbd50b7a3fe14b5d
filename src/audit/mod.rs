//! Audit: holds warehouse, manifests and journal against each other, and re-hashes the files.
//!
//! Invariants:
//! - It changes nothing, anywhere, and takes no lock: it runs beside ingestors.
//! - It looks at files in the warehouse only, whatever path a line or the journal names (in `warehouse`).
//! - The order of reading: journal, manifests, names and files in the warehouse. What the journal calls MANIFESTED has its
//!   line when the manifests are read, and what is listed has its file when the warehouse is looked at. For what goes
//!   the other way round (a file without a line, a line that the journal does not know) there is a second look
//!   (in `again`) before it is reported.
//! - Memory: some 90 bytes for each line, whatever is wrong with it; queues are bounded.

mod again;
mod check;
mod compare;
mod finding;
mod known;
mod moved;
mod sample;
mod table;
mod unread;
mod walk;
mod warehouse;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

pub use again::Suspect;
pub use check::{Progress, Watch};
pub use finding::{Content, Finding, Kind, Reporter, Sink};
pub use known::Known;
pub use sample::Sample;
pub use table::{Entry, Table};

use crate::Error;
use crate::fs::Fs;
use crate::journal;
use crate::journal::lifecycle::FileState;
use crate::journal::relocations::Relocations;
use crate::pipeline::hours::{Unread, manifests};
use crate::pipeline::lines::{self, Lines, Listed, Place, Text};
use crate::types::UnixMillis;
use check::Checker;
use sample::Choice;
use unread::Unreads;
use warehouse::Warehouse;

/// What is to be audited.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The journal's directory; None leaves the journal out.
    pub state: Option<PathBuf>,
    /// The warehouse.
    pub warehouse: PathBuf,
    /// The manifests.
    pub manifests: PathBuf,
    /// Only what was ingested from this instant on: the beginning of a day.
    pub since: Option<UnixMillis>,
    /// How much is hashed.
    pub sample: Sample,
    /// Chooses the sample.
    pub seed: u64,
    /// Report what stands in several lines.
    pub compare_lines: bool,
    /// Threads that hash.
    pub concurrency: usize,
    /// Directories that were moved, as the journal says.
    pub relocations: Relocations,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Manifest lines.
    pub lines: u64,
    /// Files.
    pub files: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Files that were in the warehouse, their lines not written yet: the next start finishes them, if nobody is at it.
    pub on_their_way: u64,
    /// Lines of contents that the journal was told to forget.
    pub forgotten: u64,
    /// Lines that the journal does not know, of files from staging directories that are not its own.
    pub of_others: u64,
    /// Rows of the journal, and names in the warehouse, that a manifest may list which cannot be read: nothing is said of
    /// them.
    pub undecided: u64,
    /// It was stopped before it was through.
    pub is_interrupted: bool,
}

/// A path's directory and name.
fn split(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(path), path.file_name().unwrap_or_default())
}

/// What the journal knows of a staging directory.
#[derive(Clone, Copy, Debug, Default)]
struct Input {
    /// It is in its settings.
    is_own: bool,
    /// It is, or files that it remembers came from there: those that a rebuilt journal remembers of others, too.
    is_known: bool,
}

/// An audit under way.
pub(super) struct Audit<'a, 'w, F: Fs> {
    fs: &'a F,
    state: Option<PathBuf>,
    warehouse: &'a Warehouse<F>,
    manifests: PathBuf,
    since: Option<UnixMillis>,
    watch: &'a Watch<'w>,
    table: &'a Table,
    /// Lines by place, where several have one.
    rivals: &'a HashMap<u64, Vec<u32>>,
    /// By their numbers, what the journal knows of staging directories.
    inputs: Vec<Input>,
    unreads: RefCell<Unreads>,
    undecided: Cell<u64>,
    summary: Summary,
}

/// Audits, with what the journal knew before.
///
/// # Errors
/// The journal is damaged, the warehouse or the manifests' directory cannot be read, or a finding could not be told. What
/// is wrong with a single file or manifest is a finding.
pub fn run<F: Fs>(fs: &F, plan: &Plan, watch: &Watch<'_>, known: Option<Known>) -> Result<Summary, Error> {
    let read = read_manifests(fs, plan, watch)?;
    audit(fs, plan, watch, known, read)
}

/// What was read of the manifests.
pub struct Read<F: Fs> {
    /// All lines.
    pub table: Table,
    /// What is none.
    pub doubts: Doubts,
    warehouse: Warehouse<F>,
}

/// What of the manifests says nothing.
#[derive(Default)]
pub struct Doubts {
    suspects: Vec<Suspect>,
    /// What could not be read at all, or not to its end.
    pub unread: Vec<Unread>,
}

/// Reads all lines that the plan is about.
///
/// # Errors
/// The warehouse cannot be opened, the manifests' directory not be listed, or it was stopped.
pub fn read_manifests<F: Fs>(fs: &F, plan: &Plan, watch: &Watch<'_>) -> Result<Read<F>, Error> {
    let warehouse = Warehouse::open(fs, &plan.warehouse)?;
    let hours = manifests(fs, &plan.manifests, plan.since)?;
    let doubts = Doubts { suspects: Vec::new(), unread: hours.unread };
    let mut read = Read { table: Table::default(), doubts, warehouse };
    read.table.relocations = plan.relocations.clone();
    for manifest in hours.manifests {
        match read_lines(fs, &manifest, watch, &mut read) {
            Err(error) if error.is_not_found() => {}
            Err(why) => read.doubts.unread.push(Unread { path: manifest, why }),
            Ok(()) => {}
        }
        if watch.is_stopped() {
            return Err(Error::Interrupted);
        }
    }
    read.table.build();
    Ok(read)
}

/// Reads the lines of one manifest, until it is to stop.
fn read_lines<F: Fs>(fs: &F, manifest: &Path, watch: &Watch<'_>, read: &mut Read<F>) -> Result<(), lines::Error> {
    let mut lines = Lines::open(fs, manifest, 0)?;
    read.table.begin_manifest(manifest.to_path_buf());
    while let Some(line) = lines.next_line()? {
        read.table.mark(&line);
        match line.parse() {
            Ok(listed) => {
                let listed = read.table.understand(fs, &read.warehouse, listed);
                read.table.push(&read.warehouse, line.offset, &listed);
            }
            Err(why) => {
                let is_torn = matches!(line.text, Text::Unfinished(_));
                let (offset, number) = (line.offset, line.number);
                read.doubts.suspects.push(Suspect { manifest: manifest.to_path_buf(), offset, number, is_torn, why });
            }
        }
        watch.progress.lines.fetch_add(1, Ordering::Relaxed);
        if watch.is_stopped() {
            break;
        }
    }
    read.table.end_manifest(lines.lines_end());
    Ok(())
}

/// Compares what was read, and looks at the files.
pub fn audit<F: Fs>(
    fs: &F,
    plan: &Plan,
    watch: &Watch<'_>,
    known: Option<Known>,
    read: Read<F>,
) -> Result<Summary, Error> {
    let Read { table, doubts, warehouse } = read;
    let table = &table;
    let choice = Choice::new(plan.sample, plan.seed, table.entries());
    let chosen = table.entries().iter().filter(|entry| choice.takes(&entry.sha256));
    // What lines say is not what there is.
    let bytes = chosen.fold(0_u64, |bytes, entry| bytes.saturating_add(entry.size));
    watch.progress.bytes_total.store(bytes, Ordering::Relaxed);
    watch.progress.files_total.store(table.entries().len() as u64, Ordering::Relaxed);
    let rivals = table.rivals();
    let input = |input: &PathBuf| Input {
        is_own: known.as_ref().is_some_and(|known| known.is_own_input(input)),
        is_known: known.as_ref().is_some_and(|known| known.is_input(input)),
    };
    let mut audit = Audit {
        fs,
        state: plan.state.clone(),
        warehouse: &warehouse,
        manifests: plan.manifests.clone(),
        since: plan.since,
        watch,
        table,
        rivals: &rivals,
        inputs: table.inputs().iter().map(input).collect(),
        unreads: RefCell::new(Unreads::none(&plan.manifests)),
        undecided: Cell::new(0),
        summary: Summary::default(),
    };
    doubts.unread.into_iter().for_each(|unread| audit.note_unread(unread));
    let moved = known.iter().flat_map(Known::on_their_way).filter(|file| file.state == FileState::Moved);
    audit.summary.on_their_way = moved.count() as u64;
    if plan.compare_lines {
        audit.summary.forgotten = audit.listed_twice(known.as_ref());
    }
    let checker = Checker { fs, table, rivals: &rivals, watch };
    let (extras, unknown) = checker.run(plan.concurrency, |queue| {
        let (extras, seen) = audit.walk(choice, queue)?;
        if choice.looks_at_files() && !watch.is_stopped() {
            audit.look_for(&seen, choice, queue);
        }
        let unknown = match &known {
            Some(known) if !watch.is_stopped() => audit.compare(known, choice, queue)?,
            _ => Vec::new(),
        };
        Ok::<_, Error>((extras, unknown))
    })?;
    // Its memory is wanted for the second reading.
    drop(known);
    if !watch.is_stopped() {
        audit.look_again(extras, doubts.suspects, &unknown)?;
    }
    let progress = watch.progress;
    Ok(Summary {
        lines: table.entries().len() as u64,
        files: progress.files.load(Ordering::Relaxed),
        bytes: progress.bytes.load(Ordering::Relaxed),
        is_interrupted: watch.is_stopped(),
        undecided: audit.undecided.get(),
        ..audit.summary
    })
}

impl<F: Fs> Audit<'_, '_, F> {
    fn report(&self, finding: &Finding) {
        self.watch.reporter.report(finding);
    }

    /// Tells of a manifest that cannot be read.
    fn note_unread(&self, unread: Unread) {
        self.unreads.borrow_mut().add(unread, self.watch.reporter);
    }

    /// What was asked of an entry's manifest; None, and a finding, if it cannot be read any more.
    fn asked<T>(&self, entry: &Entry, answer: Result<T, lines::Error>) -> Option<T> {
        let unread = |why| self.note_unread(Unread { path: self.table.manifest_of(entry).to_path_buf(), why });
        answer.map_err(unread).ok()
    }

    /// What an entry's line says; None if it does not stand there any more.
    fn reread(&self, entry: &Entry) -> Option<Listed> {
        self.asked(entry, self.table.read(self.fs, entry)).flatten()
    }

    /// Where an entry's line stands.
    fn line_place(&self, entry: &Entry) -> Option<Place> {
        self.asked(entry, self.table.line_place(self.fs, entry))
    }

    /// Counts something of which nothing can be said.
    fn leave_undecided(&self, count: usize) {
        self.undecided.set(self.undecided.get() + count as u64);
    }

    fn with_journal(&self) -> bool {
        self.state.is_some()
    }

    /// Reads the journal as it is now, if it is not left out.
    fn read_journal(&self) -> Result<Option<Known>, journal::Error> {
        self.state.as_ref().map_or(Ok(None), |state| Known::read(self.fs, state))
    }
}
