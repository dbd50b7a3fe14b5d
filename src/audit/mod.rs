//! Audit: compares warehouse, manifests and journal, and hashes the files again.
//!
//! Invariants:
//! - It changes nothing and takes no lock: it can run while ingestors run.
//! - It opens only files in the warehouse, whatever path a line or the journal names (see `warehouse`).
//! - It reads in this order: journal, manifests, names and files in the warehouse. So a file that is MANIFESTED in the
//!   journal has its line when the manifests are read, and a listed file is there when the warehouse is read. The
//!   opposite cases (a file without a line, a line that the journal does not know) may be files on their way: they are
//!   checked a second time (see `recheck`) before they are reported.
//! - Memory: about 90 bytes per line, whatever is wrong with it; queues are bounded.

mod compare;
mod context;
mod files;
mod finding;
mod groups;
mod journal_view;
pub mod lake;
mod manifests;
mod moved;
mod numbers;
mod places;
mod plan;
mod recheck;
mod sample;
mod table;
mod unread;
mod walk;
mod warehouse;
mod watch;

use std::sync::atomic::Ordering;

pub use finding::{Content, Finding, Kind, Reporter, Sink};
pub use journal_view::Known;
pub use manifests::{Doubts, Read, Suspect, read_manifests};
pub use plan::{Plan, Summary};
pub use sample::Sample;
pub use table::{Entry, Table};
pub use watch::{Progress, Watch};

use crate::Error;
use crate::fs::Fs;
use context::Audit;
use files::Checker;
use sample::Choice;

/// Audits, with the journal as it was read before.
///
/// # Errors
/// The journal is damaged, the warehouse or the manifests' directory cannot be read, or a finding could not be
/// reported. A problem of a single file or manifest is a finding.
pub fn run<F: Fs>(fs: &F, plan: &Plan, watch: &Watch<'_>, known: Option<Known>) -> Result<Summary, Error> {
    let read = read_manifests(fs, plan, watch)?;
    audit(fs, plan, watch, known, read)
}

/// Compares what was read, and checks the files.
pub fn audit<F: Fs>(
    fs: &F,
    plan: &Plan,
    watch: &Watch<'_>,
    known: Option<Known>,
    read: Read<F>,
) -> Result<Summary, Error> {
    let Read { table, numbers, doubts, warehouse } = read;
    let choice = Choice::new(plan.sample, plan.seed, table.entries());
    announce(watch, &table, choice);
    let rivals = table.rivals();
    let mut audit = Audit::new(fs, plan, watch, &warehouse, &table, &rivals);
    audit.note_journal(known.as_ref());
    doubts.unread.into_iter().for_each(|unread| audit.note_unread(unread));
    if plan.compare_lines {
        audit.summary.forgotten = audit.listed_twice(known.as_ref());
        numbers.findings((fs, &plan.manifests), &table.repeated_ids, &mut |finding| audit.report(&finding))?;
    }
    let checker = Checker { fs, table: &table, rivals: &rivals, watch };
    let (extras, unknown) = checker.run(plan.concurrency, |queue| {
        let (extras, seen) = audit.walk(known.as_ref(), choice, queue)?;
        if choice.looks_at_files() && !watch.is_stopped() {
            audit.look_for(&seen, choice, queue);
        }
        let unknown = match &known {
            Some(known) if !watch.is_stopped() => audit.compare(known, choice, queue)?,
            _ => Vec::new(),
        };
        Ok::<_, Error>((extras, unknown))
    })?;
    // The second reading needs its memory.
    drop(known);
    if !watch.is_stopped() {
        audit.look_again(extras, doubts.suspects, &unknown)?;
    }
    Ok(audit.sum_up())
}

/// Sets the totals of the progress.
fn announce(watch: &Watch<'_>, table: &Table, choice: Choice) {
    let chosen = table.entries().iter().filter(|entry| choice.takes(&entry.key));
    // Sizes in lines may be wrong.
    let bytes = chosen.fold(0_u64, |bytes, entry| bytes.saturating_add(entry.size));
    watch.progress.bytes_total.store(bytes, Ordering::Relaxed);
    watch.progress.files_total.store(table.entries().len() as u64, Ordering::Relaxed);
}
