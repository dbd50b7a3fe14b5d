//! Reads manifests, line by line.
//!
//! Invariants:
//! - It only reads, and takes no lock: a last line without its end may be one that is being written.
//! - Anything with a manifest's name that is not a regular file is not opened.
//! - No line longer than [`LINE_BYTES_MAX`] is held in memory.
//! - Text that is not a line of an ingestor is reported with its file and number; it never ends the reading.
//! - Unknown keys are accepted: newer versions may add some.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::group::ListedGroup;
use super::line::{LINE_BYTES_MAX, MANIFEST_NAME, hour_dir};
use super::number::number_of;
use crate::fs::Syscall;
use crate::fs::{self, FileKind, Fs, Open};
use crate::journal::format::PATH_BYTES_MAX;
use crate::journal::from_hex;
use crate::types::{IngestId, Key, Sha256, UnixMillis};

/// Bytes read at once: more than the longest line.
const WINDOW_BYTES: usize = 4 * LINE_BYTES_MAX;

/// The content of a manifest line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where the file was found.
    pub source_path: PathBuf,
    /// How many directories below staging that is.
    pub levels: usize,
    /// Its name, if that is part of its identity: the end of that path.
    pub name: Option<OsString>,
    /// The SHA-256 of its content.
    pub sha256: Sha256,
    /// `st_dev` of the staged file.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch.
    pub mtime_sec: i64,
    /// Its path in the warehouse.
    pub warehouse_path: PathBuf,
    /// Unique within one journal.
    pub ingest_id: IngestId,
    /// The journal's UUID; lines of older versions do not have it.
    pub journal: Option<[u8; 16]>,
    /// The line's number, unique within one journal; lines of older versions and those in a lake's shard may lack it.
    pub seq: Option<u64>,
    /// When it was found complete.
    pub ingested_at: UnixMillis,
}

impl Listed {
    /// The staging directory from which the file came.
    pub fn input(&self) -> Option<&Path> {
        self.source_path.ancestors().nth(self.levels.saturating_add(1))
    }

    /// The file's key.
    pub fn key(&self) -> Key {
        Key::of(self.name.as_deref(), &self.sha256)
    }
}

/// The keys of a line.
#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    path_base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subdir: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name_base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sha256: Cow<'a, str>,
    device: u64,
    inode: u64,
    size: u64,
    mtime: i64,
    #[serde(borrow)]
    warehouse_path: Cow<'a, str>,
    #[serde(borrow)]
    warehouse_path_base64: Option<Cow<'a, str>>,
    ingest_id: u64,
    #[serde(borrow)]
    journal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ingested_at: Cow<'a, str>,
}

/// Reads one line, without its newline.
///
/// # Errors
/// The reason why it is not a line of an ingestor.
pub fn parse(line: &[u8]) -> Result<Listed, String> {
    if line.contains(&0) {
        return Err("it holds zeros, as a power cut leaves them".to_owned());
    }
    // The deserializer would accept an array of the values in order.
    if line.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err("it is not a JSON object".to_owned());
    }
    let keys: Keys<'_> = serde_json::from_slice(line).map_err(|error| {
        // A reader would take the parser's "line 1" for the manifest's.
        let place = format!(" at line {} column {}", error.line(), error.column());
        format!("{} (at its byte {})", error.to_string().trim_end_matches(&place), error.column())
    })?;
    let sha256 = Sha256::from_hex(keys.sha256.as_bytes()).ok_or("sha256 is not 64 hex digits")?;
    let journal =
        keys.journal.as_deref().map(|text| from_hex(text).ok_or("journal is not 32 hex digits")).transpose()?;
    let at = humantime::parse_rfc3339(&keys.ingested_at).map_err(|error| format!("ingested_at: {error}"))?;
    let source_path = exact_path("path", &keys.path, keys.path_base64.as_deref())?;
    let name = keys.name.map(|name| exact_bytes("name", &name, keys.name_base64.as_deref())).transpose()?;
    let is_its_end = |name: &Vec<u8>| {
        let above = source_path.as_os_str().as_bytes().strip_suffix(&name[..]);
        !name.is_empty() && above.is_some_and(|above| above.ends_with(b"/"))
    };
    if !name.as_ref().is_none_or(is_its_end) {
        return Err("name is not the end of path".to_owned());
    }
    Ok(Listed {
        levels: keys.subdir.map_or(0, |subdir| Path::new(&*subdir).iter().count()),
        source_path,
        name: name.map(OsString::from_vec),
        sha256,
        device: keys.device,
        inode: keys.inode,
        size: keys.size,
        mtime_sec: keys.mtime,
        warehouse_path: exact_path("warehouse_path", &keys.warehouse_path, keys.warehouse_path_base64.as_deref())?,
        ingest_id: IngestId(keys.ingest_id),
        journal,
        seq: number_of(line).map(|(_, seq)| seq),
        ingested_at: UnixMillis::from_system_time(at),
    })
}

fn exact_bytes(key: &str, text: &str, base64: Option<&str>) -> Result<Vec<u8>, String> {
    match base64 {
        Some(exact) => BASE64.decode(exact).map_err(|error| format!("{key}_base64: {error}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}

fn exact_path(key: &str, text: &str, base64: Option<&str>) -> Result<PathBuf, String> {
    let path = PathBuf::from(OsString::from_vec(exact_bytes(key, text, base64)?));
    if !path.is_absolute() || path.file_name().is_none() || path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(format!("{key} is not an absolute path of at most {PATH_BYTES_MAX} bytes"));
    }
    Ok(path)
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is not a regular file, and was not opened.
    #[error("{} is {}, not a regular file", path.display(), kind_text(*.kind))]
    Irregular {
        /// The manifest's path.
        path: PathBuf,
        /// The kind of file that it is.
        kind: FileKind,
    },
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] fs::Error),
}

impl Error {
    /// True if the name does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io(error) if error.is_not_found())
    }
}

fn kind_text(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "a regular file",
        FileKind::Directory => "a directory",
        FileKind::Symlink => "a symbolic link",
        FileKind::Special => "a pipe, socket or device",
    }
}

/// The text between two newlines of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// A line with its newline (which is left out here).
    Whole(&'a [u8]),
    /// Longer than any line of an ingestor; it was skipped.
    TooLong,
    /// The text after the last newline: torn by a crash, or being written.
    Unfinished(&'a [u8]),
}

/// A line and its position.
#[derive(Debug)]
pub struct Line<'a> {
    /// Where it begins.
    pub offset: u64,
    /// Counted from 1, among the lines that were read.
    pub number: u64,
    /// Its text.
    pub text: Text<'a>,
}

impl Line<'_> {
    /// The parsed line, or the reason why it is not a line of an ingestor.
    pub fn parse(&self) -> Result<Listed, String> {
        match self.text {
            Text::Whole(line) => parse(line),
            Text::TooLong => Err(format!("it is longer than {LINE_BYTES_MAX} bytes")),
            Text::Unfinished(_) => Err("it has no end".to_owned()),
        }
    }
}

/// Reads the lines of one manifest.
pub struct Lines<F: Fs> {
    fs: F,
    file: F::File,
    window: Vec<u8>,
    /// Offset of the window's first byte in the file.
    base: u64,
    /// The bytes in the window that are still to be handed out.
    begin: usize,
    end: usize,
    number: u64,
    lines_end: u64,
}

impl<F: Fs> Lines<F> {
    /// Opens a manifest for reading from the line that begins at `offset`.
    ///
    /// # Errors
    /// It is not a regular file, or an I/O error.
    pub fn open(fs: &F, manifest: &Path, offset: u64) -> Result<Lines<F>, Error> {
        let file = open(fs, manifest)?;
        let (fs, window) = (fs.clone(), vec![0; WINDOW_BYTES]);
        Ok(Lines { fs, file, window, base: offset, begin: 0, end: 0, number: 0, lines_end: offset })
    }

    /// Opens a manifest for reading from the first line that begins in its last `bytes`.
    ///
    /// # Errors
    /// It is not a regular file, or an I/O error.
    pub fn open_tail(fs: &F, manifest: &Path, bytes: u64) -> Result<Lines<F>, Error> {
        let mut lines = Lines::open(fs, manifest, 0)?;
        let len = fs.stat_file(&lines.file)?.identity.size;
        if len > bytes {
            // One byte earlier: then the first line, which is skipped, is the end of a line, if only its newline.
            (lines.base, lines.lines_end) = (len - bytes - 1, len - bytes - 1);
            lines.next_line()?;
            lines.number = 0;
        }
        Ok(lines)
    }

    /// The end of the last line that was read and has its newline.
    pub fn lines_end(&self) -> u64 {
        self.lines_end
    }

    /// The next line; None at the end of the file.
    pub fn next_line(&mut self) -> fs::Result<Option<Line<'_>>> {
        let mut searched = 0;
        loop {
            let pending = &self.window[self.begin + searched..self.end];
            if let Some(at) = pending.iter().position(|byte| *byte == b'\n') {
                let (from, to) = (self.begin, self.begin + searched + at);
                return Ok(Some(self.hand_out(from, to, to + 1)));
            }
            searched = self.end - self.begin;
            if searched > LINE_BYTES_MAX {
                return self.pass_over().map(Some);
            }
            if self.fill()? == 0 {
                let (from, to) = (self.begin, self.end);
                if from == to {
                    return Ok(None);
                }
                let offset = self.base + from as u64;
                (self.begin, self.number) = (to, self.number + 1);
                let text = Text::Unfinished(&self.window[from..to]);
                return Ok(Some(Line { offset, number: self.number, text }));
            }
        }
    }

    fn hand_out(&mut self, from: usize, to: usize, next: usize) -> Line<'_> {
        (self.begin, self.number) = (next, self.number + 1);
        self.lines_end = self.base + next as u64;
        let text = match &self.window[from..to] {
            line if line.len() > LINE_BYTES_MAX => Text::TooLong,
            line => Text::Whole(line),
        };
        Line { offset: self.base + from as u64, number: self.number, text }
    }

    /// Skips the rest of a line that is longer than any line of an ingestor.
    fn pass_over(&mut self) -> fs::Result<Line<'static>> {
        let offset = self.base + self.begin as u64;
        self.number += 1;
        loop {
            let newline = self.window[self.begin..self.end].iter().position(|byte| *byte == b'\n');
            self.begin = newline.map_or(self.end, |at| self.begin + at + 1);
            if newline.is_some() {
                self.lines_end = self.base + self.begin as u64;
            }
            if newline.is_some() || self.fill()? == 0 {
                return Ok(Line { offset, number: self.number, text: Text::TooLong });
            }
        }
    }

    /// Reads more bytes after those still to be handed out; 0 at the end of the file.
    fn fill(&mut self) -> fs::Result<usize> {
        self.window.copy_within(self.begin..self.end, 0);
        self.base += self.begin as u64;
        (self.begin, self.end) = (0, self.end - self.begin);
        let read = self.fs.read_at(&self.file, &mut self.window[self.end..], self.base + self.end as u64)?;
        self.end += read;
        Ok(read)
    }
}

/// Opens a manifest for reading.
///
/// # Errors
/// It is not a regular file, or an I/O error.
pub(crate) fn open<F: Fs>(fs: &F, manifest: &Path) -> Result<F::File, Error> {
    let (Some(dir), Some(name)) = (manifest.parent(), manifest.file_name()) else {
        let source = std::io::ErrorKind::InvalidInput.into();
        return Err(fs::Error { op: Syscall::Open, path: manifest.to_path_buf(), source }.into());
    };
    let dir = fs.open_dir(dir)?;
    let unless_irregular = |kind: FileKind| match kind {
        FileKind::Regular => Ok(()),
        kind => Err(Error::Irregular { path: manifest.to_path_buf(), kind }),
    };
    // Check first: opening a pipe would release a process that waits at its other end, and opening a device may do
    // anything.
    if let Some(stat) = fs.stat(&dir, name)? {
        unless_irregular(stat.kind)?;
    }
    let file = fs.open(&dir, name, Open::Read)?;
    unless_irregular(fs.stat_file(&file)?.kind)?;
    Ok(file)
}

/// Where a line was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace {
    /// The manifest.
    pub manifest: PathBuf,
    /// From 1.
    pub number: u64,
}

/// A line that was looked for.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub place: LinePlace,
    /// What it says.
    pub listed: Listed,
    /// The group file that has named its file.
    pub group: Option<String>,
}

/// The lines with this ingest id in the manifest of the hour of `at`: normally one; several where several ingestors share
/// the manifests.
pub fn find<F: Fs>(fs: &F, root: &Path, at: UnixMillis, id: IngestId) -> Result<Vec<Found>, Error> {
    let manifest = hour_dir(root, at).join(MANIFEST_NAME);
    let mut lines = match Lines::open(fs, &manifest, 0) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        lines => lines?,
    };
    let mut found = Vec::new();
    while let Some(line) = lines.next_line()? {
        let Some(listed) = line.parse().ok().filter(|listed| listed.ingest_id == id) else { continue };
        let group = match line.text {
            Text::Whole(text) => ListedGroup::of(text).map(|group| group.name),
            _ => None,
        };
        found.push(Found { place: LinePlace { manifest: manifest.clone(), number: line.number }, listed, group });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    const LINE: &str = r#"{"path":"/in/a.csv","sha256":"06bf5c5a6bb108c7d25502b37ebf56d904f7438f0d36d45edf4cf126c9e4a715","device":65024,"inode":7,"size":46,"mtime":-5,"warehouse_path":"/wh/ingest_date=2026-11-23/a.csv","ingest_id":6,"ingested_at":"2026-11-23T20:02:42.965Z"}"#;
    const MANIFEST: &str = "/mf/2026/11/23/20/manifest.jsonl";

    fn machine(content: &[u8]) -> SimFs {
        let fs = SimFs::new(1);
        fs.upstream().mkdir_all("/mf/2026/11/23/20").unwrap();
        fs.upstream().write(MANIFEST, content).unwrap();
        fs
    }

    #[test]
    fn a_line_is_read_whatever_else_it_says() {
        let listed = parse(LINE.as_bytes()).unwrap();
        assert_eq!((listed.size, listed.mtime_sec, listed.ingest_id), (46, -5, IngestId(6)));
        assert_eq!(listed.ingested_at.rfc3339(), "2026-11-23T20:02:42.965Z");
        let more = LINE.replace("\"device\"", "\"rows\":3,\"header\":[\"a\",{\"b\":null}],\"device\"");
        assert_eq!(parse(more.as_bytes()), Ok(listed.clone()));
        let exact = LINE.replace("\"sha256\"", "\"path_base64\":\"L2luL/8=\",\"sha256\"");
        assert_eq!(parse(exact.as_bytes()).unwrap().source_path.as_os_str().as_encoded_bytes(), b"/in/\xff");
        let named = parse(LINE.replace("\"sha256\"", "\"name\":\"a.csv\",\"sha256\"").as_bytes()).unwrap();
        assert_eq!((named.name.as_deref(), named.sha256), (Some(std::ffi::OsStr::new("a.csv")), listed.sha256));
        assert!(named.key() != listed.key() && listed.key() == listed.sha256.into());
    }

    /// The values of a line, without the keys.
    fn values_alone() -> String {
        let sha256 = "ab".repeat(32);
        format!(r#"["/in/a.csv",null,"{sha256}",1,7,46,-5,"/wh/a.csv",null,6,"2026-11-23T20:02:42.965Z"]"#)
    }

    #[test]
    fn what_is_no_line_is_refused_with_a_reason() {
        for (bad, why) in [
            (String::new(), "EOF"),
            ("{}".to_owned(), "missing field"),
            (LINE.replace("06bf", "06bg"), "sha256"),
            (LINE.replace("\"/in/a.csv\"", "\"a.csv\""), "absolute"),
            (LINE.replace("\"/in/a.csv\"", "7"), "expected"),
            (LINE.replace("2026-11-23T", "2026-13-23T"), "ingested_at"),
            (LINE.replace("\"ingested_at\"", "\"journal\":\"9c1b\",\"ingested_at\""), "journal"),
            (LINE.replace("\"sha256\"", "\"name\":\"b.csv\",\"sha256\""), "name is not the end"),
            (LINE.replace("\"sha256\"", "\"name\":\".csv\",\"sha256\""), "name is not the end"),
            (LINE.replace("46", "\0\0"), "zeros"),
            (LINE[..LINE.len() - 1].to_owned(), "EOF"),
            (format!("{LINE}{LINE}"), "trailing"),
            (values_alone(), "not a JSON object"),
        ] {
            let error = parse(bad.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn lines_are_found_where_they_stand() {
        let long = "x".repeat(WINDOW_BYTES + 5);
        let content = format!("{LINE}\n\n{long}\n{LINE}\n{}", &LINE[..40]);
        let fs = machine(content.as_bytes());
        let mut lines = Lines::open(&fs, Path::new(MANIFEST), 0).unwrap();
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            let kind = match line.text {
                Text::Whole(text) => text.len(),
                Text::TooLong => usize::MAX,
                Text::Unfinished(text) => 1000 + text.len(),
            };
            seen.push((line.number, line.offset as usize, kind));
        }
        let (one, far) = (LINE.len(), LINE.len() + 2 + long.len() + 1);
        let expected =
            [(1, 0, one), (2, one + 1, 0), (3, one + 2, usize::MAX), (4, far, one), (5, far + one + 1, 1040)];
        assert_eq!(seen, expected);
        let mut one_line = Lines::open(&fs, Path::new(MANIFEST), far as u64).unwrap();
        assert_eq!(one_line.next_line().unwrap().unwrap().parse(), parse(LINE.as_bytes()));
    }

    #[test]
    fn a_files_line_is_found_by_its_hour_and_id() {
        let fs = machine(format!("garbage\n{LINE}\n").as_bytes());
        let at = UnixMillis(1_795_464_162_965);
        let found = find(&fs, Path::new("/mf"), at, IngestId(6)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].place.manifest, found[0].place.number), (Path::new(MANIFEST), 2));
        assert!(find(&fs, Path::new("/mf"), at, IngestId(7)).unwrap().is_empty());
        assert!(find(&fs, Path::new("/mf"), UnixMillis(0), IngestId(6)).unwrap().is_empty());
    }
}
