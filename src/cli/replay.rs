//! `csv-ingestor replay`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::file::FileArgs;
use super::output::{json_line, print_lines};
use super::store_options::StoreOptionArgs;
use crate::engine::places::{self, Beginning};
use crate::fs::real::RealFs;
use crate::journal::index::Index;
use crate::journal::lifecycle::FileState;
use crate::journal::replay::Ending;
use crate::log::path_text;
use crate::log::{self, LogFormat, LogLevel};
use crate::pipeline::manifest::json_path;
use crate::pipeline::places::Accepts;
use crate::pipeline::recover;
use crate::{Error, daemon};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    _file: FileArgs,
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Replay although the manifests list files that this journal does not know; see `run`
    #[arg(long)]
    new_journal: bool,
    /// Replay although warehouse or manifests lack the marks of this journal; see `run`
    #[arg(long)]
    new_warehouse: bool,
    #[command(flatten)]
    store: StoreOptionArgs,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Finishes what a crash left half done.
pub(super) fn execute(arguments: ReplayArgs) -> Result<(), Error> {
    log::start(LogLevel::Warn, LogFormat::Text);
    let state_path = std::path::absolute(&arguments.state_path)?;
    let accepts = Accepts { journal: arguments.new_journal, warehouse: arguments.new_warehouse, identity: true };
    // No journal is created here: a mistyped path must not look like a journal with nothing to do.
    let mut index = Index::default();
    let Some(replayed) = crate::journal::read(&RealFs::default(), &state_path, &mut index)? else {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    };
    if arguments.dry_run {
        if let Some(settings) = index.settings() {
            let begins = Beginning::new(&state_path, &index, &replayed);
            places::check(&RealFs::default(), &begins, settings, accepts)?;
        }
        return forecast(&index, arguments.json);
    }
    let concurrency = std::thread::available_parallelism().map_or(1, usize::from);
    let replay = daemon::replay(state_path, arguments.store.options(), accepts, concurrency)?;
    let torn_bytes = if let Ending::Torn { bytes } = replay.ending { bytes } else { 0 };
    if arguments.json {
        let summary = json!({
            "completed": replay.completed,
            "abandoned": replay.abandoned,
            "cleared": replay.cleared,
            "resumed": replay.resumed,
            "torn_bytes": torn_bytes,
            "states": counts(&replay.index),
        });
        return Ok(print_lines([json_line(summary, &[])])?);
    }
    let mut lines = vec![
        format!("completed: {}", replay.completed),
        format!("abandoned: {} (ingested again if they still exist)", replay.abandoned),
        format!("duplicates removed or moved, files moved to quarantine: {}", replay.cleared),
        format!("torn bytes dropped from the journal: {torn_bytes}"),
    ];
    lines.extend(FileState::ALL.iter().map(|state| format!("{}: {}", state.text(), replay.index.count(*state))));
    Ok(print_lines(lines)?)
}

fn counts(index: &Index) -> serde_json::Value {
    FileState::ALL
        .iter()
        .map(|each| (each.text().to_owned(), index.count(*each).into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn forecast(index: &Index, as_json: bool) -> Result<(), Error> {
    let fs = RealFs::default();
    let mut lines = Vec::new();
    for ingest in index.open() {
        let action = recover::foresee(&fs, ingest)?;
        let (state, id) = (ingest.state.text(), ingest.id);
        lines.push(if as_json {
            let (path, _) = json_path(&ingest.source_path);
            let line = json!({ "ingest_id": id, "state": state, "path": path, "action": action });
            json_line(line, &[("path", &ingest.source_path)])
        } else {
            format!("{} ({state}, ingest id {id}): would {action}", path_text(&ingest.source_path))
        });
    }
    if lines.is_empty() && !as_json {
        lines.push("nothing to do: no file is half done".to_owned());
    }
    Ok(print_lines(lines)?)
}
