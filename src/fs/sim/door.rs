//! The trait [`Fs`] on the simulated machine: the checks of each system call, before it has an effect.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::faults::Op;
use super::machine::{Effect, SimFs};
use super::opens::{open, open_beneath, open_dir, open_dir_at};
use super::state::{Place, State};
use super::units::{UMASK, errno, millis, nanos};
use crate::fs::Syscall;
use crate::fs::{DirEntry, Error, FileKind, Fs, Lease, Open, Result, Stat};
use crate::types::{FileIdentity, FileTime, UnixMillis};

/// An open descriptor; closed when dropped.
struct Descriptor {
    fs: SimFs,
    id: u64,
    path: Arc<Path>,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.fs.close(self.id);
    }
}

/// An open directory.
pub struct SimDir(Descriptor);

/// An open file.
pub struct SimFile(Descriptor);

/// A listing: the content of the directory at the time of the call, in random order.
pub struct SimListing(std::vec::IntoIter<Result<DirEntry>>);

impl Iterator for SimListing {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Result<DirEntry>> {
        self.0.next()
    }
}

/// The length of a transfer: with a short fault at least one byte, but less than `len`.
fn transfer_len(state: &mut State, mode: Effect, len: usize) -> usize {
    if mode == Effect::Short && len > 1 { 1 + state.rng.index(len - 1) } else { len }
}

/// EISDIR or ESPIPE if the inode is not a regular file.
fn check_regular(state: &State, place: Place) -> io::Result<()> {
    match state.node(place)?.kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(errno(libc::EISDIR)),
        FileKind::Symlink | FileKind::Special => Err(errno(libc::ESPIPE)),
    }
}

/// A rename, or the first half of one that consists of a link and an unlink.
fn rename(state: &mut State, from: (Place, &OsStr), to: (Place, &OsStr)) -> io::Result<()> {
    let ((source, from_name), (target, to_name)) = (from, to);
    let now = state.stamp();
    let child = state.child(source, from_name)?.ok_or_else(|| errno(libc::ENOENT))?;
    if !state.behaviour.odd.links {
        state.device(source).rename((source.node, from_name), (target.node, to_name), false, now)?;
    } else if state.node(child)?.kind == FileKind::Directory {
        // Such a file system cannot rename directories: they have no hard links.
        return Err(errno(libc::EINVAL));
    } else if state.child(target, to_name)? != Some(child) {
        state.device(target).link(child.node, target.node, to_name, now)?;
    }
    state.was_renamed(child)
}

fn list(state: &mut State, dir: Place) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for name in state.node(dir)?.entries.seen.clone().keys() {
        let kind = match state.child(dir, name)? {
            Some(place) if state.behaviour.list_kinds => Some(state.node(place)?.kind),
            _ => None,
        };
        entries.push(DirEntry { name: name.to_os_string(), kind });
    }
    // Real directories are hashed: a program that relies on an order must fail.
    for last in (1..entries.len()).rev() {
        entries.swap(last, state.rng.index(last + 1));
    }
    Ok(entries)
}

fn sync_file(state: &mut State, place: Place, mode: Effect, all: bool) -> io::Result<()> {
    if mode == Effect::Lose {
        let mut fate = state.failed_sync_fate();
        state.device(place).node_mut(place.node)?.fail_sync(fate.as_mut());
        return Ok(());
    }
    // Check first: `node_mut` copies the node if a fork shares it.
    if state.node(place)?.is_synced() {
        return Ok(());
    }
    state.device(place).check_writable()?;
    let node = state.device(place).node_mut(place.node)?;
    if all {
        node.sync_all();
    } else {
        node.sync_data();
    }
    Ok(())
}

impl SimFs {
    /// The number of a descriptor; EBADF if it belongs to another machine.
    fn own(&self, descriptor: &Descriptor) -> io::Result<u64> {
        if Arc::ptr_eq(&self.world, &descriptor.fs.world) { Ok(descriptor.id) } else { Err(errno(libc::EBADF)) }
    }

    fn close(&self, id: u64) {
        let mut world = self.world();
        // A dead process closes nothing: kill() or crash() decides what becomes of its descriptors.
        if !world.state.dead || self.is_beside {
            world.state.close(id);
        }
    }

    fn in_dir<R>(
        &self,
        op: Op,
        dir: &SimDir,
        name: Option<&OsStr>,
        body: impl FnOnce(&mut State, Place, Effect) -> io::Result<R>,
    ) -> Result<R> {
        let path = name.map_or_else(|| dir.0.path.to_path_buf(), |name| dir.0.path.join(name));
        let at = path.clone();
        self.run(op, path, |state, mode| {
            let place = state.place(self.own(&dir.0)?)?;
            state.behaviour.odd.check(op, &at)?;
            body(state, place, mode)
        })
    }

    fn move_name(
        &self,
        (from, from_name): (&SimDir, &OsStr),
        (to, to_name): (&SimDir, &OsStr),
        body: impl FnOnce(&mut State, (Place, &OsStr), (Place, &OsStr)) -> io::Result<()>,
    ) -> Result<()> {
        let to_path = to.0.path.join(to_name);
        self.in_dir(Op::Rename, from, Some(from_name), |state, source, _| {
            let target = state.place(self.own(&to.0)?)?;
            state.check_not_mount(source, from_name)?;
            state.behaviour.odd.check(Op::Rename, &to_path)?;
            if source.device != target.device {
                return Err(errno(libc::EXDEV));
            }
            body(state, (source, from_name), (target, to_name))
        })
    }

    fn rename_within(&self, dir: &SimDir, name: &OsStr, target: &OsStr, replaces: bool) -> Result<()> {
        self.move_name((dir, name), (dir, target), |state, (dir, name), (_, target)| {
            let now = state.stamp();
            let child = state.child(dir, name)?.ok_or_else(|| errno(libc::ENOENT))?;
            state.device(dir).rename((dir.node, name), (dir.node, target), replaces, now)?;
            state.was_renamed(child)
        })
    }

    fn on_file<R>(
        &self,
        op: Op,
        file: &SimFile,
        body: impl FnOnce(&mut State, u64, Effect) -> io::Result<R>,
    ) -> Result<R> {
        self.run(op, file.0.path.to_path_buf(), |state, mode| {
            let id = self.own(&file.0)?;
            state.handle(id)?;
            body(state, id, mode)
        })
    }

    /// Wraps the descriptor that an operation opened; if the operation opened one but failed, closes it.
    fn wrap(&self, opened: Result<()>, id: Option<u64>, path: PathBuf) -> Result<Descriptor> {
        let descriptor = id.map(|id| Descriptor { fs: self.clone(), id, path: path.clone().into() });
        opened?;
        descriptor.ok_or_else(|| Error { op: Syscall::Open, path, source: errno(libc::EIO) })
    }
}

impl Fs for SimFs {
    type Dir = SimDir;
    type File = SimFile;
    type Listing = SimListing;

    fn open_dir(&self, path: &Path) -> Result<SimDir> {
        let mut made = None;
        let opened = self.run(Op::OpenDir, path.to_path_buf(), |state, _| {
            made = Some(open_dir(state, path)?);
            Ok(())
        });
        self.wrap(opened, made, path.to_path_buf()).map(SimDir)
    }

    fn open_subdir(&self, dir: &SimDir, name: &OsStr) -> Result<SimDir> {
        let mut made = None;
        let opened = self.in_dir(Op::OpenDir, dir, Some(name), |state, place, _| {
            // A link is not a directory, and is not followed.
            let child = state.child(place, name)?.ok_or_else(|| errno(libc::ENOENT))?;
            made = Some(open_dir_at(state, child)?);
            Ok(())
        });
        self.wrap(opened, made, dir.0.path.join(name)).map(SimDir)
    }

    fn open_beneath(&self, dir: &SimDir, path: &Path, crosses: bool) -> Result<SimDir> {
        let mut made = None;
        let opened = self.in_dir(Op::OpenDir, dir, Some(path.as_os_str()), |state, place, _| {
            made = Some(open_beneath(state, place, path, crosses)?);
            Ok(())
        });
        self.wrap(opened, made, dir.0.path.join(path)).map(SimDir)
    }

    fn dir_path<'a>(&self, dir: &'a SimDir) -> &'a Path {
        &dir.0.path
    }

    fn stat_dir(&self, dir: &SimDir) -> Result<Stat> {
        self.in_dir(Op::StatDir, dir, None, |state, place, _| state.stat(place))
    }

    fn create_dir(&self, parent: &SimDir, name: &OsStr, mode: u32) -> Result<()> {
        self.in_dir(Op::CreateDir, parent, Some(name), |state, place, _| {
            let meta = state.new_meta(mode & 0o7777 & !UMASK);
            state.device(place).make(place.node, name, FileKind::Directory, meta).map(drop)
        })
    }

    fn list(&self, dir: &SimDir) -> Result<SimListing> {
        self.in_dir(Op::List, dir, None, |state, place, mode| {
            let mut entries: Vec<Result<DirEntry>> = list(state, place)?.into_iter().map(Ok).collect();
            if mode == Effect::Short {
                entries.truncate(entries.len() / 2);
                let path = dir.0.path.to_path_buf();
                entries.push(Err(Error { op: Op::List.syscall(), path, source: errno(libc::EIO) }));
            }
            Ok(SimListing(entries.into_iter()))
        })
    }

    fn stat(&self, dir: &SimDir, name: &OsStr) -> Result<Option<Stat>> {
        self.in_dir(Op::Stat, dir, Some(name), |state, place, _| {
            let child = state.child(place, name)?;
            child.map(|place| state.look(place, false)).transpose()
        })
    }

    fn stat_fresh(&self, dir: &SimDir, name: &OsStr) -> Result<Option<Stat>> {
        self.in_dir(Op::Stat, dir, Some(name), |state, place, _| {
            let child = state.child(place, name)?;
            child.map(|place| state.look(place, true)).transpose()
        })
    }

    fn rename(&self, from: &SimDir, from_name: &OsStr, to: &SimDir, to_name: &OsStr) -> Result<()> {
        let mut renamed = self.move_name((from, from_name), (to, to_name), rename);
        if self.renames_by_link(to) && renamed.is_ok() {
            renamed = self.sync_dir(to).and_then(|()| self.unlink(from, from_name));
            // As in the real one: after a failure only the old name exists.
            match &renamed {
                Err(error) if error.is_not_found() => renamed = Ok(()),
                Err(_) => drop(self.unlink(to, to_name)),
                Ok(()) => {}
            }
        }
        // As in the real one: the kernel does not report which of the two names caused the error.
        renamed.map_err(|error| match error.is_taken() || error.is_no_space() {
            true => Error { path: to.0.path.join(to_name), ..error },
            false => error,
        })
    }

    fn renames_by_link(&self, _: &SimDir) -> bool {
        self.world().state.behaviour.odd.links
    }

    fn link(&self, from: &SimDir, from_name: &OsStr, to: &SimDir, to_name: &OsStr) -> Result<()> {
        self.move_name((from, from_name), (to, to_name), rename)
    }

    fn set_aside(&self, dir: &SimDir, name: &OsStr, aside: &OsStr) -> Result<()> {
        self.rename_within(dir, name, aside, false)
    }

    fn replace(&self, dir: &SimDir, name: &OsStr, target: &OsStr) -> Result<()> {
        self.rename_within(dir, name, target, true)
    }

    fn unlink(&self, dir: &SimDir, name: &OsStr) -> Result<()> {
        self.in_dir(Op::Unlink, dir, Some(name), |state, place, _| {
            state.check_not_mount(place, name)?;
            let child = state.child(place, name)?.ok_or_else(|| errno(libc::ENOENT))?;
            if state.node(child)?.kind == FileKind::Directory {
                return Err(errno(libc::EISDIR));
            }
            let now = state.stamp();
            state.device(place).remove(place.node, name, now)
        })
    }

    fn sync_dir(&self, dir: &SimDir) -> Result<()> {
        self.in_dir(Op::SyncDir, dir, None, |state, place, mode| {
            if mode == Effect::Lose {
                state.device(place).fail_sync_dir(place.node);
                return Ok(());
            }
            state.device(place).sync_dir(place.node)
        })
    }

    fn sync_fs(&self, dir: &SimDir) -> Result<()> {
        self.in_dir(Op::SyncFs, dir, None, |state, place, mode| {
            if mode == Effect::Lose {
                let fate = state.failed_sync_fate();
                state.device(place).fail_sync_fs(fate);
            } else {
                state.device(place).check_writable()?;
                state.device(place).sync_fs();
            }
            Ok(())
        })
    }

    fn is_well_known(&self, _: &SimDir) -> bool {
        self.world().state.behaviour.odd == super::Odd::default()
    }

    fn free_bytes(&self, dir: &SimDir) -> Result<u64> {
        self.in_dir(Op::FreeBytes, dir, None, |state, place, _| Ok(state.device(place).free_bytes()))
    }

    fn open(&self, dir: &SimDir, name: &OsStr, how: Open) -> Result<SimFile> {
        let mut made = None;
        let opened = self.in_dir(Op::Open, dir, Some(name), |state, place, _| {
            made = Some(open(state, place, name, how)?);
            Ok(())
        });
        self.wrap(opened, made, dir.0.path.join(name)).map(SimFile)
    }

    fn stat_file(&self, file: &SimFile) -> Result<Stat> {
        self.on_file(Op::StatFile, file, |state, id, _| state.stat(state.place(id)?))
    }

    fn read_at(&self, file: &SimFile, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.on_file(Op::ReadAt, file, |state, id, mode| {
            let place = state.place(id)?;
            check_regular(state, place)?;
            // Less than the rest of the file: otherwise a small file would never be read in pieces into a large buffer.
            let left = usize::try_from(state.node(place)?.size.saturating_sub(offset)).unwrap_or(usize::MAX);
            let len = transfer_len(state, mode, buffer.len().min(left));
            Ok(state.node(place)?.read(offset, &mut buffer[..len]))
        })
    }

    fn write_at(&self, file: &SimFile, bytes: &[u8], offset: u64) -> Result<usize> {
        self.on_file(Op::WriteAt, file, |state, id, mode| {
            let place = state.writable(id)?;
            check_regular(state, place)?;
            let len = transfer_len(state, mode, bytes.len());
            let now = state.stamp();
            state.device(place).write(place.node, offset, &bytes[..len], now)
        })
    }

    fn set_len(&self, file: &SimFile, len: u64) -> Result<()> {
        self.on_file(Op::SetLen, file, |state, id, _| {
            let place = state.writable(id)?;
            check_regular(state, place)?;
            let now = state.stamp();
            state.device(place).set_len(place.node, len, now)
        })
    }

    fn set_meta(&self, file: &SimFile, mode: u32, mtime: FileTime) -> Result<()> {
        self.on_file(Op::SetMeta, file, |state, id, _| {
            let place = state.place(id)?;
            state.device(place).check_writable()?;
            let meta = super::node::Meta { mtime, ..state.new_meta(mode & 0o7777) };
            state.device(place).node_mut(place.node)?.set_meta(meta);
            Ok(())
        })
    }

    fn sync_data(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::SyncData, file, |state, id, mode| sync_file(state, state.place(id)?, mode, false))
    }

    fn sync_all(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::SyncAll, file, |state, id, mode| sync_file(state, state.place(id)?, mode, true))
    }

    fn drop_cache(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::DropCache, file, |state, id, _| {
            let place = state.place(id)?;
            state.device(place).node_mut(place.node)?.drop_cache();
            Ok(())
        })
    }

    fn lease(&self, file: &SimFile) -> Result<Lease> {
        self.on_file(Op::Lease, file, |state, id, _| state.lease(id))
    }

    fn lease_broken(&self, file: &SimFile) -> Result<bool> {
        self.on_file(Op::LeaseBroken, file, |state, id, _| state.lease_broken(id))
    }

    fn try_lock_file(&self, file: &SimFile) -> Result<bool> {
        self.on_file(Op::TryLockFile, file, |state, id, _| state.lock(id))
    }

    fn unlock_file(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::UnlockFile, file, |state, id, _| state.unlock(id))
    }

    fn try_lock_dir(&self, dir: &SimDir) -> Result<bool> {
        self.run(Op::TryLockDir, dir.0.path.to_path_buf(), |state, _| state.mark(self.own(&dir.0)?))
    }

    fn dir_lock_holder(&self, dir: &SimDir) -> Option<u32> {
        self.world().state.marked_by(self.own(&dir.0).ok()?)
    }

    fn lock_holder(&self, identity: &FileIdentity) -> Option<u32> {
        self.world().state.lock_holder(identity)
    }

    fn pause(&self, time: Duration) {
        // A dead process does not wait.
        let _ = self.run(Op::Pause, PathBuf::new(), |state, _| {
            state.set_clock(state.clock_ns().saturating_add(nanos(time)));
            Ok(())
        });
    }

    fn now(&self) -> UnixMillis {
        millis(self.world().state.clock_ns())
    }

    fn steady(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.world().state.steady_ns())
    }

    fn random(&self) -> [u8; 16] {
        let mut world = self.world();
        let (high, low) = (world.state.rng.next(), world.state.rng.next());
        ((u128::from(high) << 64) | u128::from(low)).to_le_bytes()
    }
}
