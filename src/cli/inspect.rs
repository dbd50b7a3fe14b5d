//! `csv-ingestor journal inspect`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use globset::{Glob, GlobMatcher};
use serde_json::{Map, Value, json};

use super::output::{path_text, print_lines};
use crate::Error;
use crate::fs::real::RealFs;
use crate::journal::frame::FrameHeader;
use crate::journal::ledger::{self, Ledger};
use crate::journal::record::Record;
use crate::journal::replay::Visitor;
use crate::journal::segment::SegmentHeader;
use crate::journal::snapshot::{Row, RowReader, Snapshot};
use crate::journal::state::{FileState, State};
use crate::journal::{self, Refused};
use crate::pipeline::manifest::json_path;
use crate::types::{IngestId, Lsn, Sha256, UnixMillis};

/// Lines made before they are printed.
const LINES_AT_ONCE: usize = 1024;

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
    // What could be read is printed; the damage decides the exit code.
    print(&survey, &filter, arguments)?;
    read.map(drop).map_err(Error::from)
}

fn print(survey: &Survey, filter: &Filter, arguments: &InspectArgs) -> Result<(), Error> {
    let skipped = |count: usize| count - arguments.limit.unwrap_or(usize::MAX).min(count);
    if let Some(frames) = &survey.frames {
        let frames = &frames[skipped(frames.len())..];
        let lines = frames.iter().map(|frame| if arguments.json { frame.to_string() } else { plain(frame) });
        return Ok(print_lines(lines)?);
    }
    let (found, damage) = survey.matching(filter)?;
    for part in found[skipped(found.len())..].chunks(LINES_AT_ONCE) {
        let lines: Result<Vec<String>, Error> = part.iter().map(|(_, it)| survey.line(it, arguments.json)).collect();
        print_lines(lines?)?;
    }
    if let Some(damage) = damage {
        return Err(damage.into());
    }
    let forgotten = survey.snapshot.as_ref().map_or(0, |snapshot| snapshot.header().forgotten);
    if forgotten > 0 && !arguments.json {
        print_lines([format!("and {forgotten} older files whose content is forgotten (--remember)")])?;
    }
    Ok(())
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
            && self.path.as_ref().is_none_or(|glob| glob.is_match(&file.source_path))
            && self
                .sha256
                .as_ref()
                .is_none_or(|prefix| file.sha256.is_some_and(|sha256| sha256.hex().starts_with(prefix)))
    }
}

/// What is shown of one file, as far as the journal was read.
struct File {
    id: IngestId,
    lsn: Lsn,
    state: FileState,
    device: u64,
    inode: u64,
    size: u64,
    mtime_sec: i64,
    source_path: PathBuf,
    sha256: Option<Sha256>,
    warehouse_path: Option<PathBuf>,
    duplicate_of: Option<IngestId>,
    created_at: UnixMillis,
    updated_at: UnixMillis,
}

impl From<&ledger::File> for File {
    fn from(file: &ledger::File) -> File {
        let found = &file.found.value;
        File {
            id: file.id,
            lsn: file.lsn,
            state: file.state,
            device: found.identity.device,
            inode: found.identity.inode,
            size: found.identity.size,
            mtime_sec: found.identity.mtime.sec,
            source_path: found.source_path.clone(),
            sha256: file.sha256(),
            warehouse_path: file.warehouse_path().cloned(),
            duplicate_of: file.skipped.as_ref().map(|skipped| skipped.value.duplicate_of),
            created_at: found.discovered_at,
            updated_at: file.updated_at,
        }
    }
}

impl From<Row> for File {
    fn from(row: Row) -> File {
        File {
            id: row.ingest_id,
            lsn: row.lsn,
            state: FileState::Manifested,
            device: row.device,
            inode: row.inode,
            size: row.size,
            mtime_sec: row.mtime_sec,
            source_path: row.source_path,
            sha256: Some(row.sha256),
            warehouse_path: Some(row.warehouse_path),
            duplicate_of: None,
            created_at: row.discovered_at,
            updated_at: row.manifested_at,
        }
    }
}

impl File {
    fn json(&self) -> String {
        let (source, source_base64) = json_path(&self.source_path);
        let warehouse = self.warehouse_path.as_deref().map(json_path);
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
        put("ingest_id", json!(self.id));
        put("lsn", json!(self.lsn.0));
        put("state", json!(self.state));
        put("device", json!(self.device));
        put("inode", json!(self.inode));
        put("size", json!(self.size));
        put("mtime", json!(self.mtime_sec));
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
        put("created_at", json!(self.created_at.rfc3339()));
        put("updated_at", json!(self.updated_at.rfc3339()));
        Value::Object(line).to_string()
    }

    fn text(&self) -> String {
        let sha256 = self.sha256.map_or_else(|| "-".repeat(12), |sha256| sha256.hex()[..12].to_owned());
        let target = match (&self.warehouse_path, self.duplicate_of) {
            (_, Some(of)) => format!(" = ingest id {of}"),
            (Some(path), None) => format!(" -> {}", path_text(path)),
            (None, None) => String::new(),
        };
        let (id, source) = (self.id, path_text(&self.source_path));
        format!("{id:>8} {:17} {} {sha256} {source}{target}", self.state.text(), self.updated_at.rfc3339())
    }
}

/// Collects what the journal holds.
#[derive(Default)]
struct Survey {
    /// Refuses what the journal's rules forbid, as every other reader does.
    rules: State,
    snapshot: Option<Arc<Snapshot>>,
    ledger: Ledger,
    /// Files that are finished, since the snapshot.
    finished: Vec<ledger::File>,
    frames: Option<Vec<Value>>,
}

/// Where a file that is to be shown is to be found.
enum Found<'a> {
    Ledger(&'a ledger::File),
    /// By its number in the snapshot.
    Row(u32),
}

/// What matches, and the damage that ended the search.
type Matching<'a> = (Vec<(IngestId, Found<'a>)>, Option<journal::Error>);

impl Survey {
    /// The files that match, oldest first; of what is only in the snapshot, one number each. A damaged block of rows ends
    /// the rows, and is returned beside what stands before it.
    fn matching(&self, filter: &Filter) -> Result<Matching<'_>, Error> {
        let files = self.finished.iter().chain(self.ledger.files());
        let files = files.filter(|file| filter.matches(&File::from(*file)));
        let mut found: Vec<_> = files.map(|file| (file.id, Found::Ledger(file))).collect();
        let mut rows = self.snapshot.as_ref().map(|snapshot| snapshot.rows());
        let mut damage = None;
        for number in 0.. {
            let row = match rows.as_mut().map_or(Ok(None), RowReader::next_row) {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(corrupt @ journal::Error::Corrupt(_)) => {
                    damage = Some(corrupt);
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let id = row.ingest_id;
            if filter.matches(&row.into()) {
                found.push((id, Found::Row(number)));
            }
        }
        found.sort_unstable_by_key(|(id, _)| *id);
        Ok((found, damage))
    }

    fn line(&self, found: &Found<'_>, as_json: bool) -> Result<String, Error> {
        let file = match found {
            Found::Ledger(file) => File::from(*file),
            Found::Row(number) => {
                match self.snapshot.as_ref().map(|snapshot| snapshot.row(*number)).transpose()?.flatten() {
                    Some(row) => row.into(),
                    None => return Ok(String::new()),
                }
            }
        };
        Ok(if as_json { file.json() } else { file.text() })
    }
}

impl Visitor for Survey {
    fn restart(&mut self) {
        let frames = self.frames.as_ref().map(|_| Vec::new());
        *self = Survey { frames, ..Survey::default() };
    }

    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), journal::Error> {
        let header = snapshot.header();
        if let Some(frames) = &mut self.frames {
            frames.push(json!({
                "snapshot": header.lsn.0,
                "bytes": header.file_bytes,
                "created_at": header.created_at.rfc3339(),
                "store": journal::hex(&header.store),
                "entries": header.rows,
                "forgotten": header.forgotten,
            }));
        }
        self.rules = State::from_snapshot(snapshot)?;
        self.snapshot = Some(snapshot.clone());
        let (ledger, finished) = (&mut self.ledger, &mut self.finished);
        snapshot.survivors(&mut |lsn, at, record| {
            finished.extend(ledger.record(lsn, at, record)?.map(|file| *file));
            Ok(())
        })
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

    fn record(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<(), Refused> {
        self.rules.apply(lsn, &record)?;
        self.finished.extend(self.ledger.record(lsn, at, record)?.map(|file| *file));
        Ok(())
    }
}

/// A segment or frame as text: `key=value` pairs.
fn plain(frame: &Value) -> String {
    let pairs = frame.as_object().into_iter().flatten();
    let indent = if frame.get("offset").is_none() { "" } else { "  " };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", text(value))).collect();
    format!("{indent}{}", pairs.join(" "))
}
