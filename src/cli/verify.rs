//! `csv-ingestor journal verify`.

use std::path::PathBuf;

use clap::Args;

use super::output::print_lines;
use crate::Error;
use crate::engine::Fold;
use crate::fs::real::RealFs;
use crate::journal;
use crate::journal::replay::Ending;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
}

/// Reads the whole journal and says what it is: intact, with a torn tail, or (exit code 3) corrupt.
pub(super) fn execute(arguments: &VerifyArgs) -> Result<(), Error> {
    let state_path = std::path::absolute(&arguments.state_path)?;
    let Some(found) = journal::read(&RealFs::default(), &state_path, &mut Fold::default())? else {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    };
    let verdict = match found.ending {
        Ending::Empty | Ending::Shutdown => "intact; it was closed cleanly".to_owned(),
        Ending::Killed => "intact; not closed: the ingestor is running, or was killed".to_owned(),
        Ending::Torn { bytes } => {
            format!("intact up to a torn tail of {bytes} bytes, the mark of a crash; the next start drops it")
        }
    };
    let last_lsn = found.last.map_or(0, |(_, end)| end.last_lsn.0);
    let read = format!("{} segments, {} bytes of frames, LSN 1 to {last_lsn}", found.segments, found.bytes);
    Ok(print_lines([verdict, read])?)
}
