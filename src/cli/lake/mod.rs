//! `csv-ingestor lake`: what an operator does with a lake.

mod audit;
mod check;
mod clean;
mod forget;
mod init;
mod place;
mod roll_forward;
mod skip;
mod status;

use clap::Subcommand;

use crate::Error;

#[derive(Debug, Subcommand)]
pub(super) enum LakeCommand {
    /// Make a lake, unless there is one: probe its stores, and write its description
    Init(init::InitArgs),
    /// Probe whether a store keeps what a lake rests on. Exit code 2 if it does not
    Check(check::CheckArgs),
    /// Show shards, hosts, newest and unfinished entries, and damage; works while hosts run
    Status(status::StatusArgs),
    /// Finish now what hosts have begun, as any host does after a while; works while hosts run
    RollForward(roll_forward::RollForwardArgs),
    /// Compare every entry of the log with the objects that are there; changes nothing, and works while hosts run
    Audit(audit::AuditArgs),
    /// Remove packs that no entry can need, and checkpoints that newer ones replace; works while hosts run
    Clean(clean::CleanArgs),
    /// Allow contents to be ingested again, by any host; works while hosts run
    Forget(forget::ForgetArgs),
    /// Let all hosts pass an entry that none of them can read; refused for a good one
    Skip(skip::SkipArgs),
}

/// Executes the command.
pub(super) fn execute(command: &LakeCommand) -> Result<(), Error> {
    match command {
        LakeCommand::Init(arguments) => init::execute(arguments),
        LakeCommand::Check(arguments) => check::execute(arguments),
        LakeCommand::Status(arguments) => status::execute(arguments),
        LakeCommand::RollForward(arguments) => roll_forward::execute(arguments),
        LakeCommand::Audit(arguments) => audit::execute(arguments),
        LakeCommand::Clean(arguments) => clean::execute(arguments),
        LakeCommand::Forget(arguments) => forget::execute(arguments),
        LakeCommand::Skip(arguments) => skip::execute(arguments),
    }
}
