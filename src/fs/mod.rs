//! The crate's interface to the file system.
//!
//! Invariants:
//! - Everything that staging, warehouse, manifests and journal hold is read and written through [`Fs`]: the simulator
//!   cannot crash an operation that it does not see. Other access to files is in this module only ([`operators`],
//!   [`replace`], [`mounts`], [`notify`], [`inherited`], helpers in [`real`]), and no recovery depends on it.
//! - Names are relative to an open directory, and symbolic links at a name are not followed; only [`Fs::open_dir`]
//!   takes a path.
//! - Every error names the operation and the path.
//! - Only the `sync` methods make anything durable, and each covers exactly what its name says.

pub mod blame;
pub mod host;
pub mod inherited;
mod lease;
mod mark;
pub mod mounts;
pub mod notify;
pub mod operators;
mod owner;
pub mod real;
pub mod replace;
pub mod sim;
mod syscall;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::types::{FileIdentity, FileTime, UnixMillis};
pub use syscall::Syscall;

/// A failed operation on a file.
#[derive(Debug, thiserror::Error)]
#[error("{op} {}: {source}", path.display())]
pub struct Error {
    /// The system call.
    pub op: Syscall,
    /// The path to which it was applied.
    pub path: PathBuf,
    /// The kernel's error.
    pub source: io::Error,
}

/// The mode of directories that other users read or share; umask, default ACL and the parent's setgid bit restrict it.
pub const DIR_MODE: u32 = 0o777;
/// The mode of files in such directories.
pub const FILE_MODE: u32 = 0o666;
/// The mode of directories for this program only.
pub const PRIVATE_MODE: u32 = 0o700;

/// The result of an operation on a file.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The disk is full or the quota is exhausted: waiting may help.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// The name, or a directory in its path, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// The name already exists.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    /// Permission is denied.
    pub fn is_denied(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }

    /// An open failed because of the kind or the permissions of the file: it does not exist, is a link, a FIFO, a
    /// device or a directory, or may not be read.
    pub fn is_not_to_be_read(&self) -> bool {
        let of_the_kind = [libc::ELOOP, libc::ENXIO, libc::ENODEV, libc::EISDIR];
        self.is_not_found()
            || self.is_denied()
            || self.source.raw_os_error().is_some_and(|errno| of_the_kind.contains(&errno))
    }

    /// The path leads to no directory: there is nothing, a link, or another kind of file.
    pub fn is_no_directory(&self) -> bool {
        let errnos = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP];
        self.source.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
    }

    /// The two names are on different mounts.
    pub fn is_cross_device(&self) -> bool {
        self.source.kind() == io::ErrorKind::CrossesDevices
    }
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file: the only type that is opened or moved.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Special,
}

/// The result of `fstatat` for a name; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its identity.
    pub identity: FileIdentity,
    /// Its type.
    pub kind: FileKind,
    /// Number of names of the inode.
    pub links: u64,
    /// Permission bits (`st_mode & 0o7777`).
    pub mode: u32,
    /// When the inode was created, if the file system reports it; only [`Fs::stat`], [`Fs::stat_fresh`] and
    /// [`Fs::stat_dir`] request it.
    pub born: Option<FileTime>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name: any bytes except `/` and NUL.
    pub name: OsString,
    /// None if the file system does not report types in listings.
    pub kind: Option<FileKind>,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading. Never follows a link, never blocks on a FIFO.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; it must not exist. Permission bits before the umask.
    Create {
        /// Permission bits.
        mode: u32,
    },
}

/// The result of requesting a read lease (fcntl(2), `F_SETLEASE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// No process has the file open for writing; one that tries from now on waits until the lease is released.
    Held,
    /// A process has the file open for writing, or mapped writable.
    Writer,
    /// The file system or the process's privileges do not allow leases: whether there is a writer is unknown.
    Unsupported,
}

/// The system calls that make something durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncCall {
    /// fsync(2), of a file or a directory.
    Fsync,
    /// fdatasync(2).
    Fdatasync,
    /// syncfs(2).
    Syncfs,
}

impl SyncCall {
    /// The system call's name.
    pub fn text(self) -> &'static str {
        match self {
            SyncCall::Fsync => "fsync",
            SyncCall::Fdatasync => "fdatasync",
            SyncCall::Syncfs => "syncfs",
        }
    }
}

/// The file system operations that the ingestor needs, and its other inputs from the system: clocks and randomness.
pub trait Fs: Clone + Send + Sync + 'static {
    /// An open directory. It remains the same directory if its path is renamed.
    type Dir: Send + Sync;
    /// An open file. Dropping it closes it and releases its lease and its lock.
    type File: Send + Sync;
    /// An unfinished listing.
    type Listing: Iterator<Item = Result<DirEntry>>;

    /// Opens a directory by path; links in the path are followed, since the operator's paths may contain them.
    fn open_dir(&self, path: &Path) -> Result<Self::Dir>;
    /// openat(2) of a subdirectory with `O_NOFOLLOW`: a directory reached step by step in this way is not reached
    /// through a link.
    fn open_subdir(&self, dir: &Self::Dir, name: &OsStr) -> Result<Self::Dir>;
    /// openat2(2) of a directory below `dir`, by a relative path with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`: it is not
    /// reached through a link, and is below `dir` at that moment. Fails with [`Error::is_cross_device`] if it is on
    /// another mount, unless `crosses`.
    fn open_beneath(&self, dir: &Self::Dir, path: &Path, crosses: bool) -> Result<Self::Dir>;
    /// The path with which `dir` was opened.
    fn dir_path<'a>(&self, dir: &'a Self::Dir) -> &'a Path;
    /// fstat(2) of the open directory.
    fn stat_dir(&self, dir: &Self::Dir) -> Result<Stat>;
    /// mkdirat(2). Not durable until `sync_dir(parent)`.
    fn create_dir(&self, parent: &Self::Dir, name: &OsStr, mode: u32) -> Result<()>;
    /// Every name in the directory except `.` and `..`, in no particular order. Names that appear or disappear
    /// meanwhile may be missed.
    fn list(&self, dir: &Self::Dir) -> Result<Self::Listing>;
    /// statx(2) of the name; None if it does not exist. Links are not followed.
    fn stat(&self, dir: &Self::Dir, name: &OsStr) -> Result<Option<Stat>>;
    /// The same, but never from a cache that may be out of date (`AT_STATX_FORCE_SYNC`): for decisions that cannot be
    /// undone.
    fn stat_fresh(&self, dir: &Self::Dir, name: &OsStr) -> Result<Option<Stat>>;
    /// renameat2(2) with `RENAME_NOREPLACE`, or link(2) and unlink(2) on a file system without it: fails with
    /// [`Error::is_taken`] rather than replace anything. A file that another process puts at the old name between link
    /// and unlink is lost: for names that other programs give, check [`Fs::renames_by_link`].
    fn rename(&self, from: &Self::Dir, from_name: &OsStr, to: &Self::Dir, to_name: &OsStr) -> Result<()>;
    /// True if [`Fs::rename`] in this directory is known to consist of link(2) and unlink(2).
    fn renames_by_link(&self, dir: &Self::Dir) -> bool;
    /// linkat(2). Does nothing if both names already belong to the same file.
    fn link(&self, from: &Self::Dir, from_name: &OsStr, to: &Self::Dir, to_name: &OsStr) -> Result<()>;
    /// renameat(2) within a directory, to a name that no other program gives: for file systems without a rename that
    /// does not replace. Fails with [`Error::is_taken`] if the name exists.
    fn set_aside(&self, dir: &Self::Dir, name: &OsStr, aside: &OsStr) -> Result<()>;
    /// renameat(2) within a directory: replaces what has the name `target`. For small files that only this program
    /// writes, and never for what was ingested.
    fn replace(&self, dir: &Self::Dir, name: &OsStr, target: &OsStr) -> Result<()>;
    /// unlinkat(2) of a file.
    fn unlink(&self, dir: &Self::Dir, name: &OsStr) -> Result<()>;
    /// fsync(2) of the directory: its entries (names created, renamed, removed) are durable afterwards. The files
    /// themselves are not.
    fn sync_dir(&self, dir: &Self::Dir) -> Result<()>;
    /// syncfs(2): everything on the file system that holds `dir` is durable afterwards. Reports write-back errors
    /// since Linux 5.8.
    fn sync_fs(&self, dir: &Self::Dir) -> Result<()>;
    /// True for a file system of the kernel's own on which renames, link counts and inode numbers behave as in the
    /// manual pages. The behaviour of others must be tested.
    fn is_well_known(&self, dir: &Self::Dir) -> bool;
    /// Bytes that an unprivileged user can still write.
    fn free_bytes(&self, dir: &Self::Dir) -> Result<u64>;

    /// openat(2) with `O_NOFOLLOW | O_NONBLOCK`.
    fn open(&self, dir: &Self::Dir, name: &OsStr, how: Open) -> Result<Self::File>;
    /// fstat(2).
    fn stat_file(&self, file: &Self::File) -> Result<Stat>;
    /// pread(2): may be short; 0 at the end of the file.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset: u64) -> Result<usize>;
    /// pwrite(2): may be short.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> Result<usize>;
    /// ftruncate(2).
    fn set_len(&self, file: &Self::File, len: u64) -> Result<()>;
    /// Sets permission bits and mtime (a copy keeps those of its source). Tries both, even if one of them fails.
    fn set_meta(&self, file: &Self::File, mode: u32, mtime: FileTime) -> Result<()>;
    /// fdatasync(2): content and size are durable afterwards; the name is not. Never retry it after a failure: the
    /// kernel marks the pages clean, and the second call reports success for lost data.
    fn sync_data(&self, file: &Self::File) -> Result<()>;
    /// fsync(2): content and inode (mode, mtime) are durable afterwards; the name is not.
    fn sync_all(&self, file: &Self::File) -> Result<()>;
    /// posix_fadvise(2) `DONTNEED`: the next read comes from the disk, not from pages that failed to reach it. This is
    /// advice: the kernel may ignore it.
    fn drop_cache(&self, file: &Self::File) -> Result<()>;
    /// Requests a read lease on a file opened with [`Open::Read`]; held until the file is dropped.
    fn lease(&self, file: &Self::File) -> Result<Lease>;
    /// True if another process has tried to open the file for writing, or to truncate it, since [`Fs::lease`] returned
    /// Held.
    fn lease_broken(&self, file: &Self::File) -> Result<bool>;

    /// flock(2), exclusive, without waiting; false if another process holds it.
    fn try_lock_file(&self, file: &Self::File) -> Result<bool>;
    /// Releases a lock before the file is dropped.
    fn unlock_file(&self, file: &Self::File) -> Result<()>;
    /// Marks the directory as used by this ingestor, without a file in it; false if another ingestor has marked it.
    /// Held until the directory is dropped. An flock on the directory, as scripts use it, does not conflict.
    fn try_lock_dir(&self, dir: &Self::Dir) -> Result<bool>;
    /// The pid of the other ingestor that has marked the directory, in that ingestor's own pid namespace.
    fn dir_lock_holder(&self, dir: &Self::Dir) -> Option<u32>;
    /// The process that holds an flock on the inode, if the kernel reports it (`/proc/locks`).
    fn lock_holder(&self, identity: &FileIdentity) -> Option<u32>;

    /// True if `inner` is `outer` or below it by any mount, as far as the kernel reports its mounts.
    fn is_mounted_from(&self, _inner: &Path, _outer: &Path) -> bool {
        false
    }
    /// Waits, because another process must do something first.
    fn pause(&self, time: Duration);
    /// From now on, files and directories created by root get the owner of this directory: the user of the service
    /// whose state directory it is.
    fn act_for(&self, _dir: &Self::Dir) {}
    /// The wall clock.
    fn now(&self) -> UnixMillis;
    /// A clock that cannot be set and that includes suspend. It restarts at each boot.
    fn steady(&self) -> std::time::Duration;
    /// Random bytes, for names, salts and the journal's UUID.
    fn random(&self) -> [u8; 16];
}

/// The most calls of `write_at` for one transfer, on top of one per 512 bytes: bounds short writes, so that a broken
/// file system cannot cause an endless loop.
const TRANSFER_CALLS_MAX: usize = 1_000;

/// Writes all of `bytes`. On an error some of them may have been written.
pub fn write_all_at<F: Fs>(fs: &F, file: &F::File, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    let calls_max = TRANSFER_CALLS_MAX + bytes.len() / 512;
    for _ in 0..calls_max {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = fs.write_at(file, bytes, offset)?;
        bytes = &bytes[written.min(bytes.len())..];
        offset += written as u64;
    }
    if bytes.is_empty() {
        return Ok(());
    }
    Err(Error { op: Syscall::Pwrite, path: PathBuf::new(), source: io::ErrorKind::WriteZero.into() })
}

/// Reads until `buffer` is full or the file ends; returns the number of bytes read.
pub fn read_full_at<F: Fs>(fs: &F, file: &F::File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = fs.read_at(file, &mut buffer[filled..], offset + filled as u64)?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}

/// Opens the directory `path`, creating missing directories, and makes every name below `top` on the way to `path`
/// durable.
///
/// Existing directories are synced too: an earlier run may have been killed between its mkdir and its fsync, and a
/// power cut would then remove the directory with everything that was durable in it. Call it once per process and
/// directory, not once per file.
pub fn open_dir_durable<F: Fs>(fs: &F, top: &Path, path: &Path, mode: u32) -> Result<F::Dir> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return fs.open_dir(path);
    };
    if path == top {
        return fs.open_dir(path);
    }
    let opened = fs.open_dir(path);
    let missing = match &opened {
        Err(error) if error.is_not_found() => true,
        Err(_) => return opened,
        Ok(_) => false,
    };
    let parent = match open_dir_durable(fs, top, parent, mode) {
        // A parent that this process may not read was not created by it either, so its entries are durable already.
        Err(error) if !missing && error.is_denied() => return opened,
        parent => parent?,
    };
    if missing {
        match fs.create_dir(&parent, name, mode) {
            Err(error) if !error.is_taken() => return Err(error),
            _ => {}
        }
    }
    fs.sync_dir(&parent)?;
    if missing { fs.open_dir(path) } else { opened }
}
