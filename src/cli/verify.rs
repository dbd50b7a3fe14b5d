//! `csv-ingestor journal verify`.

use std::path::PathBuf;

use clap::Args;

use super::output::print_lines;
use super::repair::findings;
use crate::Error;
use crate::fs::real::RealFs;
use crate::journal;
use crate::journal::repair::preview;
use crate::journal::replay::{Ending, Replayed};
use crate::journal::verify::{SpareVerdict, verify};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
}

/// Reads every byte of the journal and reports its condition: intact, with a torn tail, or (exit code 3) corrupt.
pub(super) fn execute(arguments: &VerifyArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    let verified = match verify(&fs, &state_path) {
        Err(journal::Error::Corrupt(damage)) => {
            // The lines about the rest help the operator to decide; the verdict is the error.
            if let Ok(salvage) = preview(&fs, &state_path) {
                print_lines(["corrupt; what a repair would find:".to_owned()].into_iter().chain(findings(&salvage)))?;
            }
            return Err(Error::Unrepaired(damage));
        }
        verified => verified?,
    };
    let Some(verified) = verified else {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    };
    let found = &verified.replayed;
    let verdict = match found.ending {
        Ending::Empty | Ending::Shutdown => "intact; it was closed cleanly".to_owned(),
        Ending::Killed => "intact; not closed: the ingestor is running, or was killed".to_owned(),
        Ending::Torn { bytes } => {
            format!("intact up to a torn tail of {bytes} bytes, the mark of a crash; the next start drops it")
        }
    };
    let mut lines = vec![verdict, contents(found)];
    match verified.spare {
        Some(SpareVerdict::Intact(spare)) => {
            lines.push(format!("the generation before is intact: {}", contents(&spare)))
        }
        Some(SpareVerdict::Damaged(damage)) => {
            print_lines(lines)?;
            return Err(Error::SpareDamaged(damage));
        }
        None => {}
    }
    Ok(print_lines(lines)?)
}

/// The size of what was read.
fn contents(read: &Replayed) -> String {
    let last_lsn = read.last.as_ref().map_or(0, |(_, end)| end.last_lsn.0);
    let segments = format!("{} segments, {} bytes of frames, up to LSN {last_lsn}", read.segments, read.bytes);
    match &read.snapshot {
        None => segments,
        Some(snapshot) => {
            let header = snapshot.header();
            format!(
                "a snapshot of {} contents ({} forgotten), {} bytes, up to LSN {}; {segments}",
                header.rows, header.forgotten, header.file_bytes, header.lsn
            )
        }
    }
}
