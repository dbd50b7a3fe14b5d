//! A store in a directory, for hosts that share a file system: `file:///path`.
//!
//! Invariants:
//! - An object appears whole, with a link from a synced temporary file: link(2) creates a name or fails, so of several
//!   hosts one wins. Nothing is ever written at an object's own name.
//! - What a call has confirmed survives a power cut: contents and names are synced before it returns. So does what a call
//!   has *shown*: a host acts on what it reads, and its acts must not outlive their reason.
//! - Names are opened step by step below the root, and links are not followed.
//! - After an error past the link, the object may be there: [`Kind::MayHaveHappened`].
//!
//! The SHA-256 that [`Store::head`] reports is that of the bytes. Uploads in parts are not supported yet.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::Digest as _;

use super::{Error, Head, Kind, Part, Result, Store, Verb};
use crate::fs::{self, DIR_MODE, FILE_MODE, FileKind, Fs, Open};
use crate::types::Sha256;

/// Where temporary files are, below the root.
const TEMPORARY: &str = ".csv-ingestor/tmp";
/// Bytes that are read at once to compute a SHA-256.
const CHUNK_BYTES: usize = 256 << 10;
/// Keys in one listing.
const LISTED_MAX: usize = 1000;
/// Levels of directories that a listing descends: a partition, and the lake's own, have fewer.
const DEPTH_MAX: usize = 64;

/// A directory as a store.
pub struct DirStore<F: Fs> {
    fs: F,
    root: PathBuf,
    /// The directory of temporary files, and how many this process has made.
    temporary: Mutex<(F::Dir, u64)>,
    /// Makes names of temporary files this process's own.
    own: String,
}

/// An error of the file system as one of a store. `done`: the effect may be there.
fn failed(verb: Verb, key: &str, done: bool, error: &fs::Error) -> Error {
    let kind = match done {
        true => Kind::MayHaveHappened,
        false if error.is_taken() => Kind::Exists,
        false if error.is_not_found() => Kind::NotFound,
        false if error.is_denied() => Kind::Denied,
        false => Kind::DidNotHappen,
    };
    Error { verb, key: key.to_owned(), kind, detail: error.to_string() }
}

fn refused<T>(verb: Verb, key: &str, why: &str) -> Result<T> {
    Err(Error { verb, key: key.to_owned(), kind: Kind::Refused, detail: why.to_owned() })
}

impl<F: Fs> DirStore<F> {
    /// The store in this directory, which must exist.
    pub fn open(fs: &F, root: &Path) -> fs::Result<DirStore<F>> {
        let temporary = fs::open_dir_durable(fs, root, &root.join(TEMPORARY), DIR_MODE)?;
        let own: String = fs.random().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(DirStore { fs: fs.clone(), root: root.to_owned(), temporary: Mutex::new((temporary, 0)), own })
    }

    /// Opens the directory of a key, and splits off its name.
    fn place<'a>(&self, verb: Verb, key: &'a str) -> Result<(F::Dir, &'a OsStr)> {
        let (dir, name) = key.rsplit_once('/').unwrap_or(("", key));
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !key.split('/').all(is_plain) {
            return refused(verb, key, "no path below the store");
        }
        let mut opened = self.fs.open_dir(&self.root).map_err(|error| failed(verb, key, false, &error))?;
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            opened = self.step(verb, &opened, OsStr::new(part)).map_err(|error| failed(verb, key, false, &error))?;
        }
        Ok((opened, OsStr::new(name)))
    }

    /// Opens a subdirectory. A create makes it if it is missing, and makes sure that its name is durable.
    fn step(&self, verb: Verb, dir: &F::Dir, name: &OsStr) -> fs::Result<F::Dir> {
        if verb == Verb::Create {
            match self.fs.create_dir(dir, name, DIR_MODE) {
                Err(error) if !error.is_taken() => return Err(error),
                _ => self.fs.sync_dir(dir)?,
            }
        }
        self.fs.open_subdir(dir, name)
    }

    /// Writes the bytes to a temporary file, durably, and gives them their name.
    fn write(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let fails = |done| move |error: fs::Error| failed(Verb::Create, key, done, &error);
        let (dir, name) = self.place(Verb::Create, key)?;
        let mut temporary = self.temporary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        temporary.1 += 1;
        let own = format!("{}-{}", self.own, temporary.1);
        let (shelf, own) = (&temporary.0, OsStr::new(&own));
        let file = self.fs.open(shelf, own, Open::Create { mode: FILE_MODE }).map_err(fails(false))?;
        let written = fs::write_all_at(&self.fs, &file, bytes, 0).and_then(|()| self.fs.sync_all(&file));
        let linked = match written {
            Ok(()) => self.fs.link(shelf, own, &dir, name).map_err(fails(false)),
            Err(error) => Err(failed(Verb::Create, key, false, &error)),
        };
        // What is left here is a leftover and nothing else.
        let _ = self.fs.unlink(shelf, own);
        linked?;
        self.fs.sync_dir(&dir).map_err(fails(true))
    }

    /// Opens an object whose name is durable.
    fn object(&self, verb: Verb, key: &str) -> Result<(F::File, u64)> {
        let fails = |error: fs::Error| failed(verb, key, false, &error);
        let (dir, name) = self.place(verb, key)?;
        let file = self.fs.open(&dir, name, Open::Read).map_err(fails)?;
        let stat = self.fs.stat_file(&file).map_err(fails)?;
        if stat.kind != FileKind::Regular {
            return refused(verb, key, "not a regular file");
        }
        self.sync_up(&dir, key).map_err(|error| failed(verb, key, true, &error))?;
        Ok((file, stat.identity.size))
    }

    /// Makes the names on the way to a key durable: another host may have created them a moment ago.
    fn sync_up(&self, dir: &F::Dir, key: &str) -> fs::Result<()> {
        self.fs.sync_dir(dir)?;
        let mut above = self.fs.open_dir(&self.root)?;
        let dirs = key.rsplit_once('/').map_or("", |(dirs, _)| dirs);
        for part in dirs.split('/').filter(|part| !part.is_empty()) {
            self.fs.sync_dir(&above)?;
            above = self.fs.open_subdir(&above, OsStr::new(part))?;
        }
        Ok(())
    }

    fn read(&self, verb: Verb, key: &str, file: &F::File, offset: u64, length: u64) -> Result<Vec<u8>> {
        let Ok(length) = usize::try_from(length) else { return refused(verb, key, "too large") };
        let mut bytes = vec![0; length];
        let read = fs::read_full_at(&self.fs, file, &mut bytes, offset);
        if read.map_err(|error| failed(verb, key, true, &error))? < length {
            return refused(verb, key, "shorter than that");
        }
        Ok(bytes)
    }

    /// Adds the keys below a directory that begin with `prefix`.
    fn walk(&self, dir: &F::Dir, above: &str, prefix: &str, depth: usize, keys: &mut Vec<String>) -> fs::Result<()> {
        for entry in self.fs.list(dir)? {
            let entry = entry?;
            let Some(name) = entry.name.to_str() else { continue };
            let key = format!("{above}{name}");
            let kind = match entry.kind {
                Some(kind) => Some(kind),
                None => self.fs.stat(dir, &entry.name)?.map(|stat| stat.kind),
            };
            let may_hold = prefix.starts_with(&format!("{key}/")) || key.starts_with(prefix);
            match kind {
                Some(FileKind::Regular) if key.starts_with(prefix) => keys.push(key),
                Some(FileKind::Directory) if may_hold && depth < DEPTH_MAX && key != TEMPORARY => {
                    let inner = self.fs.open_subdir(dir, &entry.name)?;
                    self.walk(&inner, &format!("{key}/"), prefix, depth + 1, keys)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl<F: Fs> Store for DirStore<F> {
    fn create(&self, key: &str, bytes: &[u8], _sha256: &Sha256) -> Result<()> {
        self.write(key, bytes)
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        let (file, size) = self.object(Verb::Get, key)?;
        self.read(Verb::Get, key, &file, 0, size)
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let (file, size) = self.object(Verb::Get, key)?;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return refused(Verb::Get, key, "shorter than that");
        }
        self.read(Verb::Get, key, &file, offset, length)
    }

    fn head(&self, key: &str) -> Result<Head> {
        let (file, size) = self.object(Verb::Head, key)?;
        let (mut hasher, mut offset) = (sha2::Sha256::new(), 0);
        while offset < size {
            let length = (size - offset).min(CHUNK_BYTES as u64);
            hasher.update(self.read(Verb::Head, key, &file, offset, length)?);
            offset += length;
        }
        Ok(Head { size, sha256: Some(Sha256(hasher.finalize().into())) })
    }

    fn delete(&self, key: &str) -> Result<()> {
        let (dir, name) = match self.place(Verb::Delete, key) {
            Err(error) if error.kind == Kind::NotFound => return Ok(()),
            place => place?,
        };
        match self.fs.unlink(&dir, name) {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(failed(Verb::Delete, key, false, &error)),
            Ok(()) => self.fs.sync_dir(&dir).map_err(|error| failed(Verb::Delete, key, true, &error)),
        }
    }

    fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let walked = self.fs.open_dir(&self.root).and_then(|root| self.walk(&root, "", prefix, 0, &mut keys));
        walked.map_err(|error| failed(Verb::List, prefix, true, &error))?;
        keys.retain(|key| key.as_str() > after);
        keys.sort_unstable();
        keys.truncate(LISTED_MAX);
        Ok(keys)
    }

    fn begin_upload(&self, key: &str, _sha256: &Sha256) -> Result<String> {
        refused(Verb::BeginUpload, key, NO_PARTS)
    }

    fn put_part(&self, key: &str, _upload: &str, _number: u16, _bytes: &[u8], _sha256: &Sha256) -> Result<Part> {
        refused(Verb::PutPart, key, NO_PARTS)
    }

    fn complete(&self, key: &str, _upload: &str, _parts: &[Part]) -> Result<()> {
        refused(Verb::Complete, key, NO_PARTS)
    }

    fn abort(&self, key: &str, _upload: &str) -> Result<()> {
        refused(Verb::Abort, key, NO_PARTS)
    }

    fn list_parts(&self, key: &str, _upload: &str) -> Result<Vec<Part>> {
        refused(Verb::ListParts, key, NO_PARTS)
    }
}

const NO_PARTS: &str = "a directory takes no uploads in parts";
