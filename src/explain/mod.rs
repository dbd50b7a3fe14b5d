//! Why a file is where it is: what the journal, the manifests, a running ingestor, and a look at the file itself say of it.
//!
//! Invariants:
//! - It only reads. It opens a staged file as the ingestor does, and no lease outlives the look.
//! - Each question is answered by the rules that the ingestor goes by, in its order.

mod staged;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Error;
use crate::control::Told;
use crate::fs::{FileKind, Fs};
use crate::journal::lifecycle::FileState;
use crate::journal::record::Settings;
use crate::journal::report::{Entry, JournalReport};
use crate::pipeline::lines;
use crate::pipeline::manifest::json_path;
use crate::pipeline::publish::split;
use crate::pipeline::quarantine::{REASON_SUFFIX, reason_path};
use crate::pipeline::scan::NameRules;
use crate::types::{FileIdentity, IngestId, Lsn};

/// Of what once was at a path, so many are told.
const HISTORY_MAX: usize = 5;
/// More of a reason in quarantine is not read.
const REASON_BYTES_MAX: usize = 64 << 10;

/// What the answers go by.
pub struct Context<'a, F: Fs> {
    /// The file system.
    pub fs: &'a F,
    /// The journal.
    pub report: &'a JournalReport,
    /// Which names are for the ingestor, and the ending of sidecars in sidecar mode.
    pub rules: NameRules,
    /// These rules are those of an ingestor that runs.
    pub are_rules_told: bool,
    /// Only those are taken that a checksum in their sidecar vouches for.
    pub require_checksum: bool,
    /// How long to look whether a file grows.
    pub watch: Duration,
    /// Asks the running ingestor about a staged file: None if none runs, or it does not answer.
    pub ask: &'a dyn Fn(&std::ffi::OsStr) -> Option<Option<Told>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The path that was asked about.
    pub path: PathBuf,
    /// In one word: INGESTED, DUPLICATE, WAITING, READY, IN_FLIGHT, QUARANTINED, IGNORED, GONE, MISSING or UNKNOWN.
    pub status: &'static str,
    /// In one sentence.
    pub summary: String,
    /// What it rests on.
    pub facts: Map<String, Value>,
}

impl Answer {
    fn new(path: &Path, status: &'static str, summary: impl Into<String>) -> Answer {
        Answer { path: path.to_path_buf(), status, summary: summary.into(), facts: Map::new() }
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Answer {
        let value = value.into();
        if !value.is_null() {
            self.facts.insert(key.to_owned(), value);
        }
        self
    }

    /// A path, and its exact bytes beside it if it is not UTF-8.
    fn with_path(self, key: &str, path: &Path) -> Answer {
        let (text, exact) = json_path(path);
        self.with(key, text.into_owned()).with(&format!("{key}_base64"), exact)
    }
}

fn text(path: &Path) -> String {
    json_path(path).0.into_owned()
}

/// Answers for each path, in their order.
pub fn explain<F: Fs>(context: &Context<'_, F>, paths: &[PathBuf]) -> Result<Vec<Answer>, Error> {
    let asked: Vec<PathBuf> = paths.iter().map(|path| as_known(context, path)).collect();
    let entries = matching(context.report, &|entry| {
        asked.iter().any(|path| {
            let quarantined = entry.quarantined.as_ref().map(|quarantined| &quarantined.target);
            let places = [entry.warehouse_path.as_ref(), quarantined, entry.duplicate_moved_to.as_ref()];
            entry.source_path == *path || places.into_iter().flatten().any(|place| place == path)
        })
    })?;
    asked.iter().map(|path| one(context, path, &entries)).collect()
}

/// As the journal has it: without `..`, and by the staging directory's own path, however it was named.
fn as_known<F: Fs>(context: &Context<'_, F>, path: &Path) -> PathBuf {
    let mut known = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(known.pop()),
            part => known.push(part),
        }
    }
    let key =
        |dir: &Path| context.fs.open_dir(dir).and_then(|dir| context.fs.stat_dir(&dir)).map(|it| it.identity.key());
    if let Some(settings) = context.report.state.settings()
        && let (Some(dir), Some(name)) = (path.parent(), path.file_name())
        && key(dir).is_ok_and(|there| key(&settings.input).is_ok_and(|input| input == there))
    {
        return settings.input.join(name);
    }
    // Lines of a manifest name the paths of their time. What is at such a path now is asked as it is.
    let is_there = split(&known).is_ok_and(|(dir, name)| {
        context.fs.open_dir(dir).and_then(|dir| context.fs.stat(&dir, name)).is_ok_and(|stat| stat.is_some())
    });
    if is_there { known } else { context.report.state.relocations().now(Lsn(0), &known) }
}

/// All files for which that holds, the oldest first.
fn matching(report: &JournalReport, holds: &dyn Fn(&Entry) -> bool) -> Result<Vec<Entry>, Error> {
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

fn one<F: Fs>(context: &Context<'_, F>, path: &Path, entries: &[Entry]) -> Result<Answer, Error> {
    let newest = |is_meant: &dyn Fn(&Entry) -> bool| entries.iter().rev().find(|entry| is_meant(entry));
    if let Some(entry) = newest(&|entry| entry.warehouse_path.as_deref() == Some(path)) {
        return in_warehouse(context, path, entry);
    }
    if let Some(entry) = newest(&|entry| entry.quarantined.as_ref().is_some_and(|it| it.target == path)) {
        if stat(context.fs, path)?.is_none() || entry.state != FileState::Quarantined {
            let summary = "a file was to be here in quarantine, and is not: it was moved back, or stayed where it was";
            return Ok(Answer::new(path, "GONE", summary).with_path("path", &entry.source_path));
        }
        let summary = "it could not be ingested, and was moved to quarantine";
        return Ok(with_reason(context, Answer::new(path, "QUARANTINED", summary), path)
            .with_path("path", &entry.source_path)
            .with("ingest_id", entry.id.0));
    }
    if let Some(entry) = newest(&|entry| entry.duplicate_moved_to.as_deref() == Some(path)) {
        let answer = Answer::new(path, "DUPLICATE", "its content is in the warehouse already; it was moved here");
        return of_original(context, answer.with_path("path", &entry.source_path), entry.duplicate_of);
    }
    let settings = context.report.state.settings();
    let parent = path.parent();
    match settings {
        Some(settings) if parent == Some(&settings.input) => {
            let history: Vec<&Entry> = entries.iter().filter(|entry| entry.source_path == *path).collect();
            staged::explain(context, settings, path, &history)
        }
        _ => elsewhere(context, settings.map(|settings| &**settings), path),
    }
}

/// A file in the warehouse that the journal knows.
fn in_warehouse<F: Fs>(context: &Context<'_, F>, path: &Path, entry: &Entry) -> Result<Answer, Error> {
    let there = stat(context.fs, path)?;
    let (status, summary) = match (&there, entry.state) {
        (_, FileState::Discovered | FileState::Hashed | FileState::Moved) => {
            ("IN_FLIGHT", "it is being ingested, or was when a process ended".to_owned())
        }
        (_, FileState::Abandoned | FileState::SkippedDuplicate | FileState::Quarantined) => {
            ("UNKNOWN", format!("a file was to get this name, and came to nothing ({})", entry.state.text()))
        }
        (None, _) => ("MISSING", "it was ingested, and is not there any more".to_owned()),
        (Some(size), _) if *size != entry.size => {
            ("INGESTED", format!("it was ingested, and is not as it was: {size} bytes instead of {}", entry.size))
        }
        _ => ("INGESTED", format!("ingested from {}", text(&entry.source_path))),
    };
    let answer = Answer::new(path, status, summary);
    of_entry(context, answer, entry)
}

/// What the journal and the manifest say of an ingested file.
fn of_entry<F: Fs>(context: &Context<'_, F>, answer: Answer, entry: &Entry) -> Result<Answer, Error> {
    let answer = answer.with_path("source_path", &entry.source_path);
    let answer = match &entry.warehouse_path {
        Some(path) => answer.with_path("warehouse_path", path),
        None => answer,
    };
    let answer = answer
        .with("sha256", entry.sha256.map(|sha256| sha256.hex()))
        .with("bytes", entry.size)
        .with("ingest_id", entry.id.0)
        .with("ingested_at", entry.created_at.rfc3339())
        .with("state", entry.state.text());
    let Some(settings) = context.report.state.settings() else { return Ok(answer) };
    if entry.state != FileState::Manifested {
        return Ok(answer);
    }
    let found = lines::find(context.fs, &settings.manifests, entry.created_at, entry.id)?;
    let line = found.into_iter().find(|(_, listed)| Some(listed.sha256) == entry.sha256);
    Ok(match line {
        Some((place, _)) => answer.with_path("manifest", &place.manifest).with("manifest_line", place.number),
        None => answer.with("manifest", "its line is not found: csv-ingestor audit looks in all of them"),
    })
}

/// The file that brought the content of a duplicate.
fn of_original<F: Fs>(context: &Context<'_, F>, answer: Answer, original: Option<IngestId>) -> Result<Answer, Error> {
    let Some(id) = original else { return Ok(answer) };
    match matching(context.report, &|entry| entry.id == id)?.pop() {
        Some(entry) => of_entry(context, answer, &entry),
        None => Ok(answer.with("ingest_id", id.0)),
    }
}

/// A path that is neither in staging nor known.
fn elsewhere<F: Fs>(context: &Context<'_, F>, settings: Option<&Settings>, path: &Path) -> Result<Answer, Error> {
    if stat(context.fs, &reason_path(path))?.is_some() {
        let answer =
            Answer::new(path, "QUARANTINED", "it was moved to quarantine; the journal remembers no more of it");
        return Ok(with_reason(context, answer, path));
    }
    let Some(settings) = settings else {
        return Ok(Answer::new(path, "UNKNOWN", "the journal knows no directories yet"));
    };
    let summary = match stat(context.fs, path)? {
        _ if path == settings.input => "it is the staging directory".to_owned(),
        _ if path.starts_with(&settings.input) => {
            "it lies below a directory in staging; only files directly in staging are taken".to_owned()
        }
        Some(_) if path.starts_with(&settings.warehouse) => {
            "this journal has not brought it here: another ingestor, somebody else, or it was forgotten".to_owned()
        }
        Some(_) => format!("it is not in {}, and not in the warehouse", text(&settings.input)),
        None => "nothing is there, and the journal knows of nothing that was".to_owned(),
    };
    Ok(Answer::new(path, "UNKNOWN", summary))
}

/// What stands beside a file in quarantine.
fn with_reason<F: Fs>(context: &Context<'_, F>, answer: Answer, path: &Path) -> Answer {
    let reason = read(context.fs, &reason_path(path), REASON_BYTES_MAX);
    match reason.and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok()) {
        Some(reason) => reason.into_iter().fold(answer, |answer, (key, value)| answer.with(&key, value)),
        None => answer.with("error", format!("there is no {REASON_SUFFIX} beside it")),
    }
}

/// What a path once stood for, the newest first.
fn history(entries: &[&Entry]) -> Value {
    let tell = |entry: &&Entry| {
        let mut told = json!({
            "ingest_id": entry.id,
            "state": entry.state,
            "found_at": entry.created_at.rfc3339(),
            "sha256": entry.sha256.map(|sha256| sha256.hex()),
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

/// Bytes of a file; None if there is none.
fn stat<F: Fs>(fs: &F, path: &Path) -> Result<Option<u64>, Error> {
    Ok(identity(fs, path)?.map(|(identity, _)| identity.size))
}

fn identity<F: Fs>(fs: &F, path: &Path) -> Result<Option<(FileIdentity, FileKind)>, Error> {
    let Ok((dir, name)) = split(path) else { return Ok(None) };
    match fs.open_dir(dir) {
        Err(error) if error.is_not_to_be_read() => Ok(None),
        dir => Ok(fs.stat(&dir?, name)?.map(|stat| (stat.identity, stat.kind))),
    }
}

fn read<F: Fs>(fs: &F, path: &Path, bytes_max: usize) -> Option<Vec<u8>> {
    let (dir, name) = split(path).ok()?;
    let file = fs.open(&fs.open_dir(dir).ok()?, name, crate::fs::Open::Read).ok()?;
    let mut bytes = vec![0; bytes_max];
    let read = crate::fs::read_full_at(fs, &file, &mut bytes, 0).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// The sidecar of a staged file.
fn sidecar_of(path: &Path, suffix: &std::ffi::OsStr) -> PathBuf {
    let mut sidecar: OsString = path.as_os_str().to_owned();
    sidecar.push(suffix);
    sidecar.into()
}
