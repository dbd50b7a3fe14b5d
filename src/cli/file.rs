//! The configuration file: each of its keys is an option of `run`, and its values go through the same parsers.
//!
//! Invariant: what the file says becomes arguments of a command line that lacks them, so that an option has one meaning
//! whichever way it is given.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStr, Resettable};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use super::output::plain;
use crate::Error;
use crate::config::file::{Entry, File, Kind, Position, Value};
use crate::fs::operators::Unread;
use crate::limits::CONFIG_PROBLEMS_MAX;
use crate::log::{self, path_text};

/// The option that names the file.
#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// Take options from this file, in TOML, where neither the command line nor the environment gives them:
    /// `stability-seconds = 30`, `include = ["*.csv"]`. `csv-ingestor config check` finds mistakes in it
    #[arg(long, value_name = "FILE", env = "CSV_INGESTOR_CONFIG")]
    config: Option<PathBuf>,
}

/// Options that a file cannot give, and why. A file says what a source is; these belong to one start.
const NOT_IN_A_FILE: [(&str, &str); 7] = [
    ("config", "a file cannot refer to another one"),
    ("dry-run", ONE_START),
    ("help", ONE_START),
    ("new-identity", ONE_RISK),
    ("new-journal", ONE_RISK),
    ("new-warehouse", ONE_RISK),
    ("once", ONE_START),
];
const ONE_START: &str = "it belongs to one start, so give it on the command line";
const ONE_RISK: &str = "it accepts a risk once, and a file would accept it at each start; give it on the command line";

/// The options of `run` that a file can give. They ignore the environment.
pub(super) fn options(program: &Command) -> Vec<Arg> {
    let all = program.find_subcommand("run").map(Command::get_arguments).into_iter().flatten();
    let is_elsewhere = |name: &str| NOT_IN_A_FILE.iter().any(|(elsewhere, _)| *elsewhere == name);
    let options = all.filter(|option| option.get_long().is_some_and(|name| !is_elsewhere(name)));
    options.map(|option| option.clone().env(Resettable::<OsStr>::Reset).required(false)).collect()
}

/// A command that has only these options.
fn command(options: &[Arg]) -> Command {
    Command::new(env!("CARGO_PKG_NAME")).disable_help_flag(true).no_binary_name(true).args(options)
}

/// Adds what the file says to the arguments that name it, where neither they nor the environment say it.
pub(super) fn with_file(mut arguments: Vec<OsString>, program: Command) -> Result<Vec<OsString>, Error> {
    let options = options(&program);
    let mut lenient = program.mut_subcommands(|command| command.mut_args(|argument| argument.required(false)));
    // What is wrong with the arguments themselves is reported by the real parser.
    let Ok(matches) = lenient.try_get_matches_from_mut(&arguments) else { return Ok(arguments) };
    let Some((name, given)) = matches.subcommand() else { return Ok(arguments) };
    let Ok(Some(path)) = given.try_get_one::<PathBuf>("config") else { return Ok(arguments) };
    let read = read(path, &options);
    let file = read.map_err(|error| Error::Usage(format!("--config {}: {error}", path_text(path))))?;
    let problems = report(path, &file);
    if !problems.is_empty() {
        problems.iter().for_each(|problem| log::failure(problem));
        return Err(Error::Usage(format!("--config {} has problems, as listed", path_text(path))));
    }
    let takes = lenient.find_subcommand(name).map(Command::get_arguments).into_iter().flatten();
    let takes: Vec<&Arg> = takes.filter(|option| !is_given(given, option)).collect();
    let missing = file.entries.iter().filter(|entry| takes.iter().any(|option| option.get_long() == Some(&entry.key)));
    let words = missing.flat_map(words).map(|(_, word)| OsString::from(word));
    // Behind the subcommand.
    let at = arguments.len().min(2);
    arguments.splice(at..at, words.collect::<Vec<_>>());
    Ok(arguments)
}

fn is_given(matches: &ArgMatches, option: &Arg) -> bool {
    let source = matches.value_source(option.get_id().as_str());
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// Reads a file and checks each key and each value.
pub(super) fn read(path: &Path, options: &[Arg]) -> Result<File, Unread> {
    let mut file = File::read(path)?;
    check(&mut file, options);
    Ok(file)
}

fn check(file: &mut File, options: &[Arg]) {
    let mut found = Vec::new();
    for entry in &file.entries {
        if found.len() >= CONFIG_PROBLEMS_MAX {
            break;
        }
        match options.iter().find(|option| option.get_long() == Some(&entry.key)) {
            Some(option) => check_entry(option, entry, &mut found),
            None => found.push((entry.at, unknown(options, entry))),
        }
    }
    found.into_iter().for_each(|(at, text)| file.refuse(at, text));
}

/// Checks the options of a file against each other, if each by itself is right. What is missing may be given elsewhere,
/// unless another option in the file needs it.
pub(super) fn check_together(file: &mut File, options: &[Arg], conflicts: fn(&ArgMatches) -> Vec<&'static str>) {
    if file.problems().next().is_some() {
        return;
    }
    let words = file.entries.iter().flat_map(words).map(|(_, word)| word);
    let Ok(matches) = command(options).try_get_matches_from(words) else { return };
    for text in conflicts(&matches) {
        // The message names the options.
        let named = text.split([' ', ':']).filter_map(|word| word.strip_prefix("--"));
        let at = named.filter_map(|name| file.entries.iter().find(|entry| entry.key == name)).map(|entry| entry.at);
        file.refuse(at.min().unwrap_or_default(), text.to_owned());
    }
}

/// The problems as lines: `FILE:LINE:COLUMN: message`.
pub(super) fn report(path: &Path, file: &File) -> Vec<String> {
    let name = path_text(path);
    let line = |(at, text): (Position, &str)| format!("{name}:{}:{}: {}", at.line, at.column, plain(text));
    file.problems().map(line).collect()
}

/// The arguments that mean the same, each with the place of its value.
fn words(entry: &Entry) -> Vec<(usize, String)> {
    let word = |value: &Value| match &value.kind {
        Kind::Text(text) | Kind::Number(text) => Some((value.at, format!("--{}={text}", entry.key))),
        Kind::Flag(true) => Some((value.at, format!("--{}", entry.key))),
        Kind::Flag(false) | Kind::List(_) | Kind::Time | Kind::Table(_) => None,
    };
    match &entry.value.kind {
        Kind::List(values) => values.iter().filter_map(word).collect(),
        _ => word(&entry.value).into_iter().collect(),
    }
}

fn check_entry(option: &Arg, entry: &Entry, found: &mut Vec<(usize, String)>) {
    let before = found.len();
    match (&entry.value.kind, option.get_action()) {
        (Kind::List(values), ArgAction::Append) => {
            let wrong = values.iter().filter_map(|value| Some((value.at, wrong_type(option, value)?)));
            found.extend(wrong.map(|(at, text)| (at, format!("`{}` {text}", entry.key))));
        }
        _ => {
            let wrong = wrong_type(option, &entry.value);
            found.extend(wrong.map(|text| (entry.value.at, format!("`{}` {text}", entry.key))));
        }
    }
    if found.len() > before {
        return;
    }
    let mut command = command(std::slice::from_ref(option));
    for (at, word) in words(entry) {
        if word.contains('\0') {
            found.push((at, format!("`{}` cannot hold a NUL character", entry.key)));
        } else if let Err(error) = command.try_get_matches_from_mut([word]) {
            found.push((at, message(&error)));
        }
    }
}

/// What is wrong with the type of a value.
fn wrong_type(option: &Arg, value: &Value) -> Option<String> {
    let parser = option.get_value_parser().type_id();
    let texts = [TypeId::of::<String>(), TypeId::of::<OsString>(), TypeId::of::<PathBuf>()];
    let is_text = texts.iter().any(|text| parser == *text);
    let is_flag = matches!(option.get_action(), ArgAction::SetTrue);
    match &value.kind {
        Kind::Flag(_) if is_flag => None,
        _ if is_flag => Some("must be true or false".to_owned()),
        Kind::Text(_) => None,
        Kind::Number(_) if !is_text => None,
        Kind::Number(_) | Kind::Time => Some("must be a string: put it in quotes".to_owned()),
        Kind::Flag(_) => Some("takes a value, not true or false".to_owned()),
        Kind::List(_) => Some("takes one value here, not a list".to_owned()),
        Kind::Table(_) => Some("is an option, not a table: write a key and its value".to_owned()),
    }
}

/// Why a key is refused.
fn unknown(options: &[Arg], entry: &Entry) -> String {
    let key = &entry.key;
    if let Some((_, why)) = NOT_IN_A_FILE.iter().find(|(name, _)| name == key) {
        return format!("`{key}` cannot be in a file: {why}");
    }
    if let Kind::Table(inner) = &entry.value.kind {
        let joined = inner.iter().map(|inner| format!("{key}-{inner}")).chain(inner.iter().cloned());
        let mut right = joined.filter(|name| options.iter().any(|option| option.get_long() == Some(name)));
        let right = right.next().map_or(String::new(), |name| format!("; write {name} = … at the top of the file"));
        return format!("`{key}` is a table, and there are none{right}");
    }
    match nearest(options, key) {
        Some(name) => format!("unknown key `{key}`: did you mean `{name}`?"),
        None => format!("unknown key `{key}`: the keys are the options of `csv-ingestor run`, without `--`"),
    }
}

/// The option that a key probably means.
fn nearest(options: &[Arg], key: &str) -> Option<String> {
    let name = key.to_lowercase().replace('_', "-");
    let name = name.trim_start_matches('-').trim_start_matches("csv-ingestor-").to_owned();
    if options.iter().any(|option| option.get_long() == Some(&name)) {
        return Some(name);
    }
    if name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        return None;
    }
    let error = command(options).try_get_matches_from([format!("--{name}")]).err()?;
    match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(option)) => Some(option.trim_start_matches('-').to_owned()),
        _ => None,
    }
}

/// An error of the parser on one line, without what only helps on a command line.
fn message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
