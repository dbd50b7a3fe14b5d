//! `csv-ingestor forget`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::compact::note_opening;
use super::lake_refused::must_be_in_dirs;
use super::output::{self, print_lines};
use crate::Error;
use crate::forget::{self, Wanted};
use crate::fs::real::RealFs;
use crate::journal::index::Index;
use crate::journal::record::Record;
use crate::journal::report::FileReport;
use crate::journal::{self, Journal};
use crate::log::path_text;
use crate::pipeline::manifest::json_path;

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
    /// Contents that may be ingested again: each a SHA-256, or the path of a file in the warehouse or in staging
    #[arg(value_name = "SHA256|PATH", required = true)]
    contents: Vec<PathBuf>,
}

/// Writes FORGOTTEN records, if all given contents are known.
pub(super) fn execute(arguments: &ForgetArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    if !journal::exists(&fs, &state_path)? {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    let wanted: Vec<Wanted> = arguments.contents.iter().map(|text| Wanted::of(text)).collect::<Result<_, Error>>()?;
    // Under the lock, so that nothing is ingested between the check and the records; if it is refused, nothing is
    // modified.
    let mut index = Index::default();
    let (mut journal, _) = Journal::open(&fs, &state_path, &mut index)?;
    if let Err(refused) = must_be_in_dirs(&index, "csv-ingestor lake forget URL forgets for all of its hosts") {
        journal.shut_down()?;
        return Err(refused);
    }
    let chosen = forget::choose(&fs, &state_path, &index, &wanted);
    if let Ok(chosen) = &chosen {
        let records: Vec<Record> = chosen.keys().map(|key| Record::Forgotten(*key)).collect();
        note_opening(&mut journal, &mut index)?;
        journal.append_all(&mut index, &records)?;
    }
    journal.shut_down()?;
    let lines = chosen?.into_values().map(|entry| if arguments.json { json_line(&entry) } else { text_line(&entry) });
    Ok(print_lines(lines)?)
}

fn text_line(entry: &FileReport) -> String {
    let sha256 = entry.sha256().map(|sha256| sha256.hex()).unwrap_or_default();
    let place = entry.warehouse_path.as_deref().map(path_text).unwrap_or_default();
    let (at, source) = (entry.created_at.rfc3339(), path_text(&entry.source_path));
    format!("forgotten: {sha256} (ingested {at} from {source}); its file stays: {place}")
}

fn json_line(entry: &FileReport) -> String {
    let line = json!({
        "sha256": entry.sha256().map(|sha256| sha256.hex()),
        "ingest_id": entry.id,
        "ingested_at": entry.created_at.rfc3339(),
        "source_path": json_path(&entry.source_path).0,
        "warehouse_path": entry.warehouse_path.as_deref().map(|path| json_path(path).0),
    });
    let mut paths = vec![("source_path", entry.source_path.as_path())];
    paths.extend(entry.warehouse_path.as_deref().map(|path| ("warehouse_path", path)));
    output::json_line(line, &paths)
}
