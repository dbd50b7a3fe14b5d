//! `csv-ingestor completions`: what a shell needs to complete our commands and options, made of their definitions.

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};

use super::output::print;
use crate::Error;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: ShellName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Fish,
    Zsh,
}

/// Prints the shell's script.
pub(super) fn execute(arguments: &CompletionsArgs, program: Command) -> Result<(), Error> {
    let shell = match arguments.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Fish => Shell::Fish,
        ShellName::Zsh => Shell::Zsh,
    };
    // `run` may be left out, so its options complete without it, too. None is required here: that is for parsing.
    let run = program.find_subcommand("run").cloned().unwrap_or_default();
    let options = run.get_arguments().filter(|argument| argument.get_long().is_some_and(|name| name != "help"));
    let options: Vec<_> = options.cloned().map(|option| option.required(false)).collect();
    let mut program = program.args(options);
    let mut script = Vec::new();
    if shell == Shell::Bash {
        // clap_complete gives the functions of a program whose name has a hyphen two different names. So it is told
        // another name, and only the last word, what is completed, is ours.
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
