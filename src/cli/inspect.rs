//! `csv-ingestor journal inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use globset::{Glob, GlobMatcher};
use serde_json::{Map, Value, json};

use super::output::{path_text, print_lines};
use crate::Error;
use crate::fs::real::RealFs;
use crate::journal::frame::FrameHeader;
use crate::journal::record::{Discovered, Record};
use crate::journal::replay::Visitor;
use crate::journal::segment::SegmentHeader;
use crate::journal::state::{FileState, State};
use crate::pipeline::manifest::json_path;
use crate::types::{IngestId, Lsn, Sha256, UnixMillis};
use crate::{journal, types};

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// JSON Lines
    #[arg(long)]
    json: bool,
    /// Only files in this state
    #[arg(long, value_enum)]
    state: Option<StateName>,
    /// Only files whose SHA-256 begins so
    #[arg(long, value_name = "PREFIX")]
    sha256: Option<String>,
    /// Only files whose source path matches
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Show segments and frames instead of files
    #[arg(long, conflicts_with_all = ["state", "sha256", "path"])]
    frames: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum StateName {
    Discovered,
    Hashed,
    Moved,
    Manifested,
    SkippedDuplicate,
    Abandoned,
}

impl StateName {
    fn state(self) -> FileState {
        FileState::ALL[self as usize]
    }
}

/// Prints the journal.
pub(super) fn execute(arguments: &InspectArgs) -> Result<(), Error> {
    let filter = Filter::new(arguments)?;
    let fs = RealFs::default();
    let mut survey = Survey { frames: arguments.frames.then(Vec::new), ..Survey::default() };
    let state_path = std::path::absolute(&arguments.state_path)?;
    let read = journal::read(&fs, &state_path, &mut survey);
    if let Ok(None) = read {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    let lines: Vec<String> = match survey.frames {
        Some(frames) => {
            frames.iter().map(|frame| if arguments.json { frame.to_string() } else { plain(frame) }).collect()
        }
        None => {
            let files = survey.files.iter().filter(|(_, file)| filter.matches(file));
            files.map(|(id, file)| if arguments.json { file.json(*id) } else { file.text(*id) }).collect()
        }
    };
    let skipped = lines.len() - arguments.limit.unwrap_or(usize::MAX).min(lines.len());
    print_lines(lines.into_iter().skip(skipped))?;
    // What could be read has been printed; the damage decides the exit code.
    read.map(drop).map_err(Error::from)
}

struct Filter {
    state: Option<FileState>,
    sha256: Option<String>,
    path: Option<GlobMatcher>,
}

impl Filter {
    fn new(arguments: &InspectArgs) -> Result<Filter, Error> {
        let sha256 = arguments.sha256.as_ref().map(|prefix| prefix.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|prefix| !prefix.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(Error::Usage("--sha256 takes hex digits".to_owned()));
        }
        let glob = arguments.path.as_ref().map(|pattern| Glob::new(pattern)).transpose();
        let glob = glob.map_err(|error| Error::Usage(format!("--path: {error}")))?;
        Ok(Filter {
            state: arguments.state.map(StateName::state),
            sha256,
            path: glob.map(|glob| glob.compile_matcher()),
        })
    }

    fn matches(&self, file: &File) -> bool {
        self.state.is_none_or(|state| state == file.state)
            && self.path.as_ref().is_none_or(|glob| glob.is_match(&file.found.source_path))
            && self
                .sha256
                .as_ref()
                .is_none_or(|prefix| file.sha256.is_some_and(|sha256| sha256.hex().starts_with(prefix)))
    }
}

/// One file, as far as the journal was read.
struct File {
    lsn: Lsn,
    state: FileState,
    found: Discovered,
    sha256: Option<Sha256>,
    warehouse_path: Option<PathBuf>,
    duplicate_of: Option<IngestId>,
    updated_at: UnixMillis,
}

impl File {
    fn json(&self, id: IngestId) -> String {
        let identity = &self.found.identity;
        let (source, source_base64) = json_path(&self.found.source_path);
        let warehouse = self.warehouse_path.as_deref().map(json_path);
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
        put("ingest_id", json!(id));
        put("lsn", json!(self.lsn.0));
        put("state", json!(self.state));
        put("device", json!(identity.device));
        put("inode", json!(identity.inode));
        put("size", json!(identity.size));
        put("mtime", json!(identity.mtime.sec));
        put("sha256", json!(self.sha256.map(|sha256| sha256.hex())));
        put("source_path", json!(source));
        if let Some(exact) = source_base64 {
            put("source_path_base64", json!(exact));
        }
        put("warehouse_path", json!(warehouse.as_ref().map(|(path, _)| path)));
        if let Some((_, Some(exact))) = &warehouse {
            put("warehouse_path_base64", json!(exact));
        }
        put("duplicate_of", json!(self.duplicate_of));
        put("created_at", json!(self.found.discovered_at.rfc3339()));
        put("updated_at", json!(self.updated_at.rfc3339()));
        Value::Object(line).to_string()
    }

    fn text(&self, id: IngestId) -> String {
        let sha256 = self.sha256.map_or_else(|| "-".repeat(12), |sha256| sha256.hex()[..12].to_owned());
        let target = match (&self.warehouse_path, self.duplicate_of) {
            (_, Some(of)) => format!(" = ingest id {of}"),
            (Some(path), None) => format!(" -> {}", path_text(path)),
            (None, None) => String::new(),
        };
        let source = path_text(&self.found.source_path);
        format!("{id:>8} {:17} {} {sha256} {source}{target}", self.state.text(), self.updated_at.rfc3339())
    }
}

/// Collects what the journal holds.
#[derive(Default)]
struct Survey {
    /// Refuses what the journal's rules forbid, as every other reader does.
    rules: State,
    files: BTreeMap<IngestId, File>,
    frames: Option<Vec<Value>>,
}

impl Survey {
    fn update(&mut self, id: IngestId, lsn: Lsn, at: UnixMillis, change: impl FnOnce(&mut File)) {
        if let Some(file) = self.files.get_mut(&id) {
            (file.lsn, file.updated_at) = (lsn, at);
            change(file);
        }
    }
}

impl Visitor for Survey {
    fn restart(&mut self) {
        let frames = self.frames.as_ref().map(|_| Vec::new());
        *self = Survey { frames, ..Survey::default() };
    }

    fn segment(&mut self, header: &SegmentHeader) {
        if let Some(frames) = &mut self.frames {
            frames.push(json!({
                "segment": header.number,
                "first_lsn": header.first_lsn.0,
                "capacity": header.capacity,
                "created_at": header.created_at.rfc3339(),
                "store": journal::hex(&header.store),
                "predecessor": header.predecessor.map(|before| before.first_lsn.0),
                "predecessor_end": header.predecessor.map(|before| before.end),
            }));
        }
    }

    fn frame(&mut self, offset: u64, header: &FrameHeader) {
        if let Some(frames) = &mut self.frames {
            frames.push(json!({
                "offset": offset,
                "kind": header.kind,
                "first_lsn": header.first_lsn.0,
                "records": header.record_count,
                "payload_bytes": header.payload_len,
                "written_at": header.written_at.rfc3339(),
                "checksum": format!("{:08x}", header.checksum),
                "chain": format!("{:08x}", header.chain),
            }));
        }
    }

    fn record(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<(), &'static str> {
        self.rules.apply(lsn, &record)?;
        let mut enter = |id, state| self.update(id, lsn, at, |file| file.state = state);
        match record {
            Record::Settings(_) => {}
            Record::Discovered(found) => {
                let state = FileState::Discovered;
                let file =
                    File { lsn, state, found, sha256: None, warehouse_path: None, duplicate_of: None, updated_at: at };
                self.files.insert(types::IngestId(lsn.0), file);
            }
            Record::Hashed(hashed) => self.update(hashed.ingest_id, lsn, at, |file| {
                file.state = FileState::Hashed;
                file.sha256 = Some(hashed.sha256);
                file.warehouse_path = Some(hashed.warehouse_path);
            }),
            Record::Moved(id) => enter(id, FileState::Moved),
            Record::Manifested(id) => enter(id, FileState::Manifested),
            Record::SkippedDuplicate(skipped) => self.update(skipped.ingest_id, lsn, at, |file| {
                file.state = FileState::SkippedDuplicate;
                file.sha256 = Some(skipped.sha256);
                file.duplicate_of = Some(skipped.duplicate_of);
            }),
            Record::DuplicateCleared(id) => enter(id, FileState::SkippedDuplicate),
            Record::Abandoned(abandoned) => enter(abandoned.ingest_id, FileState::Abandoned),
        }
        Ok(())
    }
}

/// A segment or frame as text: `key=value` pairs.
fn plain(frame: &Value) -> String {
    let pairs = frame.as_object().into_iter().flatten();
    let indent = if frame.get("segment").is_some() { "" } else { "  " };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", text(value))).collect();
    format!("{indent}{}", pairs.join(" "))
}
