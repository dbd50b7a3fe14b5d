//! `csv-ingestor status`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::output::{add_exact, json_line, print_lines};
use super::watch;
use crate::Error;
use crate::follow::lag::{Lag, lags};
use crate::fs::Fs as _;
use crate::fs::real::RealFs;
use crate::journal::files::Files;
use crate::journal::ingest::Ingest;
use crate::journal::lifecycle::FileState;
use crate::journal::record::Settings;
use crate::journal::report::{FileReport, JournalReport};
use crate::journal::{self, names};
use crate::log::path_text;
use crate::pipeline::manifest::json_path;
use crate::types::UnixMillis;

/// Files in flight that are listed, at most.
const IN_FLIGHT_SHOWN_MAX: usize = 100;
/// The same in text, for people.
const IN_FLIGHT_LINES_MAX: usize = 10;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The journal's directory
    #[arg(long, value_name = "DIR", env = "CSV_INGESTOR_STATE_PATH")]
    state_path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show what the running ingestor does, and redraw it every two seconds until Ctrl-C. With --json, print a line that
    /// often
    #[arg(long)]
    watch: bool,
}

/// Prints counts, sizes, files in flight, and whether an ingestor runs. Only reads, also while one runs.
pub(super) fn execute(arguments: &StatusArgs) -> Result<(), Error> {
    let fs = RealFs::default();
    let state_path = std::path::absolute(&arguments.state_path)?;
    let mut report = JournalReport::default();
    let Some(replayed) = journal::read(&fs, &state_path, &mut report)? else {
        return Err(Error::Usage(format!("--state-path {}: there is no journal", state_path.display())));
    };
    if arguments.watch {
        return watch::execute(&fs, &state_path, arguments.json);
    }
    let mut status = Status::of(&fs, &state_path, &report)?;
    status.consumers = consumers(&fs, &report, replayed.store());
    let lines = if arguments.json {
        vec![json_line(status.json(&report), &[("state_path", &state_path)])]
    } else {
        status.text(&report)
    };
    Ok(print_lines(lines)?)
}

/// The consumers of the journal's lines, where the manifests are in a directory.
fn consumers(fs: &RealFs, report: &JournalReport, journal: Option<[u8; 16]>) -> Vec<Lag> {
    let (Some(settings), Some(journal)) = (report.index.settings(), journal) else { return Vec::new() };
    lags(fs, &settings.manifests, &journal)
}

fn in_flight_json(ingest: &Ingest) -> Value {
    let mut told = json!({
        "ingest_id": ingest.id,
        "state": ingest.state,
        "path": json_path(&ingest.source_path).0,
        "bytes": ingest.identity.size,
        "discovered_at": ingest.discovered_at.rfc3339(),
    });
    add_exact(&mut told, &[("path", &ingest.source_path)]);
    told
}

fn consumer_json(lag: &Lag) -> Value {
    let position = lag.position.as_ref().ok();
    json!({
        "consumer": lag.consumer.text(),
        "cursor": position.map(|position| position.cursor.to_string()),
        "acknowledged_at": position.map(|position| position.stored_at.rfc3339()),
        "lag_lines": lag.lines,
        "oldest_listed_at": lag.oldest.map(UnixMillis::rfc3339),
        "error": lag.position.as_ref().err(),
    })
}

fn consumer_text(lag: &Lag) -> String {
    let behind = lag.lines.map_or(String::new(), |lines| format!("{lines} lines behind, "));
    let since = lag.oldest.map_or(String::new(), |oldest| format!("since {}, ", oldest.rfc3339()));
    match &lag.position {
        Ok(position) => {
            format!("consumer:    {} {behind}{since}acknowledged at {}", lag.consumer, position.stored_at.rfc3339())
        }
        Err(error) => format!("consumer:    {} {error}", lag.consumer),
    }
}

/// Values that are not in the journal's records, or have to be added up.
struct Status {
    state_path: PathBuf,
    /// The process that holds the journal.
    pid: Option<u32>,
    disk: Disk,
    /// Number of the files that are MANIFESTED and remembered; `bytes` is their size.
    files: u64,
    bytes: u64,
    oldest: Option<FileReport>,
    newest: Option<FileReport>,
    consumers: Vec<Lag>,
    /// When the last record was written.
    updated_at: UnixMillis,
}

/// Files of the state directory.
#[derive(Default)]
struct Disk {
    segments: usize,
    segment_bytes: u64,
    snapshots: usize,
    snapshot_bytes: u64,
}

impl Disk {
    fn of(fs: &RealFs, state_path: &Path) -> Result<(Disk, Option<u32>), Error> {
        let dir = fs.open_dir(state_path)?;
        let files = Files::list(fs, &dir)?;
        // A file that a running compaction removes counts as 0 bytes.
        let bytes =
            |name: String| Ok::<_, Error>(fs.stat(&dir, OsStr::new(&name))?.map_or(0, |stat| stat.identity.size));
        let mut disk = Disk { segments: files.segments.len(), snapshots: files.snapshots.len(), ..Disk::default() };
        for lsn in &files.segments {
            disk.segment_bytes += bytes(names::segment(*lsn))?;
        }
        for lsn in &files.snapshots {
            disk.snapshot_bytes += bytes(names::snapshot(*lsn))?;
        }
        let lock = fs.stat(&dir, OsStr::new(names::LOCK))?;
        Ok((disk, lock.and_then(|stat| fs.lock_holder(&stat.identity))))
    }
}

impl Status {
    fn of(fs: &RealFs, state_path: &Path, report: &JournalReport) -> Result<Status, Error> {
        let (disk, pid) = Disk::of(fs, state_path)?;
        let mut status = Status {
            state_path: state_path.to_path_buf(),
            pid,
            disk,
            files: 0,
            bytes: 0,
            oldest: None,
            newest: None,
            consumers: Vec::new(),
            updated_at: UnixMillis(0),
        };
        if let Some(damage) = report.files(&mut |entry, _| status.add(entry))? {
            return Err(damage.into());
        }
        Ok(status)
    }

    fn add(&mut self, entry: FileReport) {
        self.updated_at = self.updated_at.max(entry.updated_at);
        if entry.state != FileState::Manifested {
            return;
        }
        self.files += 1;
        self.bytes += entry.size;
        if self.oldest.as_ref().is_none_or(|oldest| entry.id < oldest.id) {
            self.oldest = Some(entry.clone());
        }
        if self.newest.as_ref().is_none_or(|newest| entry.id > newest.id) {
            self.newest = Some(entry);
        }
    }

    fn json(&self, report: &JournalReport) -> Value {
        let index = &report.index;
        let path = |path: &Path| json_path(path).0.into_owned();
        let settings = index.settings();
        let file = |entry: &Option<FileReport>| {
            entry.as_ref().map(|entry| {
                let mut told = json!({
                    "ingest_id": entry.id,
                    "path": path(&entry.source_path),
                    "warehouse_path": entry.warehouse_path.as_deref().map(path),
                    "ingested_at": entry.created_at.rfc3339(),
                });
                add_exact(&mut told, &[("path", &entry.source_path)]);
                entry.warehouse_path.iter().for_each(|path| add_exact(&mut told, &[("warehouse_path", path)]));
                told
            })
        };
        let open = index.open().take(IN_FLIGHT_SHOWN_MAX).map(in_flight_json);
        let counts = FileState::ALL.iter().map(|each| (each.text().to_owned(), index.count(*each).into()));
        let Disk { segments, segment_bytes, snapshots, snapshot_bytes } = self.disk;
        let identity = index.identity().unwrap_or_default();
        let mut told = json!({
            "state_path": path(&self.state_path),
            "running": self.pid.is_some(),
            "pid": self.pid,
            "input": settings.map(|settings| path(&settings.input)),
            "warehouse": settings.map(|settings| path(&settings.warehouse)),
            "manifests": settings.map(|settings| path(&settings.manifests)),
            "identity": identity.same_by,
            "empty": identity.empty,
            "states": counts.collect::<serde_json::Map<_, _>>(),
            "remembered_files": self.files,
            "remembered_bytes": self.bytes,
            "kept_duplicates": index.kept().count(),
            "oldest": file(&self.oldest),
            "newest": file(&self.newest),
            "in_flight": index.open().count(),
            "in_flight_files": open.collect::<Vec<_>>(),
            "consumers": self.consumers.iter().map(consumer_json).collect::<Vec<_>>(),
            "updated_at": (self.updated_at > UnixMillis(0)).then(|| self.updated_at.rfc3339()),
            "segments": segments,
            "segment_bytes": segment_bytes,
            "snapshots": snapshots,
            "snapshot_bytes": snapshot_bytes,
        });
        if let Some(settings) = settings {
            let Settings { input, warehouse, manifests, .. } = &**settings;
            add_exact(&mut told, &[("input", input), ("warehouse", warehouse), ("manifests", manifests)]);
        }
        told
    }

    fn text(&self, report: &JournalReport) -> Vec<String> {
        let index = &report.index;
        let running = self.pid.map_or("no".to_owned(), |pid| format!("yes (pid {pid})"));
        let mut lines = vec![format!("running:     {running}")];
        if let Some(settings) = index.settings() {
            lines.push(format!("input:       {}", path_text(&settings.input)));
            lines.push(format!("warehouse:   {}", path_text(&settings.warehouse)));
            lines.push(format!("manifests:   {}", path_text(&settings.manifests)));
        }
        lines.push(format!("identity:    {}", index.identity().unwrap_or_default().same_by.text()));
        lines.push(format!("remembered:  {} files, {} bytes", self.files, self.bytes));
        for (what, entry) in [("oldest", &self.oldest), ("newest", &self.newest)] {
            if let Some(entry) = entry {
                let place = entry.warehouse_path.as_deref().map(path_text).unwrap_or_default();
                lines.push(format!("{:<12} {} {place}", format!("{what}:"), entry.created_at.rfc3339()));
            }
        }
        lines.extend(FileState::ALL.iter().map(|each| format!("{:<18} {}", each.text(), index.count(*each))));
        lines.push(format!("kept duplicates in staging: {}", index.kept().count()));
        lines.extend(self.consumers.iter().map(consumer_text));
        let Disk { segments, segment_bytes, snapshots, snapshot_bytes } = self.disk;
        let journal =
            format!("{segments} segments, {segment_bytes} bytes; {snapshots} snapshots, {snapshot_bytes} bytes");
        lines.push(format!("journal:     {journal}"));
        let open = index.open().count();
        lines.push(format!("in flight:   {open}"));
        lines.extend(index.open().take(IN_FLIGHT_LINES_MAX).map(|ingest| {
            let (id, path, since) = (ingest.id, path_text(&ingest.source_path), ingest.discovered_at.rfc3339());
            format!("  {id:>8} {:17} {since} {path}", ingest.state.text())
        }));
        if open > IN_FLIGHT_LINES_MAX {
            lines.push(format!("  and {} more: csv-ingestor journal inspect", open - IN_FLIGHT_LINES_MAX));
        }
        lines
    }
}
