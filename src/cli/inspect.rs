//! `csv-ingestor journal inspect`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::output::{json_line, print_lines};
use crate::Error;
use crate::fs::real::RealFs;
use crate::glob::Globs;
use crate::journal::frame::FrameHeader;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{Record, SameBy};
use crate::journal::replay::Visitor;
use crate::journal::report::{FileReport, FoundFile, JournalReport};
use crate::journal::segment::SegmentHeader;
use crate::journal::snapshot::Snapshot;
use crate::journal::{self, Rejected};
use crate::log::json;
use crate::log::path_text;
use crate::pipeline::manifest::json_path;
use crate::types::{IngestId, Lsn, UnixMillis};

/// The number of lines that are made before they are printed.
const LINES_AT_ONCE: usize = 1024;

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Print JSON Lines
    #[arg(long)]
    json: bool,
    /// Only files in this state
    #[arg(long, value_enum)]
    state: Option<StateName>,
    /// Only files whose SHA-256 begins with this
    #[arg(long, value_name = "PREFIX")]
    sha256: Option<String>,
    /// Only files whose source path matches
    #[arg(long, value_name = "GLOB")]
    path: Option<OsString>,
    /// At most this many files, the newest
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
    Quarantined,
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
    let mut inspection = Inspection { frames: arguments.frames.then(Vec::new), ..Inspection::default() };
    let state_path = std::path::absolute(&arguments.state_path)?;
    let read = journal::read(&fs, &state_path, &mut inspection);
    if let Ok(None) = read {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    }
    // Whatever could be read is printed; the damage decides the exit code.
    print(&inspection, &filter, arguments)?;
    read.map(drop).map_err(Error::from)
}

fn print(inspection: &Inspection, filter: &Filter, arguments: &InspectArgs) -> Result<(), Error> {
    let skipped = |count: usize| count - arguments.limit.unwrap_or(usize::MAX).min(count);
    if let Some(frames) = &inspection.frames {
        let frames = &frames[skipped(frames.len())..];
        let lines = frames.iter().map(|frame| if arguments.json { json::text(frame) } else { plain(frame) });
        return Ok(print_lines(lines)?);
    }
    let report = &inspection.report;
    let (found, damage) = matching(report, filter)?;
    for part in found[skipped(found.len())..].chunks(LINES_AT_ONCE) {
        let lines: Result<Vec<String>, Error> = part.iter().map(|(_, it)| line(report, it, arguments.json)).collect();
        print_lines(lines?)?;
    }
    if let Some(damage) = damage {
        return Err(damage.into());
    }
    let forgotten = report.newest_snapshot().map_or(0, |snapshot| snapshot.header().forgotten);
    if forgotten > 0 && !arguments.json {
        print_lines([format!("and {forgotten} older files whose content is forgotten (--remember, forget)")])?;
    }
    Ok(())
}

struct Filter {
    state: Option<FileState>,
    sha256: Option<String>,
    path: Option<PathGlob>,
}

/// A pattern of arbitrary bytes, like paths.
struct PathGlob {
    glob: Globs,
    /// The substitute of each byte, in the pattern and in paths, if the pattern is not UTF-8.
    stands_for: Option<Box<[u8; 256]>>,
}

impl PathGlob {
    /// Globs are text: bytes of the pattern that are not ASCII are replaced by control characters that do not occur in
    /// it.
    fn new(pattern: &OsStr) -> Result<PathGlob, String> {
        let make = |text: &str| Globs::new(&[text], false);
        if let Some(text) = pattern.to_str() {
            return Ok(PathGlob { glob: make(text)?, stands_for: None });
        }
        let pattern = pattern.as_bytes();
        let is_there = |byte: &u8| pattern.contains(byte);
        let mut stands_for: Box<[u8; 256]> = Box::new(std::array::from_fn(|byte| byte as u8));
        let mut spare = (1..b' ').filter(|byte| !is_there(byte));
        // In a path such a control character must not look like the byte that it replaces.
        let other = (0x80..=0xff).find(|byte| !is_there(byte)).ok_or("too many bytes that are not ASCII")?;
        for byte in (0x80..=0xff).filter(is_there) {
            let place = spare.next().ok_or("too many bytes that are not ASCII")?;
            stands_for[usize::from(byte)] = place;
            stands_for[usize::from(place)] = other;
        }
        let text: String = pattern.iter().map(|byte| char::from(stands_for[usize::from(*byte)])).collect();
        Ok(PathGlob { glob: make(&text)?, stands_for: Some(stands_for) })
    }

    fn is_match(&self, path: &Path) -> bool {
        let Some(stands_for) = &self.stands_for else { return self.glob.is_match(path.as_os_str()) };
        let bytes: Vec<u8> = path.as_os_str().as_bytes().iter().map(|byte| stands_for[usize::from(*byte)]).collect();
        self.glob.is_match(OsStr::from_bytes(&bytes))
    }
}

impl Filter {
    fn new(arguments: &InspectArgs) -> Result<Filter, Error> {
        let sha256 = arguments.sha256.as_ref().map(|prefix| prefix.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|prefix| !prefix.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(Error::Usage("--sha256 takes hex digits".to_owned()));
        }
        let path = arguments.path.as_deref().map(PathGlob::new).transpose();
        Ok(Filter {
            state: arguments.state.map(StateName::state),
            sha256,
            path: path.map_err(|error| Error::Usage(format!("--path: {error}")))?,
        })
    }

    fn matches(&self, file: &FileReport) -> bool {
        self.state.is_none_or(|state| state == file.state)
            && self.path.as_ref().is_none_or(|glob| glob.is_match(&file.source_path))
            && self
                .sha256
                .as_ref()
                .is_none_or(|prefix| file.sha256().is_some_and(|sha256| sha256.hex().starts_with(prefix)))
    }
}

fn json(entry: &FileReport) -> String {
    let (source, source_base64) = json_path(&entry.source_path);
    let warehouse = entry.warehouse_path.as_deref().map(json_path);
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    put("ingest_id", json!(entry.id));
    put("lsn", json!(entry.lsn.0));
    put("state", json!(entry.state));
    put("device", json!(entry.device));
    put("inode", json!(entry.inode));
    put("size", json!(entry.size));
    put("mtime", json!(entry.mtime_sec));
    put("sha256", json!(entry.sha256().map(|sha256| sha256.hex())));
    if entry.content.is_some_and(|(sha256, key)| sha256.0 != key.0) {
        put("identity", json!(SameBy::NameAndContent));
    }
    put("source_path", json!(source));
    if let Some(exact) = source_base64 {
        put("source_path_base64", json!(exact));
    }
    put("warehouse_path", json!(warehouse.as_ref().map(|(path, _)| path)));
    if let Some((_, Some(exact))) = &warehouse {
        put("warehouse_path_base64", json!(exact));
    }
    if let Some(quarantined) = entry.quarantined.as_ref().filter(|_| entry.state == FileState::Quarantined) {
        put("quarantine_path", json!(json_path(&quarantined.target).0));
        put("reason", json!(quarantined.cause));
    }
    if let Some(verified_by) = entry.verified_by {
        put("verified_by", json!(verified_by));
    }
    put("duplicate_of", json!(original_of(entry)));
    put("created_at", json!(entry.created_at.rfc3339()));
    put("updated_at", json!(entry.updated_at.rfc3339()));
    let quarantine_path = entry.quarantined.as_ref().filter(|_| entry.state == FileState::Quarantined);
    let quarantine_path = quarantine_path.map(|quarantined| ("quarantine_path", quarantined.target.as_path()));
    json_line(Value::Object(line), quarantine_path.as_slice())
}

/// The file that brought the content of a duplicate; None if another host of a lake did: then it stands for itself.
fn original_of(entry: &FileReport) -> Option<IngestId> {
    entry.duplicate_of().filter(|of| *of != entry.id)
}

fn text(entry: &FileReport) -> String {
    let sha256 = entry.sha256().map_or_else(|| "-".repeat(12), |sha256| sha256.hex()[..12].to_owned());
    let quarantined = entry.quarantined.as_ref().filter(|_| entry.state == FileState::Quarantined);
    let target = match (quarantined, &entry.warehouse_path, original_of(entry)) {
        (Some(quarantined), ..) => format!(" -> {} ({})", path_text(&quarantined.target), quarantined.cause.text()),
        (_, _, Some(of)) => format!(" = ingest id {of}"),
        _ if entry.state == FileState::SkippedDuplicate => " = a file of another host".to_owned(),
        (_, Some(path), None) => format!(" -> {}", path_text(path)),
        (_, None, None) => String::new(),
    };
    let (id, source) = (entry.id, path_text(&entry.source_path));
    format!("{id:>8} {:17} {} {sha256} {source}{target}", entry.state.text(), entry.updated_at.rfc3339())
}

/// The output: files, or segments and frames.
#[derive(Default)]
struct Inspection {
    report: JournalReport,
    frames: Option<Vec<Value>>,
}

/// The matching files, and the damage that ended the search.
type Matching<'a> = (Vec<(IngestId, FoundFile<'a>)>, Option<journal::Error>);

/// The files that match, oldest first; for rows of the snapshot, only a number each. A damaged block of rows ends the
/// search, and is returned together with the rows before it.
fn matching<'a>(report: &'a JournalReport, filter: &Filter) -> Result<Matching<'a>, Error> {
    let mut matching = Vec::new();
    let damage = report.files(&mut |entry, found| {
        if filter.matches(&entry) {
            matching.push((entry.id, found));
        }
    })?;
    matching.sort_unstable_by_key(|(id, _)| *id);
    Ok((matching, damage))
}

fn line(report: &JournalReport, found: &FoundFile<'_>, as_json: bool) -> Result<String, Error> {
    let entry = report.entry(found)?;
    Ok(entry.map(|entry| if as_json { json(&entry) } else { text(&entry) }).unwrap_or_default())
}

impl Visitor for Inspection {
    fn restart(&mut self) {
        let frames = self.frames.as_ref().map(|_| Vec::new());
        *self = Inspection { frames, ..Inspection::default() };
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
        self.report.snapshot(snapshot)
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

    fn record(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<(), Rejected> {
        self.report.record(lsn, at, record)
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
