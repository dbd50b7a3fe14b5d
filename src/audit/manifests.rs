//! Reads the manifests: valid lines go into the table, others into the doubts.
//!
//! Invariant: each manifest is read once, from its beginning; lines that are appended after that are left to the second
//! check.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::groups::{Groups, Run};
use super::numbers::Numbers;
use super::plan::Plan;
use super::table::Table;
use super::warehouse::WarehouseView;
use super::watch::Watch;
use crate::Error;
use crate::fs::Fs;
use crate::pipeline::manifest::hours::{Unread, manifests};
use crate::pipeline::manifest::read::{self, Lines, Text};

/// A line that could not be read, or beside which others are missing.
pub struct Suspect {
    pub(super) manifest: PathBuf,
    pub(super) offset: u64,
    pub(super) number: u64,
    pub(super) doubt: Doubt,
    pub(super) why: String,
}

/// What is wrong with a line.
pub(super) enum Doubt {
    /// It is no line of an ingestor.
    Malformed,
    /// It has no end.
    Torn,
    /// It is the first of a group of which other lines are missing.
    Group(Box<Run>),
}

/// The result of reading the manifests.
pub struct Read<F: Fs> {
    /// All lines.
    pub table: Table,
    /// Their numbers, if all lines were read.
    pub(super) numbers: Numbers,
    /// Lines that are not valid, and manifests that cannot be read.
    pub doubts: Doubts,
    pub(super) warehouse: WarehouseView<F>,
}

/// The parts of the manifests that could not be used.
#[derive(Default)]
pub struct Doubts {
    pub(super) suspects: Vec<Suspect>,
    /// Manifests that could not be read at all, or not to their end.
    pub unread: Vec<Unread>,
}

/// Reads all lines that the plan asks for.
///
/// # Errors
/// The warehouse cannot be opened, the manifests' directory cannot be listed, or the audit was stopped.
pub fn read_manifests<F: Fs>(fs: &F, plan: &Plan, watch: &Watch<'_>) -> Result<Read<F>, Error> {
    let warehouse = WarehouseView::open(fs, &plan.warehouse)?;
    let hours = manifests(fs, &plan.manifests, plan.since)?;
    let doubts = Doubts { suspects: Vec::new(), unread: hours.unread };
    let mut read = Read { table: Table::default(), numbers: Numbers::default(), doubts, warehouse };
    read.table.relocations = plan.relocations.clone();
    for manifest in hours.manifests {
        match read_lines(fs, &manifest, watch, (&mut read, plan.since.is_none())) {
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

/// Reads the lines of one manifest, until the audit is stopped.
fn read_lines<F: Fs>(
    fs: &F,
    manifest: &Path,
    watch: &Watch<'_>,
    (read, are_all): (&mut Read<F>, bool),
) -> Result<(), read::Error> {
    let mut lines = Lines::open(fs, manifest, 0)?;
    read.table.begin_manifest(manifest.to_path_buf());
    let mut groups = Groups::default();
    while let Some(line) = lines.next_line()? {
        read.table.mark(&line);
        if let Text::Whole(text) = line.text {
            read.doubts
                .suspects
                .extend(groups.line(text, (line.offset, line.number)).map(|run| of_group(run, manifest)));
        }
        match line.parse() {
            Ok(listed) => {
                if are_all {
                    read.numbers.add(&listed);
                }
                let listed = read.table.understand(fs, &read.warehouse, listed);
                read.table.push(&read.warehouse, line.offset, &listed);
            }
            Err(why) => {
                let doubt = if matches!(line.text, Text::Unfinished(_)) { Doubt::Torn } else { Doubt::Malformed };
                let (offset, number) = (line.offset, line.number);
                read.doubts.suspects.push(Suspect { manifest: manifest.to_path_buf(), offset, number, doubt, why });
            }
        }
        watch.progress.lines.fetch_add(1, Ordering::Relaxed);
        if watch.is_stopped() {
            break;
        }
    }
    read.doubts.suspects.extend(groups.end().map(|run| of_group(run, manifest)));
    read.table.end_manifest(lines.lines_end());
    Ok(())
}

fn of_group(run: Run, manifest: &Path) -> Suspect {
    let (offset, number, why) = (run.offset, run.number, run.why());
    Suspect { manifest: manifest.to_path_buf(), offset, number, doubt: Doubt::Group(Box::new(run)), why }
}
