//! A store in a directory, for hosts that share a file system: `file:///path`.
//!
//! Invariants:
//! - An object appears whole, with a link from a synced temporary file: link(2) creates a name or fails, so of several
//!   hosts one wins. Nothing is ever written at an object's own name.
//! - What a call has confirmed survives a power cut: contents and names are synced before it returns. So does what a call
//!   has *shown*: a host acts on what it reads, and its acts must not outlive their reason.
//! - Names are opened step by step below the root, and links are not followed.
//! - After an error past the link, the object may be there: [`Kind::MayHaveHappened`].
//! - Callers on many threads do not wait for each other: while one syncs, the others write.
//!
//! The SHA-256 that [`Store::head`] reports is that of the bytes, and [`Store::list_ages`] has the times of the inodes.
//! Temporary files that a dead process has left, and uploads that nobody has touched for as long, are removed before the
//! first write, after [`STORE_LEFTOVER_AGE`]. Whoever only reads leaves the directory as it is.

mod errors;
mod names;
mod uploads;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::Digest as _;

use self::errors::{failed, refused};
use self::names::{random, upload_of};
use super::{Head, Kind, Part, Result, Store, Verb};
use crate::fs::{self, DIR_MODE, FILE_MODE, FileKind, Fs, Open};
use crate::limits::{STORE_CHUNK_BYTES, STORE_LEFTOVER_AGE, STORE_LISTED_MAX};
use crate::types::{FileIdentity, Sha256, UnixMillis};

/// Where temporary files are, below the root.
const TEMPORARY: &str = ".csv-ingestor/tmp";
/// Levels of directories that a listing descends: a partition, and the lake's own, have fewer.
const DEPTH_MAX: usize = 64;

/// A directory as a store.
pub struct DirStore<F: Fs> {
    fs: F,
    root: PathBuf,
    /// The directory of temporary files and of uploads, since the first write.
    temporary: OnceLock<F::Dir>,
    /// Makes names of temporary files this process's own.
    own: String,
    /// How many it has made.
    made: AtomicU64,
}

impl<F: Fs> DirStore<F> {
    /// The store in this directory, which must exist.
    pub fn open(fs: &F, root: &Path) -> fs::Result<DirStore<F>> {
        fs.open_dir(root)?;
        let (temporary, own, made) = (OnceLock::new(), random(fs), AtomicU64::new(0));
        Ok(DirStore { fs: fs.clone(), root: root.to_owned(), temporary, own, made })
    }

    /// The directory of temporary files and of uploads; made and swept before the first write.
    fn temporary(&self) -> fs::Result<&F::Dir> {
        if let Some(known) = self.temporary.get() {
            return Ok(known);
        }
        let made = fs::open_dir_durable(&self.fs, &self.root, &self.root.join(TEMPORARY), DIR_MODE)?;
        // They only take room, so whatever keeps them there is no reason not to begin.
        let _ = self.sweep(&made);
        Ok(self.temporary.get_or_init(|| made))
    }

    /// Removes what nobody can be at work on any more.
    fn sweep(&self, temporary: &F::Dir) -> fs::Result<()> {
        let (now, age) = (self.fs.now(), i64::try_from(STORE_LEFTOVER_AGE.as_millis()).unwrap_or(i64::MAX));
        let mut left = Vec::new();
        for entry in self.fs.list(temporary)? {
            let name = entry?.name;
            let Some(stat) = self.fs.stat(temporary, &name)? else { continue };
            let written = i64::try_from(written(&stat.identity).0).unwrap_or(i64::MAX);
            let since = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub(written);
            left.push((name, since >= age));
        }
        // An upload is as old as what was added last.
        let is_fresh = |upload: &[u8]| {
            left.iter().any(|(name, is_old)| !is_old && upload_of(name.as_encoded_bytes()) == Some(upload))
        };
        for (name, _) in left.iter().filter(|(_, is_old)| *is_old) {
            if upload_of(name.as_encoded_bytes()).is_none_or(|upload| !is_fresh(upload)) {
                self.fs.unlink(temporary, name)?;
            }
        }
        Ok(())
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
        if matches!(verb, Verb::Create | Verb::Complete) {
            match self.fs.create_dir(dir, name, DIR_MODE) {
                Err(error) if !error.is_taken() => return Err(error),
                _ => self.fs.sync_dir(dir)?,
            }
        }
        self.fs.open_subdir(dir, name)
    }

    /// Makes a temporary file with the bytes that `fill` writes, durably, and gives it this name. `fill` returns errors of
    /// its own.
    fn publish(
        &self,
        verb: Verb,
        key: &str,
        place: (&F::Dir, &OsStr),
        fill: &dyn Fn(&F::File) -> Result<()>,
    ) -> Result<()> {
        let fails = |done| move |error: fs::Error| failed(verb, key, done, &error);
        let own = format!("{}-{}", self.own, self.made.fetch_add(1, Ordering::Relaxed));
        let (shelf, own) = (self.temporary().map_err(fails(false))?, OsStr::new(&own));
        let file = self.fs.open(shelf, own, Open::Create { mode: FILE_MODE }).map_err(fails(false))?;
        let written = fill(&file).and_then(|()| self.fs.sync_all(&file).map_err(fails(false)));
        let linked = written.and_then(|()| self.fs.link(shelf, own, place.0, place.1).map_err(fails(false)));
        // What is left here is a leftover and nothing else.
        let _ = self.fs.unlink(shelf, own);
        linked?;
        self.fs.sync_dir(place.0).map_err(fails(true))
    }

    /// The same, with these bytes.
    fn write(&self, verb: Verb, key: &str, place: (&F::Dir, &OsStr), bytes: &[u8]) -> Result<()> {
        self.publish(verb, key, place, &|file| {
            fs::write_all_at(&self.fs, file, bytes, 0).map_err(|error| failed(verb, key, false, &error))
        })
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
        let (dir, name) = self.place(Verb::Create, key)?;
        self.write(Verb::Create, key, (&dir, name), bytes)
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
            let length = (size - offset).min(STORE_CHUNK_BYTES as u64);
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
        keys.truncate(STORE_LISTED_MAX);
        Ok(keys)
    }

    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        let mut aged = Vec::new();
        for key in self.list(prefix, after)? {
            // It was deleted meanwhile, otherwise.
            if let Some(at) = self.written(&key)? {
                aged.push((key, at));
            }
        }
        Ok(aged)
    }

    fn written(&self, key: &str) -> Result<Option<UnixMillis>> {
        let stat = match self.place(Verb::List, key) {
            Ok((dir, name)) => self.fs.stat(&dir, name).map_err(|error| failed(Verb::List, key, true, &error))?,
            Err(error) if error.kind == Kind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(stat.map(|stat| written(&stat.identity)))
    }

    fn begin_upload(&self, key: &str, _sha256: &Sha256) -> Result<String> {
        self.begin(key)
    }

    fn put_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part> {
        if sha2::Sha256::digest(bytes).as_slice() != sha256.0 {
            return refused(Verb::PutPart, key, "the bytes do not have this SHA-256");
        }
        self.add_part(key, upload, number, bytes, sha256)
    }

    fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()> {
        self.put_together(key, upload, parts)
    }

    fn abort(&self, key: &str, upload: &str) -> Result<()> {
        self.end(Verb::Abort, key, upload)
    }

    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>> {
        self.parts(Verb::ListParts, key, upload)
    }
}

/// When the file was made, or changed: nobody but the kernel sets it.
fn written(identity: &FileIdentity) -> UnixMillis {
    let millis = u64::try_from(identity.ctime.sec).unwrap_or(0).saturating_mul(1000);
    UnixMillis(millis + u64::from(identity.ctime.nsec / 1_000_000))
}
