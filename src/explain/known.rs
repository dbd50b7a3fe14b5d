//! What the journal, the manifests and the reason file in quarantine say about a file.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Context};
use super::look::read;
use crate::Error;
use crate::fs::Fs;
use crate::journal::lifecycle::FileState;
use crate::journal::report::{FileReport, JournalReport};
use crate::pipeline::manifest::json_path;
use crate::pipeline::manifest::read::{self, Found};
use crate::pipeline::quarantine::{REASON_KEYS, REASON_SUFFIX, reason_path};
use crate::types::IngestId;

/// Earlier files at the same path that an answer lists, at most.
const HISTORY_MAX: usize = 5;
/// Bytes of a reason file that are read, at most.
const REASON_BYTES_MAX: usize = 64 << 10;

/// All files for which `holds` is true, the oldest first.
pub(super) fn matching(report: &JournalReport, holds: &dyn Fn(&FileReport) -> bool) -> Result<Vec<FileReport>, Error> {
    let mut entries = Vec::new();
    let damage = report.files(&mut |entry, _| {
        if holds(&entry) {
            entries.push(entry);
        }
    })?;
    if let Some(damage) = damage {
        return Err(damage.into());
    }
    entries.sort_unstable_by_key(|entry| entry.id);
    Ok(entries)
}

/// Adds what the journal and the manifest say about an ingested file.
pub(super) fn of_entry<F: Fs>(context: &Context<'_, F>, answer: Answer, entry: &FileReport) -> Result<Answer, Error> {
    let answer = answer.with_path("source_path", &entry.source_path);
    let answer = match &entry.warehouse_path {
        Some(path) => answer.with_path("warehouse_path", path),
        None => answer,
    };
    let answer = answer
        .with("sha256", entry.sha256().map(|sha256| sha256.hex()))
        .with("bytes", entry.size)
        .with("ingest_id", entry.id.0)
        .with("ingested_at", entry.created_at.rfc3339())
        .with("state", entry.state.text());
    let Some(settings) = context.report.index.settings() else { return Ok(answer) };
    if entry.state != FileState::Manifested {
        return Ok(answer);
    }
    if settings.is_lake() {
        // The number in its name is the entry's, which only the store knows.
        let hour = entry.created_at.hour_partition().join("/");
        return Ok(answer.with("manifest", format!("{}/{hour}/*.jsonl", settings.manifests.display())));
    }
    let found = read::find(context.fs, &settings.manifests, entry.created_at, entry.id)?;
    let line = found.into_iter().find(|line| Some(line.listed.sha256) == entry.sha256());
    Ok(match line {
        Some(Found { place, group, .. }) => {
            answer.with_path("manifest", &place.manifest).with("manifest_line", place.number).with("group", group)
        }
        None => answer.with("manifest", "its line was not found: csv-ingestor audit searches all manifests"),
    })
}

/// Adds the facts about the file that brought the content of a duplicate.
pub(super) fn of_duplicate<F: Fs>(
    context: &Context<'_, F>,
    answer: Answer,
    duplicate: &FileReport,
) -> Result<Answer, Error> {
    // One that stands for itself has a content that another host of the lake has brought.
    of_original(context, answer, duplicate.duplicate_of().filter(|of| *of != duplicate.id))
}

/// The same, by that file's id.
pub(super) fn of_original<F: Fs>(
    context: &Context<'_, F>,
    answer: Answer,
    original: Option<IngestId>,
) -> Result<Answer, Error> {
    let Some(id) = original else { return Ok(answer) };
    match matching(context.report, &|entry| entry.id == id)?.pop() {
        Some(entry) => of_entry(context, answer, &entry),
        None => Ok(answer.with("ingest_id", id.0)),
    }
}

/// Adds the content of the reason file in quarantine: only the keys of such a file, each with one value, so that it cannot
/// answer for the program.
pub(super) fn with_reason<F: Fs>(context: &Context<'_, F>, answer: Answer, path: &Path) -> Answer {
    let reason = read(context.fs, &reason_path(path), REASON_BYTES_MAX);
    match reason.and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok()) {
        Some(mut reason) => REASON_KEYS.iter().fold(answer, |answer, key| {
            let value = reason.remove(*key).filter(|value| !value.is_array() && !value.is_object());
            answer.with(key, value)
        }),
        None => answer.with("error", format!("it has no {REASON_SUFFIX} file")),
    }
}

/// The earlier files at a path, the newest first.
pub(super) fn history(entries: &[&FileReport]) -> Value {
    let tell = |entry: &&FileReport| {
        let mut told = json!({
            "ingest_id": entry.id,
            "state": entry.state,
            "found_at": entry.created_at.rfc3339(),
            "sha256": entry.sha256().map(|sha256| sha256.hex()),
        });
        let place = match entry.state {
            FileState::Quarantined => entry.quarantined.as_ref().map(|it| &it.target),
            FileState::Moved | FileState::Manifested => entry.warehouse_path.as_ref(),
            _ => None,
        };
        if let (Some(place), Some(told)) = (place, told.as_object_mut()) {
            let (text, exact) = json_path(place);
            told.insert("moved_to".to_owned(), text.into());
            told.extend(exact.map(|exact| ("moved_to_base64".to_owned(), exact.into())));
        }
        told
    };
    let told: Vec<Value> = entries.iter().rev().take(HISTORY_MAX).map(tell).collect();
    if told.is_empty() { Value::Null } else { told.into() }
}
