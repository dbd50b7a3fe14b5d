//! `csv-ingestor journal repair`.

use std::path::PathBuf;

use clap::Args;

use super::output::print_lines;
use crate::Error;
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::journal::repair::{default_copy, repair};
use crate::journal::salvage::{Lost, Salvage};
use crate::journal::{self};
use crate::log::path_text;

#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// A new directory, into which everything is copied first [default: next to the journal, its name with .damaged-
    /// and the time appended]
    #[arg(long, value_name = "DIR")]
    copy_to: Option<PathBuf>,
}

/// Makes a journal from the intact parts of a damaged one.
pub(super) fn execute(arguments: &RepairArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    if !journal::exists(&fs, &state_path)? {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    let copy = match &arguments.copy_to {
        Some(copy) => std::path::absolute(copy)?,
        None => default_copy(&state_path, fs.now()),
    };
    let Some(repaired) = repair(&fs, &state_path, &copy)? else {
        return Ok(print_lines(["nothing to repair".to_owned()])?);
    };
    let header = repaired.snapshot.header();
    let mut lines = vec![format!("copied {} files to {}", repaired.copied, path_text(&copy))];
    lines.extend(findings(&repaired.salvage));
    if repaired.lost_contents > 0 {
        lines.push(format!("lost: {} contents that only a damaged snapshot contained", repaired.lost_contents));
    }
    lines.push(format!(
        "saved: {} contents, and {} files that are half done or kept as duplicates",
        header.rows,
        repaired.salvage.unfinished()
    ));
    lines.push(format!(
        "wrote {}; the journal continues at LSN {}",
        path_text(repaired.snapshot.path()),
        header.lsn.plus(1)
    ));
    Ok(print_lines(lines)?)
}

/// The results of the search, as lines.
pub(super) fn findings(salvage: &Salvage) -> Vec<String> {
    let mut lines: Vec<String> =
        salvage.damaged.iter().map(|(path, what)| format!("damaged: {}: {what}", path_text(path))).collect();
    lines.push(format!("intact: {} records in segments", salvage.records));
    lines.extend(salvage.lost.iter().map(|Lost { from, to }| match to {
        Some(to) => format!("lost: LSN {from} to {to}"),
        None => format!("lost: whatever was written from LSN {from} on"),
    }));
    if salvage.lost.is_empty() {
        lines.push("lost: no LSN".to_owned());
    }
    lines.extend(
        salvage
            .orphans
            .iter()
            .map(|(lsn, id)| format!("of no use without what is lost: LSN {lsn}, about the file with ingest id {id}")),
    );
    lines.extend(
        salvage
            .unlisted
            .iter()
            .map(|path| format!("in the warehouse, but perhaps in no manifest: {}", path_text(path))),
    );
    lines
}
