//! The manifest: one line per ingested file, exactly one.
//!
//! Invariants:
//! - A line is a pure function of the journal's records.
//! - Lines are appended under a lock, so that several ingestors may share a manifests directory. It is not on the manifest, which
//!   readers may lock, and it is not held while a full disk is waited for.
//! - A whole line that a reader may have seen is never taken back: what a crash left of a batch is completed in place, and so
//!   is a record that lacks its newline alone; only a last line that is torn and is not ours is cut off. What somebody else
//!   wrote between the lines stays.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::manifest_lock::ManifestLock;
use crate::fs::{self, DIR_MODE, FILE_MODE, Fs, Open};
use crate::journal::hex;
use crate::journal::ingest::Ingest;
use crate::journal::record::Profile;
use crate::types::{Algorithm, IngestId, UnixMillis};

/// The file's name within its hour's directory.
pub const MANIFEST_NAME: &str = "manifest.jsonl";

/// Bytes read at once while a manifest is searched.
const SEARCH_BYTES: usize = 256 << 10;

/// The longest line: two paths of 4,096 bytes, each byte escaped to six, each once more as base64; the names of columns,
/// each byte escaped to six; and the rest.
pub const LINE_BYTES_MAX: usize = 256 << 10;

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    sha256: String,
    device: u64,
    inode: u64,
    size: u64,
    mtime: i64,
    warehouse_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    warehouse_path_base64: Option<String>,
    ingest_id: IngestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<String>,
    ingested_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<Algorithm>,
    #[serde(flatten)]
    profile: Option<ProfileFields<'a>>,
}

/// Of a file that was looked into. Null where it could not be told.
#[derive(Serialize)]
struct ProfileFields<'a> {
    rows: Option<u64>,
    columns: Option<u64>,
    header: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed_line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed_reason: Option<&'a str>,
}

impl<'a> ProfileFields<'a> {
    fn of(profile: &'a Profile) -> ProfileFields<'a> {
        ProfileFields {
            rows: profile.rows,
            columns: profile.columns,
            header: profile.header.as_deref(),
            malformed_line: profile.fault.as_ref().map(|fault| fault.line),
            malformed_reason: profile.fault.as_ref().map(|fault| fault.reason.as_str()),
        }
    }
}

/// A path for JSON: as text, and the exact bytes beside it if it is not UTF-8.
pub fn json_path(path: &Path) -> (std::borrow::Cow<'_, str>, Option<String>) {
    let exact = path.to_str().is_none().then(|| BASE64.encode(path.as_os_str().as_bytes()));
    (path.to_string_lossy(), exact)
}

/// The manifest line of a file that has a target, with its newline. `journal` is the journal's UUID; without it, the line is
/// as versions before 0.2 wrote it.
pub fn line(journal: Option<&[u8; 16]>, ingest: &Ingest, out: &mut Vec<u8>) {
    let Some(target) = &ingest.target else { return };
    let (path, path_base64) = json_path(&ingest.source_path);
    let (warehouse_path, warehouse_path_base64) = json_path(&target.warehouse_path);
    let line = Line {
        path: &path,
        path_base64,
        sha256: target.sha256.hex(),
        device: ingest.identity.device,
        inode: ingest.identity.inode,
        size: ingest.identity.size,
        mtime: ingest.identity.mtime.sec,
        warehouse_path: &warehouse_path,
        warehouse_path_base64,
        ingest_id: ingest.id,
        journal: journal.map(hex),
        ingested_at: ingest.discovered_at.rfc3339(),
        verified_by: target.verified_by,
        profile: ingest.profile().map(ProfileFields::of),
    };
    // Strings and numbers into memory: there is nothing in it that could fail.
    let written = serde_json::to_writer(&mut *out, &line);
    debug_assert!(written.is_ok());
    out.push(b'\n');
}

/// The directory of the hour's manifest.
pub fn hour_dir(root: &Path, instant: UnixMillis) -> PathBuf {
    instant.hour_partition().iter().fold(root.to_path_buf(), |path, part| path.join(part))
}

/// Writes manifests; keeps the current hour's open.
pub struct Manifests<F: Fs> {
    fs: F,
    open: Option<OpenManifest<F>>,
    lock: ManifestLock<F>,
}

struct OpenManifest<F: Fs> {
    path: PathBuf,
    dir: F::Dir,
    file: F::File,
}

impl<F: Fs> Manifests<F> {
    /// Opens nothing yet.
    pub fn new(fs: F) -> Manifests<F> {
        Manifests::stopped_by(fs, Arc::default())
    }

    /// As `new`; to wait for the lock ends when the flag is set.
    pub fn stopped_by(fs: F, stop: Arc<AtomicBool>) -> Manifests<F> {
        Manifests { lock: ManifestLock::new(fs.clone(), stop), fs, open: None }
    }

    /// Does that under the lock.
    fn locked<T>(&mut self, root: &Path, body: impl FnOnce(&mut Self) -> fs::Result<T>) -> fs::Result<T> {
        self.lock.take(root)?;
        let result = body(self);
        // Also if it failed: a full disk is waited for without it.
        let given_up = self.lock.give_up();
        result.and_then(|done| given_up.map(|()| done))
    }

    /// Opens the manifest in `dir`, making it and what is missing of `dir`; their names are durable afterwards. One
    /// that was removed or renamed since it was opened is opened anew.
    fn open(&mut self, root: &Path, dir: &Path) -> fs::Result<&F::File> {
        let name = OsStr::new(MANIFEST_NAME);
        let is_current = match &self.open {
            Some(open) if open.path == dir => {
                let ours = self.fs.stat_file(&open.file)?.identity.key();
                self.fs.stat(&open.dir, name)?.is_some_and(|there| there.identity.key() == ours)
            }
            _ => false,
        };
        let open = match self.open.take().filter(|_| is_current) {
            Some(open) => open,
            None => {
                let handle = fs::open_dir_durable(&self.fs, root, dir, DIR_MODE)?;
                let file = match self.fs.open(&handle, name, Open::Create { mode: FILE_MODE }) {
                    Err(error) if error.is_taken() => self.fs.open(&handle, name, Open::Write)?,
                    created => created?,
                };
                self.fs.sync_dir(&handle)?;
                OpenManifest { path: dir.to_path_buf(), dir: handle, file }
            }
        };
        Ok(&self.open.insert(open).file)
    }

    /// Appends whole lines, durably. A call that failed on a full disk can be repeated with the same lines and the same
    /// `progress`, which says that some of them may be there.
    pub fn append(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>], progress: &mut Progress) -> fs::Result<()> {
        if progress.has_begun {
            // Meanwhile others may have appended, cut off what we had begun, or put another file there: as after a crash.
            return self.ensure(root, dir, lines).map(drop);
        }
        self.locked(root, |this| {
            let fs = this.fs.clone();
            let file = this.open(root, dir)?;
            let start = end_of_lines(&fs, file)?;
            progress.has_begun = true;
            fs::write_all_at(&fs, file, &lines.concat(), start)?;
            fs.sync_data(file)
        })
    }

    /// Which of `lines` stand in the manifest as whole lines.
    pub fn holds(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>]) -> fs::Result<Vec<bool>> {
        let fs = self.fs.clone();
        let file = self.open(root, dir)?;
        Ok(search(&fs, file, lines)?.at.iter().map(Option::is_some).collect())
    }

    /// Sees to it that every one of `lines` stands in the manifest, once, durably; returns how many were missing.
    /// For recovery: `lines` are all that a crash may have left unfinished in this hour, in the order in which they
    /// were written.
    pub fn ensure(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>]) -> fs::Result<usize> {
        self.locked(root, |this| this.ensure_locked(root, dir, lines))
    }

    fn ensure_locked(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>]) -> fs::Result<usize> {
        let fs = self.fs.clone();
        let file = self.open(root, dir)?;
        let found = search(&fs, file, lines)?;
        // What is found may be in the page cache alone, left clean there by a sync that failed; and where others have written
        // to the same page since, the cache could not be emptied of it. Written once more, it is synced below.
        for (line, at) in lines.iter().zip(&found.at) {
            if let Some(at) = at {
                fs::write_all_at(&fs, file, line, *at)?;
            }
        }
        let missing_before = |limit: u64| {
            let missing = lines.iter().zip(&found.at).filter(|(_, at)| at.is_none_or(|at| at >= limit));
            missing.flat_map(|(line, _)| line.iter().copied()).collect::<Vec<u8>>()
        };
        // Behind the last line that is not one of ours to write, only our own batch can stand: as it was left.
        let batch = missing_before(found.others_end);
        if is_torn_from(&fs, file, found.others_end, found.len, &batch)? {
            fs::write_all_at(&fs, file, &batch, found.others_end)?;
        } else {
            // Something else was torn there. Whole lines stay, whatever they are.
            let rest = missing_before(u64::MAX);
            let end = end_last_line(&fs, file, found.lines_end, found.len, lines)?;
            fs::write_all_at(&fs, file, &rest, end)?;
        }
        fs.sync_data(file)?;
        Ok(found.at.iter().filter(|at| at.is_none()).count())
    }
}

/// What is known of an append.
#[derive(Debug, Default)]
pub struct Progress {
    /// Some of it may have been written.
    has_begun: bool,
}

/// The end of the file's last whole line. What another ingestor's crash left behind it is cut off; that one's recovery will
/// write its line anew.
fn end_of_lines<F: Fs>(fs: &F, file: &F::File) -> fs::Result<u64> {
    let len = fs.stat_file(file)?.identity.size;
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(SEARCH_BYTES as u64);
        // The last byte alone first: it is nearly always the newline.
        let start = if end == len { end - 1 } else { start };
        let mut piece = vec![0; (end - start) as usize];
        fs::read_full_at(fs, file, &mut piece, start)?;
        if let Some(newline) = piece.iter().rposition(|byte| *byte == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    end_last_line(fs, file, end, len, &[])
}

/// Sees to it that the file, whose last newline stands before `start`, ends behind a whole line; returns where. A record that
/// lacks nothing but its newline (an editor may save a file so) gets that; it is no torn one, since no beginning of an
/// object is an object. What else stands there is cut off, and so is one of `lines`, which the caller writes.
fn end_last_line<F: Fs>(fs: &F, file: &F::File, start: u64, len: u64, lines: &[Vec<u8>]) -> fs::Result<u64> {
    if start >= len {
        return Ok(start);
    }
    if len - start < LINE_BYTES_MAX as u64 {
        let mut last = vec![0; (len - start) as usize];
        let read = fs::read_full_at(fs, file, &mut last, start)?;
        let is_whole =
            read == last.len() && last.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(&last).is_ok();
        last.push(b'\n');
        if is_whole && !lines.contains(&last) {
            fs::write_all_at(fs, file, b"\n", len)?;
            return Ok(len + 1);
        }
    }
    fs.set_len(file, start)?;
    fs.sync_data(file)?;
    Ok(start)
}

/// What a search through a manifest found.
struct Search {
    /// For each line asked for, where it stands.
    at: Vec<Option<u64>>,
    /// Behind the last whole line that was not asked for.
    others_end: u64,
    /// Behind the last line that has its end, whatever it holds.
    lines_end: u64,
    /// Behind the last byte that was read.
    len: u64,
}

/// Reads the manifest from its beginning to its end. A line that is none (with zeros where a power cut took a sector,
/// or what somebody else wrote) is passed over.
fn search<F: Fs>(fs: &F, file: &F::File, lines: &[Vec<u8>]) -> fs::Result<Search> {
    let wanted: hashbrown::HashMap<&[u8], usize> =
        lines.iter().enumerate().map(|(index, line)| (line.as_slice(), index)).collect();
    let mut search = Search { at: vec![None; lines.len()], others_end: 0, lines_end: 0, len: 0 };
    let mut pending: Vec<u8> = Vec::new();
    let mut piece = vec![0; SEARCH_BYTES];
    let mut offset = 0;
    // Bytes of the line under way that are not kept, and whether they may be an object's.
    let (mut passed_over, mut passed_object) = (0, true);
    loop {
        let read = fs.read_at(file, &mut piece, offset)?;
        if read == 0 {
            // Not what stat said before: somebody who does not ask for the lock may append meanwhile.
            search.len = offset;
            return Ok(search);
        }
        offset += read as u64;
        pending.extend_from_slice(&piece[..read]);
        let mut taken = 0;
        while let Some(length) = pending[taken..].iter().position(|byte| *byte == b'\n') {
            let line = &pending[taken..=taken + length];
            let start = search.lines_end;
            search.lines_end += std::mem::take(&mut passed_over) + length as u64 + 1;
            let is_whole = search.lines_end - start == line.len() as u64;
            let is_object = if is_whole { is_line(line) } else { passed_object && is_end_of_line(line) };
            match wanted.get(line).filter(|_| is_whole) {
                Some(index) => search.at[*index] = Some(start),
                None if is_object => search.others_end = search.lines_end,
                None => {}
            }
            taken += length + 1;
        }
        pending.drain(..taken);
        if pending.len() > LINE_BYTES_MAX {
            // No line of ours: it is passed over, and only its last byte kept, which may be an object's end.
            let passed = pending.len() - 1;
            let begins = if passed_over == 0 { pending.starts_with(b"{") } else { passed_object };
            passed_object = begins && !pending.contains(&0);
            passed_over += passed as u64;
            pending.drain(..passed);
        }
    }
}

/// A line of JSON has no raw zero in it, and is an object.
fn is_line(line: &[u8]) -> bool {
    line.starts_with(b"{") && is_end_of_line(line)
}

fn is_end_of_line(line: &[u8]) -> bool {
    line.ends_with(b"}\n") && !line.contains(&0)
}

/// True if everything from `start` to the file's end is `batch`, as far as it was written: its beginning, perhaps with
/// zeros where sectors are missing.
fn is_torn_from<F: Fs>(fs: &F, file: &F::File, start: u64, len: u64, batch: &[u8]) -> fs::Result<bool> {
    let length = len - start;
    if length > batch.len() as u64 {
        return Ok(false);
    }
    let mut tail = vec![0; length as usize];
    let read = fs::read_full_at(fs, file, &mut tail, start)?;
    Ok(tail[..read].iter().zip(batch).all(|(there, expected)| *there == 0 || there == expected))
}
