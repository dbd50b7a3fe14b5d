//! `csv-ingestor forget`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::compact::note_opening;
use super::output::{self, path_text, print_lines};
use crate::Error;
use crate::fs::real::RealFs;
use crate::journal::index::Index;
use crate::journal::record::Record;
use crate::journal::report::{Entry, JournalReport};
use crate::journal::{self, Journal};
use crate::pipeline::manifest::json_path;
use crate::types::{Lsn, Sha256};

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
    /// What may be ingested again: a content's SHA-256, or a path in the warehouse or in staging that stands for one
    #[arg(value_name = "SHA256|PATH", required = true)]
    contents: Vec<PathBuf>,
}

/// What was asked for.
enum Wanted {
    Content(Sha256),
    Path(PathBuf),
}

/// Writes FORGOTTEN records, if all that was asked for is known.
pub(super) fn execute(arguments: &ForgetArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    if !journal::exists(&fs, &state_path)? {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    let wanted: Vec<Wanted> = arguments.contents.iter().map(|text| wanted(text)).collect::<Result<_, Error>>()?;
    // Under the lock, so that nothing is ingested between the look and the records; nothing is modified if it is refused.
    let mut state = Index::default();
    let (mut journal, _) = Journal::open(&fs, &state_path, &mut state)?;
    let chosen = choose(&fs, &state_path, &state, &wanted);
    if let Ok(chosen) = &chosen {
        let records: Vec<Record> = chosen.keys().map(|sha256| Record::Forgotten(*sha256)).collect();
        note_opening(&mut journal, &mut state)?;
        journal.append_all(&mut state, &records)?;
    }
    journal.shut_down()?;
    let lines = chosen?.into_values().map(|entry| if arguments.json { json_line(&entry) } else { text_line(&entry) });
    Ok(print_lines(lines)?)
}

fn wanted(text: &Path) -> Result<Wanted, Error> {
    match Sha256::from_hex(text.as_os_str().as_encoded_bytes()) {
        Some(sha256) => Ok(Wanted::Content(sha256)),
        None => Ok(Wanted::Path(std::path::absolute(text)?)),
    }
}

/// The contents that are to be forgotten, each with the file that brought it.
fn choose(fs: &RealFs, state_path: &Path, state: &Index, wanted: &[Wanted]) -> Result<BTreeMap<Sha256, Entry>, Error> {
    let mut report = JournalReport::default();
    journal::read(fs, state_path, &mut report)?;
    let mut matching: Vec<Vec<Sha256>> = vec![Vec::new(); wanted.len()];
    let mut note = |entry: Entry| {
        for (wanted, matching) in wanted.iter().zip(&mut matching) {
            let is_meant = match wanted {
                Wanted::Content(sha256) => entry.sha256 == Some(*sha256),
                Wanted::Path(path) => {
                    // Lines of a manifest name the paths of their time.
                    let now = state.relocations().now(Lsn(0), path);
                    let is_there =
                        |path: &PathBuf| entry.source_path == *path || entry.warehouse_path.as_ref() == Some(path);
                    is_there(path) || is_there(&now)
                }
            };
            matching.extend(entry.sha256.filter(|sha256| is_meant && !matching.contains(sha256)));
        }
    };
    if let Some(damage) = report.files(&mut |entry, _| note(entry))? {
        return Err(damage.into());
    }
    let mut chosen = BTreeMap::new();
    for (wanted, matching) in wanted.iter().zip(matching) {
        let what = match wanted {
            Wanted::Content(sha256) => sha256.to_string(),
            Wanted::Path(path) => path_text(path),
        };
        let mut known = Vec::new();
        for sha256 in matching {
            known.extend(state.original(&sha256)?.map(|original| (sha256, original)));
        }
        let (sha256, original) = match &known[..] {
            [one] => one,
            [] => return Err(Error::Usage(format!("{what}: no content is remembered for that"))),
            several => {
                let all: Vec<String> = several.iter().map(|(sha256, _)| sha256.to_string()).collect();
                let text = format!("{what} stood for several contents, name one of them: {}", all.join(" "));
                return Err(Error::Usage(text));
            }
        };
        let uses = |ingest: &&crate::journal::ingest::Ingest| {
            ingest.id == original.ingest_id
                || ingest.duplicate.as_ref().is_some_and(|duplicate| duplicate.sha256 == *sha256)
        };
        if let Some(open) = state.open().find(uses) {
            let (id, path) = (open.id, state_path.display());
            let text =
                format!("{what}: ingest id {id} is half done; first run: csv-ingestor replay --state-path {path}");
            return Err(Error::Usage(text));
        }
        chosen.insert(*sha256, (original.ingest_id, None));
    }
    let mut take = |entry: Entry| {
        if let Some((id, found)) = entry.sha256.and_then(|sha256| chosen.get_mut(&sha256))
            && entry.id == *id
        {
            *found = Some(entry);
        }
    };
    report.files(&mut |entry, _| take(entry))?;
    Ok(chosen.into_iter().filter_map(|(sha256, (_, entry))| Some((sha256, entry?))).collect())
}

fn text_line(entry: &Entry) -> String {
    let sha256 = entry.sha256.map(|sha256| sha256.hex()).unwrap_or_default();
    let place = entry.warehouse_path.as_deref().map(path_text).unwrap_or_default();
    let (at, source) = (entry.created_at.rfc3339(), path_text(&entry.source_path));
    format!("forgotten: {sha256} (ingested {at} from {source}); its file stays: {place}")
}

fn json_line(entry: &Entry) -> String {
    let line = json!({
        "sha256": entry.sha256.map(|sha256| sha256.hex()),
        "ingest_id": entry.id,
        "ingested_at": entry.created_at.rfc3339(),
        "source_path": json_path(&entry.source_path).0,
        "warehouse_path": entry.warehouse_path.as_deref().map(|path| json_path(path).0),
    });
    let mut paths = vec![("source_path", entry.source_path.as_path())];
    paths.extend(entry.warehouse_path.as_deref().map(|path| ("warehouse_path", path)));
    output::json_line(line, &paths)
}
