//! The command line: types for clap, and a file per subcommand.
//!
//! Invariant: arguments are parsed and validated before anything is done.

mod audit;
mod compact;
mod completions;
mod explain;
mod findings;
mod forget;
mod inspect;
mod man;
mod output;
mod rebuild;
mod relocate;
mod repair;
mod replay;
mod run;
mod status;
mod verify;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::Error;

/// Moves complete CSV files from a staging directory into a date-partitioned warehouse, exactly once.
///
/// With no subcommand it runs: `csv-ingestor --input DIR …` is `csv-ingestor run --input DIR …`; its options are
/// listed by `csv-ingestor run --help`.
#[derive(Debug, Parser)]
#[command(name = "csv-ingestor", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 failed at run time, nothing lost; 2 usage or configuration; \
3 the journal is corrupt, nothing modified; 4 another process holds the state or input directory; \
5 an audit, or the look that a rebuild takes at the warehouse, found something; 130 ended by a signal before it was through.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the staging directory and ingest what is complete (the default)
    Run(Box<run::RunArgs>),
    /// After a crash, without the daemon: finish every half-done file, and print a summary
    Replay(replay::ReplayArgs),
    /// Counts, sizes, what is under way, and whether an ingestor runs; beside a running one too
    Status(status::StatusArgs),
    /// Why is this file (in staging, in the warehouse, in quarantine) where it is?
    Explain(explain::ExplainArgs),
    /// Let a content be ingested again; refuses while a daemon holds the journal
    Forget(forget::ForgetArgs),
    /// After warehouse, manifests or staging were moved to other paths: tell the journal; refuses while a daemon holds it
    Relocate(relocate::RelocateArgs),
    /// Hold warehouse, manifests and journal against each other, and re-hash the files; changes nothing, and works beside a
    /// running daemon
    Audit(audit::AuditArgs),
    /// Look into the journal
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Print a manual page, as roff: csv-ingestor man csv-ingestor-run | man -l -
    Man(man::ManArgs),
    /// Print what bash, zsh or fish needs to complete commands and options
    Completions(completions::CompletionsArgs),
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Print the records, a line per file; works beside a running daemon, and on a damaged journal up to the damage
    Inspect(inspect::InspectArgs),
    /// Write a snapshot now and drop what it replaces; refuses while a daemon holds the journal
    Compact(compact::CompactArgs),
    /// Read every byte and say whether the journal is intact, ends in a torn tail (normal after a crash), or is corrupt
    Verify(verify::VerifyArgs),
    /// After corruption: keep a copy of everything, save every intact record, and say exactly which LSNs are lost
    Repair(repair::RepairArgs),
    /// After the state directory was lost: make a journal that remembers what the manifests list
    Rebuild(rebuild::RebuildArgs),
}

/// Parses the process's arguments; on a usage error or `--help`, prints and exits as clap does (exit code 2 or 0).
pub fn parse() -> Cli {
    Cli::parse_from(with_default_command(std::env::args_os().collect()))
}

/// Puts `run` in front of arguments that name no subcommand, so that the plain form works.
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
    /// Does what was asked for.
    pub fn execute(self) -> Result<(), Error> {
        match self.command {
            Command::Run(arguments) => run::execute(*arguments),
            Command::Replay(arguments) => replay::execute(arguments),
            Command::Status(arguments) => status::execute(&arguments),
            Command::Explain(arguments) => explain::execute(arguments),
            Command::Forget(arguments) => forget::execute(&arguments),
            Command::Relocate(arguments) => relocate::execute(arguments),
            Command::Audit(arguments) => audit::execute(arguments),
            Command::Journal(JournalCommand::Rebuild(arguments)) => rebuild::execute(arguments),
            Command::Journal(JournalCommand::Compact(arguments)) => compact::execute(&arguments),
            Command::Journal(JournalCommand::Inspect(arguments)) => inspect::execute(&arguments),
            Command::Journal(JournalCommand::Verify(arguments)) => verify::execute(&arguments),
            Command::Journal(JournalCommand::Repair(arguments)) => repair::execute(&arguments),
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
