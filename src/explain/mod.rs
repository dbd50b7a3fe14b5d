//! Why a file is where it is, according to the journal, the manifests, a running ingestor, and the file itself.
//!
//! Invariants:
//! - It only reads. It opens a staged file as the ingestor does, and holds no lease after the check.
//! - It applies the ingestor's rules, in the ingestor's order.

mod answer;
mod below;
mod groups;
mod known;
mod look;
mod staged;

use std::path::{Path, PathBuf};

pub use answer::{Answer, Context};

use crate::Error;
use crate::fs::Fs;
use crate::journal::lifecycle::FileState;
use crate::journal::record::Settings;
use crate::journal::report::FileReport;
use crate::pipeline::dirs::split;
use crate::pipeline::quarantine::reason_path;
use crate::store::location::Location;
use crate::types::Lsn;
use answer::text;
use known::{matching, of_duplicate, of_entry, with_reason};
use look::stat;

/// Answers for each path, in the given order.
pub fn explain<F: Fs>(context: &Context<'_, F>, paths: &[PathBuf]) -> Result<Vec<Answer>, Error> {
    let asked: Vec<PathBuf> = paths.iter().map(|path| as_known(context, path)).collect();
    let entries = matching(context.report, &|entry| {
        asked.iter().any(|path| {
            let quarantined = entry.quarantined.as_ref().map(|quarantined| &quarantined.target);
            let places = [entry.warehouse_path.as_ref(), quarantined, entry.duplicate_moved_to()];
            entry.source_path == *path || places.into_iter().flatten().any(|place| place == path)
        })
    })?;
    asked.iter().map(|path| one(context, path, &entries)).collect()
}

/// True for the URL of an object in a lake.
pub fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(Location::is_meant)
}

/// The path as the journal has it: without `..`, and below the staging directory's own path, however it was given.
fn as_known<F: Fs>(context: &Context<'_, F>, path: &Path) -> PathBuf {
    if is_url(path) {
        return path.to_path_buf();
    }
    let mut known = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(known.pop()),
            part => known.push(part),
        }
    }
    let key =
        |dir: &Path| context.fs.open_dir(dir).and_then(|dir| context.fs.stat_dir(&dir)).map(|it| it.identity.key());
    if let Some(settings) = context.report.index.settings()
        && let Ok(input) = key(&settings.input)
        && let Some(dir) = path.ancestors().skip(1).find(|dir| key(dir).is_ok_and(|there| there == input))
        && let Ok(below) = path.strip_prefix(dir)
        && below.components().all(|part| matches!(part, std::path::Component::Normal(_)))
    {
        return settings.input.join(below);
    }
    // Lines of a manifest contain the paths of their time. But if a file is at such a path now, the question is about
    // it.
    let is_there = split(&known).is_ok_and(|(dir, name)| {
        context.fs.open_dir(dir).and_then(|dir| context.fs.stat(&dir, name)).is_ok_and(|stat| stat.is_some())
    });
    if is_there { known } else { context.report.index.relocations().now(Lsn(0), &known) }
}

fn one<F: Fs>(context: &Context<'_, F>, path: &Path, entries: &[FileReport]) -> Result<Answer, Error> {
    let newest = |is_meant: &dyn Fn(&FileReport) -> bool| entries.iter().rev().find(|entry| is_meant(entry));
    if let Some(entry) = newest(&|entry| entry.warehouse_path.as_deref() == Some(path)) {
        return in_warehouse(context, path, entry);
    }
    if let Some(entry) = newest(&|entry| entry.quarantined.as_ref().is_some_and(|it| it.target == path)) {
        if stat(context.fs, path)?.is_none() || entry.state != FileState::Quarantined {
            let summary = "a file should be here in quarantine, but is not: it was moved back, or was never moved";
            return Ok(Answer::new(path, "GONE", summary).with_path("path", &entry.source_path));
        }
        let summary = "it could not be ingested, and was moved to quarantine";
        return Ok(with_reason(context, Answer::new(path, "QUARANTINED", summary), path)
            .with_path("path", &entry.source_path)
            .with("ingest_id", entry.id.0));
    }
    if let Some(entry) = newest(&|entry| entry.duplicate_moved_to().is_some_and(|moved| moved == path)) {
        let answer = Answer::new(path, "DUPLICATE", "its content is in the warehouse already; it was moved here");
        return of_duplicate(context, answer.with_path("path", &entry.source_path), entry);
    }
    let settings = context.report.index.settings();
    match settings {
        Some(settings) if path != settings.input && path.starts_with(&settings.input) => {
            let history: Vec<&FileReport> = entries.iter().filter(|entry| entry.source_path == *path).collect();
            // What happened to a file that is gone does not depend on the options of today.
            if (history.is_empty() || stat(context.fs, path)?.is_some())
                && let Some(answer) = below::not_entered(context, settings, path)?
            {
                return Ok(answer);
            }
            staged::explain(context, settings, path, &history)
        }
        _ => elsewhere(context, settings.map(|settings| &**settings), path),
    }
}

/// A file of the warehouse that the journal knows.
fn in_warehouse<F: Fs>(context: &Context<'_, F>, path: &Path, entry: &FileReport) -> Result<Answer, Error> {
    // The store of a lake is not asked.
    let there = if is_url(path) { Some(entry.size) } else { stat(context.fs, path)? };
    let (status, summary) = match (&there, entry.state) {
        (_, FileState::Discovered | FileState::Hashed | FileState::Moved) => {
            ("IN_FLIGHT", "it is being ingested, or was when a process ended".to_owned())
        }
        (_, FileState::Abandoned | FileState::SkippedDuplicate | FileState::Quarantined) => {
            ("UNKNOWN", format!("a file should have got this name, but was not ingested ({})", entry.state.text()))
        }
        (None, _) => ("MISSING", "it was ingested, and is not there any more".to_owned()),
        (Some(size), _) if *size != entry.size => {
            ("INGESTED", format!("it was ingested, and has changed since: {size} bytes instead of {}", entry.size))
        }
        _ => ("INGESTED", format!("ingested from {}", text(&entry.source_path))),
    };
    let answer = Answer::new(path, status, summary);
    let unseen = is_url(path).then_some("not looked at: csv-ingestor lake audit compares all of them");
    of_entry(context, answer.with("object", unseen), entry)
}

/// A path that is not in staging, and that the journal does not know.
fn elsewhere<F: Fs>(context: &Context<'_, F>, settings: Option<&Settings>, path: &Path) -> Result<Answer, Error> {
    if is_url(path) {
        let summary = match settings {
            Some(settings) if settings.is_lake() && path.starts_with(&settings.warehouse) => {
                "this journal did not bring it here: another host of the lake or another program did, or its content was \
                 forgotten"
            }
            _ => "it is not in this journal's warehouse",
        };
        return Ok(Answer::new(path, "UNKNOWN", summary));
    }
    if stat(context.fs, &reason_path(path))?.is_some() {
        let answer =
            Answer::new(path, "QUARANTINED", "it was moved to quarantine; the journal does not remember it any more");
        return Ok(with_reason(context, answer, path));
    }
    let Some(settings) = settings else {
        return Ok(Answer::new(path, "UNKNOWN", "the journal knows no directories yet"));
    };
    let summary = match stat(context.fs, path)? {
        _ if path == settings.input => "it is the staging directory".to_owned(),
        Some(_) if path.starts_with(&settings.warehouse) => {
            "this journal did not bring it here: another ingestor or program did, or its content was forgotten"
                .to_owned()
        }
        Some(_) => format!("it is not in {}, and not in the warehouse", text(&settings.input)),
        None => "nothing is there, and the journal knows of nothing that was".to_owned(),
    };
    Ok(Answer::new(path, "UNKNOWN", summary))
}
