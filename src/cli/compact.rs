//! `csv-ingestor journal compact`.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;

use super::output::print_lines;
use crate::Error;
use crate::config::parse_remember;
use crate::fs::real::RealFs;
use crate::journal::compact::compact;
use crate::journal::index::Index;
use crate::journal::verify::verify;
use crate::journal::{self, Journal};
use crate::log::path_text;
use crate::log::{self, LogFormat, LogLevel};
use crate::metrics::{events, seconds};

#[derive(Debug, Args)]
pub(super) struct CompactArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Forget content that was ingested longer ago than this: sent again, it is ingested again. 90d, 12months, 5years
    /// [default: never forget]
    #[arg(long, value_name = "DURATION", value_parser = parse_remember, env = "CSV_INGESTOR_REMEMBER")]
    remember: Option<Duration>,
}

/// Appends the records that must precede any other, and logs a warning if the clock has jumped.
pub(super) fn note_opening(journal: &mut Journal<RealFs>, index: &mut Index) -> Result<(), Error> {
    log::start(LogLevel::Warn, LogFormat::Text);
    let (records, jumped) = journal.opening(index.clock(), index.expired());
    jumped.iter().for_each(events::clock_jumped);
    Ok(journal.append_all(index, &records)?)
}

/// Writes a snapshot now and removes the files that it replaces.
pub(super) fn execute(arguments: &CompactArgs) -> Result<(), Error> {
    let started = Instant::now();
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    if !journal::exists(&fs, &state_path)? {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    // A start does not read the rows of a snapshot. Find damage in them before anything is written.
    verify(&fs, &state_path)?;
    let mut index = Index::default();
    let (mut journal, _) = Journal::open(&fs, &state_path, &mut index)?;
    note_opening(&mut journal, &mut index)?;
    if let Some(remember) = arguments.remember {
        let expiry = journal.expiry(index.clock(), index.expired(), remember);
        journal.append_all(&mut index, expiry.as_slice())?;
        journal.seal()?;
    }
    let compacted = compact(&fs, &state_path, journal.active_first_lsn(), &AtomicBool::new(false))?;
    journal.shut_down()?;
    let Some(compacted) = compacted else { return Ok(print_lines(["nothing to compact".to_owned()])?) };
    let header = compacted.snapshot.header();
    let elapsed = seconds(started.elapsed());
    Ok(print_lines([
        format!("wrote {}", path_text(compacted.snapshot.path())),
        format!("{} contents in {} bytes, up to LSN {}, in {elapsed} s", header.rows, header.file_bytes, header.lsn),
        format!("forgotten: {} now, {} in all", compacted.forgotten, header.forgotten),
        format!("files removed: {}", compacted.removed),
    ])?)
}
