//! The command line: types for clap, and one file per subcommand.
//!
//! Invariant: arguments are parsed and validated before anything is done.

mod audit;
mod check;
mod compact;
mod completions;
mod explain;
mod file;
mod findings;
mod follow;
mod forget;
mod inspect;
mod lake;
mod lake_refused;
mod layout;
mod man;
mod outlook;
mod output;
mod patterns;
mod rebuild;
mod relocate;
mod repair;
mod replay;
mod run;
mod sidecars;
mod status;
mod store_options;
mod tree;
mod verify;
mod watch;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::Error;
use crate::daemon::signals;

/// Moves complete CSV files from a staging directory into a date-partitioned warehouse, exactly once.
///
/// Without a subcommand it runs: `csv-ingestor --input DIR …` is `csv-ingestor run --input DIR …`; `csv-ingestor run
/// --help` lists its options.
#[derive(Debug, Parser)]
#[command(name = "csv-ingestor", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 failed at run time, nothing lost; 2 usage or configuration; \
3 the journal, or a lake's log, cannot be used, nothing modified; \
4 another process holds the state or input directory, or follows for the same consumer; \
5 an audit, or a rebuild's check of the warehouse, had findings; \
6 `run --once` finished, but some file failed, or entries of a lake stay unfinished; \
7 the store of a lake does not answer, nothing lost, or lines that `follow` was to pass on are gone; \
130 ended by a signal before it finished.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the staging directory and ingest complete files (the default)
    Run(Box<run::RunArgs>),
    /// After a crash, without the daemon: finish every half-done file, and print a summary
    Replay(replay::ReplayArgs),
    /// Show counts, sizes, files in flight, and whether an ingestor runs; works while one runs
    Status(status::StatusArgs),
    /// Explain why a file (in staging, in the warehouse, in quarantine) is where it is
    Explain(explain::ExplainArgs),
    /// Allow a content to be ingested again; refused while a daemon holds the journal
    Forget(forget::ForgetArgs),
    /// Record that warehouse, manifests or staging were moved to other paths; refused while a daemon holds the journal
    Relocate(relocate::RelocateArgs),
    /// Pass each line of the manifests on once, in order, as soon as it is durable: to standard output, a command, or a
    /// webhook
    Follow(Box<follow::FollowArgs>),
    /// Compare warehouse, manifests and journal, and hash the files again; changes nothing, and works while a daemon
    /// runs
    Audit(audit::AuditArgs),
    /// Show, check or repair the journal
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Make, check, show and mend a lake: a warehouse in an object store, which many hosts fill together
    #[command(subcommand)]
    Lake(lake::LakeCommand),
    /// Check a configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a manual page, as roff: csv-ingestor man csv-ingestor-run | man -l -
    Man(man::ManArgs),
    /// Print the script with which bash, zsh or fish completes commands and options
    Completions(completions::CompletionsArgs),
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Print the records, one line per file; works while a daemon runs, and on a damaged journal up to the damage
    Inspect(inspect::InspectArgs),
    /// Write a snapshot now and remove what it replaces; refused while a daemon holds the journal
    Compact(compact::CompactArgs),
    /// Read every byte and report whether the journal is intact, ends in a torn tail (normal after a crash), or is
    /// corrupt
    Verify(verify::VerifyArgs),
    /// After corruption: keep a copy of everything, save every intact record, and report exactly which LSNs are lost
    Repair(repair::RepairArgs),
    /// After the loss of the state directory: make a journal that remembers what the manifests list
    Rebuild(rebuild::RebuildArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what is wrong with the file, line by line: unknown keys, wrong values, options that do not fit together.
    /// Looks only at the file; `run --dry-run --config FILE` also looks at the directories
    Check(check::CheckArgs),
}

/// Parses the process's arguments, and the configuration file that they or the environment name; on a usage error or
/// `--help`, prints and exits like clap (exit code 2 or 0).
///
/// # Errors
/// The file has problems, which are logged, or cannot be read.
pub fn parse() -> Result<Cli, Error> {
    let arguments = with_default_command(std::env::args_os().collect());
    Ok(Cli::parse_from(file::with_file(arguments, Cli::command())?))
}

/// Inserts `run` before arguments that name no subcommand, so that the short form works.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let global = ["-h", "--help", "-V", "--version"];
    let first = arguments.get(1).map(|argument| argument.to_string_lossy().into_owned());
    let is_run = match first.as_deref() {
        None => true,
        Some(argument) => argument.starts_with('-') && !global.contains(&argument),
    };
    if is_run {
        arguments.insert(arguments.len().min(1), "run".into());
    }
    arguments
}

impl Cli {
    /// Executes the command.
    pub fn execute(self) -> Result<(), Error> {
        signals::survive()?;
        match self.command {
            Command::Run(arguments) => run::execute(*arguments),
            Command::Replay(arguments) => replay::execute(arguments),
            Command::Status(arguments) => status::execute(&arguments),
            Command::Explain(arguments) => explain::execute(arguments),
            Command::Forget(arguments) => forget::execute(&arguments),
            Command::Relocate(arguments) => relocate::execute(arguments),
            Command::Follow(arguments) => follow::execute(*arguments),
            Command::Audit(arguments) => audit::execute(arguments),
            Command::Journal(JournalCommand::Rebuild(arguments)) => rebuild::execute(arguments),
            Command::Journal(JournalCommand::Compact(arguments)) => compact::execute(&arguments),
            Command::Journal(JournalCommand::Inspect(arguments)) => inspect::execute(&arguments),
            Command::Journal(JournalCommand::Verify(arguments)) => verify::execute(&arguments),
            Command::Journal(JournalCommand::Repair(arguments)) => repair::execute(&arguments),
            Command::Lake(command) => lake::execute(&command),
            Command::Config(ConfigCommand::Check(arguments)) => check::execute(&arguments, &Cli::command()),
            Command::Man(arguments) => man::execute(&arguments, Cli::command()),
            Command::Completions(arguments) => completions::execute(&arguments, Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default() {
        let with = |arguments: &[&str]| with_default_command(arguments.iter().map(OsString::from).collect());
        assert_eq!(with(&["x", "--input", "a"]), ["x", "run", "--input", "a"]);
        assert_eq!(with(&["x"]), ["x", "run"]);
        assert_eq!(with(&["x", "--help"]), ["x", "--help"]);
        assert_eq!(with(&["x", "journal", "inspect"]), ["x", "journal", "inspect"]);
    }
}
