//! `csv-ingestor explain`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::{Value, json};

use super::file::FileArgs;
use super::output::{self, plain, print_lines};
use super::patterns::{exclude, include};
use super::run::{BoundArgs, ModeName};
use super::sidecars::SidecarArgs;
use super::tree::TreeArgs;
use crate::Error;
use crate::control;
use crate::engine::places::arrange;
use crate::explain::{Answer, Context, explain, is_url};
use crate::fs::real::RealFs;
use crate::journal;
use crate::journal::report::JournalReport;
use crate::log::path_text;
use crate::pipeline::layout::Layout;
use crate::pipeline::scan::NameRules;

/// How long to watch whether a file grows.
const WATCH: Duration = Duration::from_secs(1);

/// Which files the ingestor takes depends on the options that it was started with. A running ingestor is asked for
/// them. If none runs, give the same options here, or in the environment.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    _file: FileArgs,
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
    /// As given to the ingestor
    #[arg(long, value_enum, default_value = "stability", env = "CSV_INGESTOR_MODE")]
    mode: ModeName,
    #[command(flatten)]
    sidecars: SidecarArgs,
    /// As given to the ingestor
    #[arg(long, env = "CSV_INGESTOR_REQUIRE_CHECKSUM", value_parser = BoolishValueParser::new())]
    require_checksum: bool,
    #[command(flatten)]
    bounds: BoundArgs,
    /// As given to the ingestor
    #[arg(long, value_name = "GLOB", env = "CSV_INGESTOR_INCLUDE")]
    include: Vec<String>,
    /// As given to the ingestor
    #[arg(long, value_name = "GLOB", env = "CSV_INGESTOR_EXCLUDE")]
    exclude: Vec<String>,
    #[command(flatten)]
    tree: TreeArgs,
    /// Files in staging, in the warehouse, or in quarantine; URLs of data objects in a lake
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// Reports why each file is where it is. Only reads, also while an ingestor runs; that one is asked what it knows.
pub(super) fn execute(arguments: ExplainArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    let mut report = JournalReport::default();
    if journal::read(&fs, &state_path, &mut report)?.is_none() {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    if let Some(conflict) = arguments.sidecars.conflict() {
        return Err(Error::Usage(conflict.to_owned()));
    }
    let given = NameRules {
        include: include(&arguments.include)?,
        exclude: exclude(&arguments.exclude)?,
        sidecars: matches!(arguments.mode, ModeName::Sidecar).then(|| arguments.sidecars.names()),
        groups: matches!(arguments.mode, ModeName::Group),
        tree: arguments.tree.rules(),
    };
    // A running ingestor knows its own options.
    let told = control::rules(&state_path).and_then(|told| Some((told.names()?, told.require_checksum, told.bounds())));
    let are_rules_known = told.is_some();
    let (rules, require_checksum, bounds) =
        told.unwrap_or((given, arguments.require_checksum, arguments.bounds.bounds()));
    // The journal has the layout of the last start.
    let layout = Layout::new(report.index.layout().clone())?;
    let layout = match report.index.settings() {
        Some(settings) => arrange(&fs, layout, settings),
        None => layout,
    };
    let ask = |name: &OsStr| control::ask(&state_path, name);
    let context = Context {
        fs: &fs,
        report: &report,
        rules,
        are_rules_known,
        require_checksum,
        layout,
        bounds,
        watch: WATCH,
        ask: &ask,
    };
    let paths = arguments.paths.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    let answers = explain(&context, &paths)?;
    let lines = answers.iter().map(|answer| if arguments.json { json_line(answer) } else { text(answer) });
    Ok(print_lines(lines)?)
}

/// The URL of an object in a lake stays as it is.
fn absolute(path: &PathBuf) -> std::io::Result<PathBuf> {
    if is_url(path) { Ok(path.clone()) } else { std::path::absolute(path) }
}

fn json_line(answer: &Answer) -> String {
    let mut line =
        json!({ "asked": answer.path.to_string_lossy(), "status": answer.status, "summary": answer.summary });
    if let Some(line) = line.as_object_mut() {
        line.extend(answer.facts.clone());
    }
    output::json_line(line, &[("asked", &answer.path)])
}

fn text(answer: &Answer) -> String {
    let mut text = format!("{}: {}: {}", path_text(&answer.path), answer.status, plain(&answer.summary));
    for (key, value) in &answer.facts {
        let several = value.as_array().map_or_else(|| vec![value.clone()], Clone::clone);
        for value in several {
            text.push_str(&format!("\n  {}: {}", key.replace('_', " "), value_text(&value)));
        }
    }
    text
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            let told: Vec<String> = known.map(|(key, value)| format!("{key}={}", value_text(value))).collect();
            told.join(" ")
        }
        other => other.to_string(),
    }
}
