//! `csv-ingestor completions`: the scripts with which shells complete commands and options, made from their
//! definitions.

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};

use super::output::print;
use crate::Error;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: ShellName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Fish,
    Zsh,
}

/// Prints the script for the shell.
pub(super) fn execute(arguments: &CompletionsArgs, program: Command) -> Result<(), Error> {
    let shell = match arguments.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Fish => Shell::Fish,
        ShellName::Zsh => Shell::Zsh,
    };
    // `run` may be left out, so its options also complete without it. None is required here: that matters only for
    // parsing.
    let run = program.find_subcommand("run").cloned().unwrap_or_default();
    let options = run.get_arguments().filter(|argument| argument.get_long().is_some_and(|name| name != "help"));
    let options: Vec<_> = options.cloned().map(|option| option.required(false)).collect();
    let mut program = program.args(options);
    let mut script = Vec::new();
    if shell == Shell::Bash {
        // For a program with a hyphen in its name, clap_complete uses two different function names. So the script is
        // made for another name, and only its last word, the name of the completed command, is replaced by the real
        // one.
        generate(shell, &mut program, PROGRAM_IN_BASH, &mut script);
        let script =
            String::from_utf8_lossy(&script).replace(&format!(" {PROGRAM_IN_BASH}\n"), &format!(" {PROGRAM}\n"));
        return Ok(print(script.as_bytes())?);
    }
    generate(shell, &mut program, PROGRAM, &mut script);
    Ok(print(&script)?)
}

const PROGRAM: &str = env!("CARGO_PKG_NAME");
const PROGRAM_IN_BASH: &str = env!("CARGO_CRATE_NAME");
