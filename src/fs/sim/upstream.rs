//! The other programs on the machine: upstreams that write files, operators who move them, and tests that read them.
//!
//! Invariants: nothing here counts as an operation, meets a fault or calls the hook; every change here is unsynced
//! until [`Upstream::sync`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine::{SimFs, Upstream, machine};
use super::node::{Change, Meta};
use super::state::{Place, State};
use super::units::{NS_PER_MS, errno, millis, nanos};
use crate::fs::Syscall;
use crate::fs::{Error, FileKind, Result, Stat};
use crate::types::{FileTime, UnixMillis};

/// The pid of the locks of other programs.
const STRANGERS_PID: u32 = 99;

/// A file that an upstream has open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WriterId(u64);

/// The file at a path, created if it does not exist.
fn open_or_make(state: &mut State, path: &Path) -> io::Result<Place> {
    match state.walk(path, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(state, path, FileKind::Regular, 0o644),
        Ok(place) if state.node(place)?.kind == FileKind::Directory => Err(errno(libc::EISDIR)),
        Ok(place) if state.node(place)?.kind != FileKind::Regular => Err(errno(libc::ENXIO)),
        result => result,
    }
}

fn make(state: &mut State, path: &Path, kind: FileKind, mode: u32) -> io::Result<Place> {
    let (dir, name) = state.parent(path)?;
    let meta = state.new_meta(mode);
    let node = state.device(dir).make(dir.node, name, kind, meta)?;
    Ok(Place { node, ..dir })
}

fn rename(state: &mut State, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    let (source, from_name) = state.parent(from)?;
    let (target, to_name) = state.parent(to)?;
    state.check_not_mount(source, from_name)?;
    if source.device != target.device {
        return Err(errno(libc::EXDEV));
    }
    let now = state.stamp();
    state.device(source).rename((source.node, from_name), (target.node, to_name), replace, now)
}

/// The content of an inode as programs see it.
fn content(state: &State, place: Place) -> io::Result<Vec<u8>> {
    let node = state.node(place)?;
    let mut bytes = vec![0; usize::try_from(node.size).map_err(|_| errno(libc::EFBIG))?];
    node.read(0, &mut bytes);
    Ok(bytes)
}

/// Adds every file below a directory to `found`, with its path.
fn gather(state: &State, dir: Place, path: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) -> io::Result<()> {
    for name in state.node(dir)?.entries.seen.keys() {
        let Some(place) = state.child(dir, name)? else { continue };
        let path = path.join(&**name);
        match state.node(place)?.kind {
            FileKind::Directory => gather(state, place, &path, found)?,
            FileKind::Symlink => {
                // A power cut may have taken what a link leads to.
                let Ok(target) = state.walk(&path, true) else { continue };
                if state.node(target)?.kind != FileKind::Directory {
                    found.push((path, content(state, target)?));
                }
            }
            _ => found.push((path, content(state, place)?)),
        }
    }
    Ok(())
}

impl<'a> Upstream<'a> {
    fn run<R>(
        &mut self,
        op: Syscall,
        path: impl AsRef<Path>,
        body: impl FnOnce(&mut State, &Path) -> io::Result<R>,
    ) -> Result<R> {
        self.look(op, path, |state, path| {
            state.tick();
            body(state, path)
        })
    }

    /// As `run`, but no time passes.
    fn look<R>(
        &mut self,
        op: Syscall,
        path: impl AsRef<Path>,
        body: impl FnOnce(&mut State, &Path) -> io::Result<R>,
    ) -> Result<R> {
        let path = path.as_ref();
        self.with(|state| body(state, path)).map_err(|source| Error { op, path: path.to_path_buf(), source })
    }

    /// Writes a whole file: creates or truncates it, writes, closes. Like every write here it waits for a lease.
    pub fn write(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        self.run(Syscall::Upstream("upstream write"), path, |state, path| {
            let place = open_or_make(state, path)?;
            // Even if the file is empty: writes that wait for a lease may come first.
            state.change(place, Change::Length(0))?;
            state.change(place, Change::At(0, bytes.into()))
        })
    }

    /// Appends to a file, which is created if it does not exist.
    pub fn append(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        self.run(Syscall::Upstream("upstream append"), path, |state, path| {
            let place = open_or_make(state, path)?;
            state.change(place, Change::Append(bytes.into()))
        })
    }

    /// Writes at an offset, which may be beyond the end.
    pub fn write_at(&mut self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) -> Result<()> {
        self.run(Syscall::Upstream("upstream write"), path, |state, path| {
            let place = open_or_make(state, path)?;
            state.change(place, Change::At(offset, bytes.into()))
        })
    }

    /// Shortens a file or extends it with zeros (a writer that preallocates).
    pub fn truncate(&mut self, path: impl AsRef<Path>, len: u64) -> Result<()> {
        self.run(Syscall::Upstream("upstream truncate"), path, |state, path| {
            let place = open_or_make(state, path)?;
            state.change(place, Change::Length(len))
        })
    }

    /// Opens a file for writing without truncating it; creates it if it does not exist. While it is open no lease on it
    /// is granted. A lease that is held starts to break.
    pub fn open_writer(&mut self, path: impl AsRef<Path>) -> Result<WriterId> {
        self.run(Syscall::Upstream("upstream open"), path, |state, path| {
            let place = open_or_make(state, path)?;
            state.open_writer(place).map(WriterId)
        })
    }

    /// Appends to an open file, whatever its name is by now. While a lease is held, the write waits for its release.
    pub fn write_via(&mut self, writer: WriterId, bytes: &[u8]) -> Result<()> {
        self.run(Syscall::Upstream("upstream write"), "", |state, _| {
            let place = state.writer(writer.0)?;
            state.change(place, Change::Append(bytes.into()))
        })
    }

    /// Closes an open file; does nothing if a crash has closed it.
    pub fn close_writer(&mut self, writer: WriterId) {
        self.with(|state| state.close_writer(writer.0));
    }

    /// Renames, but replaces nothing.
    pub fn rename(&mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream rename"), from, |state, from| rename(state, from, to.as_ref(), false))
    }

    /// Renames over whatever has the new name.
    pub fn replace(&mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream rename"), from, |state, from| rename(state, from, to.as_ref(), true))
    }

    /// Removes a name, or an empty directory.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream remove"), path, |state, path| {
            let (dir, name) = state.parent(path)?;
            state.check_not_mount(dir, name)?;
            let now = state.stamp();
            state.device(dir).remove(dir.node, name, now)
        })
    }

    /// Gives a file a second name.
    pub fn link(&mut self, existing: impl AsRef<Path>, new: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream link"), existing, |state, existing| {
            let place = state.walk(existing, false)?;
            let (dir, name) = state.parent(new.as_ref())?;
            if place.device != dir.device {
                return Err(errno(libc::EXDEV));
            }
            let now = state.stamp();
            state.device(dir).link(place.node, dir.node, name, now)
        })
    }

    /// Makes a symbolic link.
    pub fn symlink(&mut self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream symlink"), path, |state, path| {
            let place = make(state, path, FileKind::Symlink, 0o777)?;
            state.device(place).node_mut(place.node)?.target = Some(target.as_ref().into());
            Ok(())
        })
    }

    /// Makes a FIFO.
    pub fn fifo(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream mkfifo"), path, |state, path| {
            make(state, path, FileKind::Special, 0o644).map(drop)
        })
    }

    /// Makes a directory.
    pub fn mkdir(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream mkdir"), path, |state, path| {
            make(state, path, FileKind::Directory, 0o755).map(drop)
        })
    }

    /// Makes a directory and its missing parents.
    pub fn mkdir_all(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream mkdir"), path, |state, path| {
            let mut missing: Vec<&Path> = path.ancestors().collect();
            missing.retain(|ancestor| state.walk(ancestor, true).is_err());
            missing.iter().rev().try_for_each(|path| make(state, path, FileKind::Directory, 0o755).map(drop))
        })
    }

    fn set_meta(&mut self, path: &Path, change: impl FnOnce(&mut Meta)) -> Result<()> {
        self.run(Syscall::Upstream("upstream setattr"), path, |state, path| {
            let place = state.walk(path, true)?;
            let mut meta = Meta { ctime: state.stamp(), ..state.node(place)?.meta };
            change(&mut meta);
            state.device(place).node_mut(place.node)?.set_meta(meta);
            Ok(())
        })
    }

    /// Sets the mtime, as `touch -d`, `cp -p` and `rsync -t` do.
    pub fn set_mtime(&mut self, path: impl AsRef<Path>, mtime: FileTime) -> Result<()> {
        self.set_meta(path.as_ref(), |meta| meta.mtime = mtime)
    }

    /// Sets the permission bits; they are kept and shown, not obeyed.
    pub fn set_mode(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.set_meta(path.as_ref(), |meta| meta.mode = mode & 0o7777)
    }

    /// Sets whether opening fails with EACCES. Survives everything.
    pub fn set_unreadable(&mut self, path: impl AsRef<Path>, unreadable: bool) -> Result<()> {
        self.run(Syscall::Upstream("upstream chmod"), path, |state, path| {
            let place = state.walk(path, true)?;
            state.device(place).node_mut(place.node)?.unreadable = unreadable;
            Ok(())
        })
    }

    /// The content that programs see.
    pub fn read(&mut self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        self.look(Syscall::Upstream("upstream read"), path, |state, path| content(state, state.walk(path, true)?))
    }

    /// Every file below a directory as programs see it, with its content; the target of a link has the link's path,
    /// and links to directories, or to nothing, are left out.
    pub fn files(&mut self, dir: impl AsRef<Path>) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        self.look(Syscall::Upstream("upstream find"), dir, |state, path| {
            let mut found = Vec::new();
            gather(state, state.walk(path, true)?, path, &mut found)?;
            Ok(found)
        })
    }

    /// The names in a directory as programs see it, sorted.
    pub fn list(&mut self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        self.look(Syscall::Upstream("upstream list"), path, |state, path| {
            let node = state.node(state.walk(path, true)?)?;
            if node.kind != FileKind::Directory {
                return Err(errno(libc::ENOTDIR));
            }
            Ok(node.entries.seen.keys().map(|name| OsStr::to_os_string(name)).collect())
        })
    }

    /// The metadata of a name; links are not followed.
    pub fn stat(&mut self, path: impl AsRef<Path>) -> Result<Stat> {
        self.look(Syscall::Upstream("upstream stat"), path, |state, path| state.stat(state.walk(path, false)?))
    }

    /// True if the name exists.
    pub fn exists(&mut self, path: impl AsRef<Path>) -> bool {
        self.stat(path).is_ok()
    }

    /// sync(2): everything is durable.
    pub fn sync(&mut self) {
        self.with(|state| state.devices.iter_mut().for_each(|device| device.sync_fs()));
    }

    /// fsync(2) of one file and of its name, as a careful upstream does; of the other names in its directory only those
    /// for which the name waits become durable.
    pub fn sync_path(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream fsync"), path, |state, path| {
            let place = state.walk(path, false)?;
            let (dir, name) = state.parent(path)?;
            state.device(place).node_mut(place.node)?.sync_all();
            state.device(dir).sync_name(dir.node, name);
            Ok(())
        })
    }

    /// flock(2) of a file or directory, exclusive, until `unlock_all`; does nothing if it is locked already.
    pub fn lock(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.run(Syscall::Upstream("upstream flock"), path, |state, path| {
            let place = state.walk(path, true)?;
            state.lock_by_stranger(place, STRANGERS_PID);
            Ok(())
        })
    }

    /// True if a process holds an flock on it.
    pub fn is_locked(&mut self, path: impl AsRef<Path>) -> bool {
        let identity = self.stat(path).map(|stat| stat.identity);
        self.with(|state| identity.is_ok_and(|identity| state.lock_holder(&identity).is_some()))
    }

    /// Releases everything that `lock` has locked.
    pub fn unlock_all(&mut self) {
        self.with(|state| state.unlock_strangers());
    }

    /// True if a write to the file waits for a lease.
    pub fn waits(&mut self, path: impl AsRef<Path>) -> bool {
        let waits = |state: &mut State, path: &Path| Ok(!state.node(state.walk(path, true)?)?.blocked.is_empty());
        self.look(Syscall::Upstream("upstream stat"), path, waits).unwrap_or(false)
    }

    /// True if a device has aborted, so that nothing can be written to it.
    pub fn is_aborted(&mut self) -> bool {
        self.with(|state| state.devices.iter().any(|device| device.aborted))
    }

    /// `echo 3 > /proc/sys/vm/drop_caches`: drops every clean page.
    pub fn drop_caches(&mut self) {
        self.with(|state| state.devices.iter_mut().for_each(|device| device.drop_caches()));
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.with(|state| state.advance(nanos(time)));
    }

    /// Sets the wall clock, which may go backwards; no time passes.
    pub fn set_clock(&mut self, now: UnixMillis) {
        self.with(|state| state.set_clock(now.0.saturating_mul(NS_PER_MS)));
    }

    /// The wall clock.
    pub fn now(&mut self) -> UnixMillis {
        self.with(|state| millis(state.clock_ns()))
    }

    /// [`SimFs::fork`]; in a hook, of the machine just before the operation.
    pub fn fork(&mut self) -> SimFs {
        machine(self.with(|state| state.clone()))
    }
}
