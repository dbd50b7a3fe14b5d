//! `csv-ingestor relocate`.

use std::path::PathBuf;

use clap::Args;

use super::lake_refused::must_be_in_dirs;
use super::output::print_lines;
use crate::engine;
use crate::fs::real::RealFs;
use crate::log::path_text;
use crate::log::{self, LogFormat, LogLevel};
use crate::relocate::{self, Roots};
use crate::{Error, journal};

#[derive(Debug, Args)]
pub(super) struct RelocateArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Where the warehouse is now
    #[arg(long, value_name = "NEW")]
    warehouse: PathBuf,
    /// Where the manifests are now [default: where they were]
    #[arg(long, value_name = "NEW")]
    manifests: Option<PathBuf>,
    /// Where staging is now [default: where it was]
    #[arg(long, value_name = "NEW")]
    input: Option<PathBuf>,
}

/// Writes RELOCATED records.
pub(super) fn execute(arguments: RelocateArgs) -> Result<(), Error> {
    log::start(LogLevel::Warn, LogFormat::Text);
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    if !journal::exists(&fs, &state_path)? {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    must_be_in_dirs(&engine::read_state(&fs, &state_path)?, "it stays where it is; --input may change at any start")?;
    let absolute = |path: Option<PathBuf>| path.map(std::path::absolute).transpose();
    let roots = Roots {
        warehouse: absolute(Some(arguments.warehouse))?,
        manifests: absolute(arguments.manifests)?,
        input: absolute(arguments.input)?,
    };
    let moves = relocate::run(&fs, &state_path, &roots)?;
    if moves.is_empty() {
        return Ok(print_lines(["nothing to do: the journal knows these paths already".to_owned()])?);
    }
    let tell =
        |it: &journal::record::Relocated| format!("relocated: {} is {} now", path_text(&it.old), path_text(&it.new));
    Ok(print_lines(moves.iter().map(tell))?)
}
