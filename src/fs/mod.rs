//! The one door to the operating system's files.
//!
//! Invariants:
//! - Nothing in this crate touches a file but through [`Fs`]: what the simulator cannot see, it cannot crash.
//! - Names are relative to an open directory and are never followed if they are symbolic links.
//! - Every error says which operation failed on which path.
//! - No method makes anything durable except the `sync` methods, and each of those covers exactly what it names.

pub mod blame;
pub mod inherited;
mod lease;
mod mark;
pub mod mounts;
pub mod notify;
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

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("{op} {}: {source}", path.display())]
pub struct Error {
    /// The operation, by its system call.
    pub op: Syscall,
    /// What it was applied to.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// The mode of directories that others read, or share: the umask, a default ACL and the parent's setgid bit say what is left
/// of it.
pub const DIR_MODE: u32 = 0o777;
/// The mode of files in them.
pub const FILE_MODE: u32 = 0o666;
/// The mode of directories that are ours alone.
pub const PRIVATE_MODE: u32 = 0o700;

/// The result of an operation on a file.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A full disk or an exhausted quota: waiting may help.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// The name (or a directory before it) is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// The name is taken.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    /// We may not.
    pub fn is_denied(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }

    /// An open that failed for what the name stands for, or for whose it is: nothing, a link, a FIFO, a device, or a file that
    /// we may not read.
    pub fn is_not_to_be_read(&self) -> bool {
        let of_the_kind = [libc::ELOOP, libc::ENXIO, libc::ENODEV, libc::EISDIR];
        self.is_not_found()
            || self.is_denied()
            || self.source.raw_os_error().is_some_and(|errno| of_the_kind.contains(&errno))
    }

    /// The two names are not on one mount.
    pub fn is_cross_device(&self) -> bool {
        self.source.kind() == io::ErrorKind::CrossesDevices
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file: the only kind that is ever opened or moved.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Special,
}

/// What `fstatat` tells of a name, never following a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which file, in which state.
    pub identity: FileIdentity,
    /// Regular or not.
    pub kind: FileKind,
    /// Names the inode has.
    pub links: u64,
    /// Permission bits (`st_mode & 0o7777`).
    pub mode: u32,
    /// When the inode was made, where the file system tells; only [`Fs::stat`] and [`Fs::stat_dir`] ask for it.
    pub born: Option<FileTime>,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, any bytes but `/` and NUL.
    pub name: OsString,
    /// None where the file system does not tell kinds in listings.
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

/// What came of asking for a read lease (fcntl(2), `F_SETLEASE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Nobody has the file open for writing; whoever tries now waits until the lease goes.
    Held,
    /// Somebody has the file open for writing, or mapped writable.
    Writer,
    /// This file system, or our privileges, do not allow leases: no statement either way.
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

/// The operations that the ingestor needs from a file system, and the two other things it takes from outside: the
/// wall clock and randomness.
pub trait Fs: Clone + Send + Sync + 'static {
    /// An open directory. It stays the same directory when its path is renamed.
    type Dir: Send + Sync;
    /// An open file. Dropping it closes it and gives up its lease and its lock.
    type File: Send + Sync;
    /// A listing under way.
    type Listing: Iterator<Item = Result<DirEntry>>;

    /// Opens a directory by path, following links in it (the operator's own paths may be links).
    fn open_dir(&self, path: &Path) -> Result<Self::Dir>;
    /// openat(2) of a directory in another with `O_NOFOLLOW`: what is reached step by step so is not reached through a link.
    fn open_subdir(&self, dir: &Self::Dir, name: &OsStr) -> Result<Self::Dir>;
    /// The path that `dir` was opened by.
    fn dir_path<'a>(&self, dir: &'a Self::Dir) -> &'a Path;
    /// What the open directory is.
    fn stat_dir(&self, dir: &Self::Dir) -> Result<Stat>;
    /// mkdirat(2). Not durable until `sync_dir(parent)`.
    fn create_dir(&self, parent: &Self::Dir, name: &OsStr, mode: u32) -> Result<()>;
    /// Every name in the directory but `.` and `..`, in no order. Names that come or go meanwhile may be missed.
    fn list(&self, dir: &Self::Dir) -> Result<Self::Listing>;
    /// What the name stands for; None if nothing has that name. Links are not followed.
    fn stat(&self, dir: &Self::Dir, name: &OsStr) -> Result<Option<Stat>>;
    /// The same, from the file system itself: what it has kept in a cache may be behind (`AT_STATX_FORCE_SYNC`). For where
    /// something is decided by it for good.
    fn stat_fresh(&self, dir: &Self::Dir, name: &OsStr) -> Result<Option<Stat>>;
    /// renameat2(2) with `RENAME_NOREPLACE`, or link(2) and unlink(2) where a file system does not know that: fails with
    /// [`Error::is_taken`] rather than replace anything. What somebody puts in the place of the old name between link and unlink
    /// is lost: of names that others give, see [`Fs::renames_by_link`].
    fn rename(&self, from: &Self::Dir, from_name: &OsStr, to: &Self::Dir, to_name: &OsStr) -> Result<()>;
    /// True where [`Fs::rename`] is known to be made of link(2) and unlink(2).
    fn renames_by_link(&self, dir: &Self::Dir) -> bool;
    /// linkat(2). Nothing is done if both names stand for one file already.
    fn link(&self, from: &Self::Dir, from_name: &OsStr, to: &Self::Dir, to_name: &OsStr) -> Result<()>;
    /// renameat(2) within a directory to a name that nobody else gives: for where nothing renames without replacing. Fails with
    /// [`Error::is_taken`] if the name is there.
    fn set_aside(&self, dir: &Self::Dir, name: &OsStr, aside: &OsStr) -> Result<()>;
    /// unlinkat(2) of a file.
    fn unlink(&self, dir: &Self::Dir, name: &OsStr) -> Result<()>;
    /// fsync(2) of the directory: its entries (names made, renamed, removed) are durable afterwards. The files
    /// behind the names are not.
    fn sync_dir(&self, dir: &Self::Dir) -> Result<()>;
    /// syncfs(2): everything on the file system that holds `dir` is durable afterwards. Reports write-back errors
    /// since Linux 5.8.
    fn sync_fs(&self, dir: &Self::Dir) -> Result<()>;
    /// One of the kernel's own file systems, on which renames, link counts and inode numbers are as the manual pages say. Of
    /// others nobody knows before it is tried.
    fn is_well_known(&self, dir: &Self::Dir) -> bool;
    /// Bytes that an unprivileged user may still write.
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
    /// Sets permission bits and mtime (a copy keeps those of its source): both, even if one of them cannot be set.
    fn set_meta(&self, file: &Self::File, mode: u32, mtime: FileTime) -> Result<()>;
    /// fdatasync(2): content and size are durable afterwards; the name is not. Never retry it after a failure: the
    /// kernel marks the pages clean, and the second call lies.
    fn sync_data(&self, file: &Self::File) -> Result<()>;
    /// fsync(2): content and inode (mode, mtime) are durable afterwards; the name is not.
    fn sync_all(&self, file: &Self::File) -> Result<()>;
    /// posix_fadvise(2) `DONTNEED`: the next read comes from the disk, not from pages that failed to reach it.
    /// Advice: the kernel may ignore it.
    fn drop_cache(&self, file: &Self::File) -> Result<()>;
    /// Asks for a read lease on a file opened with [`Open::Read`]; held until the file is dropped.
    fn lease(&self, file: &Self::File) -> Result<Lease>;
    /// True if somebody has tried to open the file for writing, or to truncate it, since [`Fs::lease`] said Held.
    fn lease_broken(&self, file: &Self::File) -> Result<bool>;

    /// flock(2), exclusive, without waiting; false if another process holds it.
    fn try_lock_file(&self, file: &Self::File) -> Result<bool>;
    /// Gives up a lock before the file is dropped.
    fn unlock_file(&self, file: &Self::File) -> Result<()>;
    /// Marks the directory as one that an ingestor works on, without a file in it; false if another one has marked it. Held
    /// until dropped. An flock on the directory, which strangers use, is no mark.
    fn try_lock_dir(&self, dir: &Self::Dir) -> Result<bool>;
    /// The other ingestor's process that has marked the directory, as it calls itself.
    fn dir_lock_holder(&self, dir: &Self::Dir) -> Option<u32>;
    /// The process that holds an flock on the inode, as far as the kernel tells (`/proc/locks`).
    fn lock_holder(&self, identity: &FileIdentity) -> Option<u32>;

    /// Lets time pass: somebody else has to do something first.
    fn pause(&self, time: Duration);
    /// From now on what root makes is for whom this directory belongs to: the user of a service, whose state it is.
    fn act_for(&self, _dir: &Self::Dir) {}
    /// The wall clock.
    fn now(&self) -> UnixMillis;
    /// A clock that nobody sets, which goes on while the machine sleeps. It begins anew with each start of the machine.
    fn steady(&self) -> std::time::Duration;
    /// Random bytes: names, salts and the store's UUID.
    fn random(&self) -> [u8; 16];
}

/// Most calls of `write_at` that one whole transfer may take, on top of one for each 512 bytes: a bound on short writes,
/// so that a broken file system cannot make us spin.
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

/// Reads until `buffer` is full or the file ends; returns how many bytes there were.
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

/// Opens the directory `path`, making what is missing of it, and makes every name between `top` (itself not
/// included) and `path` durable.
///
/// Directories that exist already are synced too: an earlier run may have been killed between its mkdir and its
/// fsync, and a power cut would then take the directory with everything that was durable in it. Call it once a
/// process for each directory, not once a file.
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
        // A parent that is not ours to read was not made by us either, so its entries were durable before we came.
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
