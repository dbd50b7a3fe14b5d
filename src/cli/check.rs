//! `csv-ingestor config check`.

use std::path::PathBuf;

use clap::{Args, Command};

use super::output::print_lines;
use super::{file, run};
use crate::Error;
use crate::log::path_text;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The file, in TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints what is wrong with a file. Looks at nothing else: neither at the environment, nor at the directories that it
/// names.
pub(super) fn execute(arguments: &CheckArgs, program: &Command) -> Result<(), Error> {
    let path = &arguments.file;
    let options = file::options(program);
    let mut read = file::read(path, &options).map_err(|error| Error::Usage(format!("{}: {error}", path_text(path))))?;
    file::check_together(&mut read, &options, run::conflicts);
    let problems = file::report(path, &read);
    if problems.is_empty() {
        return Ok(print_lines([format!("{}: no problems", path_text(path))])?);
    }
    print_lines(problems)?;
    Err(Error::Usage(format!("{} has problems, as listed", path_text(path))))
}
