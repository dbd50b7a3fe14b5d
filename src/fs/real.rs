//! The real file system: [`Fs`] by system calls.
//!
//! Invariants: every method of [`Fs`] works on an open descriptor, or on a name relative to one. The exceptions take a
//! path: `open_dir`, `free_bytes` (the path with which the directory was opened) and `lock_holder` (`/proc/locks`); so
//! do the functions outside the trait. Only two errors are retried: EINTR, and EAGAIN of an open that another process's
//! lease delays. Methods that may take long run as `waiting`, so that a watchdog does not mistake a slow disk for a
//! hang.

mod beneath;
mod calls;
mod stat;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File as StdFile;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{self as sys, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{DirEntry, Error, Fs, Lease, Open, Result, Stat, SyncCall, lease, mark, owner};
use crate::fs::Syscall;
use crate::heartbeat::waiting;
use crate::types::{FileIdentity, FileTime, UnixMillis};
use calls::{leased, retry, retry_io, try_lock};
use stat::{kind_of, stat_of, statx};

/// Receives the duration of each sync, successful or not. Called on the thread that made the sync.
pub type OnSync = dyn Fn(SyncCall, Duration) + Send + Sync;

/// statfs(2) of ext2 to ext4, XFS, Btrfs, tmpfs, F2FS and overlayfs.
const WELL_KNOWN: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x794c_7630];

/// The operating system's files.
#[derive(Clone, Default)]
pub struct RealFs {
    on_sync: Option<Arc<OnSync>>,
    /// Devices without `RENAME_NOREPLACE`: link and unlink replace it there.
    link_devices: Arc<Mutex<HashSet<u64>>>,
    /// True if there are such devices.
    links: Arc<AtomicBool>,
    /// The owner for whom root creates files, if it was set.
    service: Arc<Mutex<Option<owner::Owner>>>,
    /// Set once `O_NOATIME` was refused: it requires the file's owner or `CAP_FOWNER`.
    atime: Arc<AtomicBool>,
    /// Set once openat2(2) was refused: the kernel is older than 5.6, or a sandbox does not know it.
    steps: Arc<AtomicBool>,
}

/// An open directory.
#[derive(Debug)]
pub struct RealDir {
    file: StdFile,
    path: Arc<Path>,
}

/// An open file.
#[derive(Debug)]
pub struct RealFile {
    file: StdFile,
    dir: Arc<Path>,
    name: OsString,
}

impl RealFile {
    fn error(&self, op: Syscall, source: impl Into<io::Error>) -> Error {
        Error { op, path: self.dir.join(&self.name), source: source.into() }
    }
}

impl RealDir {
    /// A path to this very directory, whatever has its name by now (proc_pid_fd(5)).
    pub fn fd_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file)))
    }

    fn error(&self, op: Syscall, source: impl Into<io::Error>) -> Error {
        Error { op, path: self.path.to_path_buf(), source: source.into() }
    }

    fn error_at(&self, op: Syscall, name: &OsStr, source: impl Into<io::Error>) -> Error {
        Error { op, path: self.path.join(name), source: source.into() }
    }
}

/// An unfinished listing.
#[derive(Debug)]
pub struct RealListing {
    entries: sys::Dir,
    path: Arc<Path>,
}

impl Iterator for RealListing {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Result<DirEntry>> {
        loop {
            let entry = match waiting(|| self.entries.next())? {
                Ok(entry) => entry,
                Err(errno) => {
                    let error = Error { op: Syscall::Getdents, path: self.path.to_path_buf(), source: errno.into() };
                    return Some(Err(error));
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                sys::FileType::Unknown => None,
                known => Some(kind_of(known)),
            };
            return Some(Ok(DirEntry { name: OsStr::from_bytes(name).to_owned(), kind }));
        }
    }
}

impl RealFs {
    /// A file system whose syncs are timed.
    pub fn observed(on_sync: Arc<OnSync>) -> RealFs {
        RealFs { on_sync: Some(on_sync), ..RealFs::default() }
    }

    fn service(&self) -> Option<owner::Owner> {
        *self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed(&self, sync: SyncCall, call: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
        let Some(on_sync) = &self.on_sync else { return waiting(call) };
        let began = Instant::now();
        let result = waiting(call);
        on_sync(sync, began.elapsed());
        result
    }

    fn is_link_device(&self, dir: &RealDir) -> bool {
        let device = waiting(|| sys::fstat(&dir.file)).map(|raw| raw.st_dev);
        let devices = self.link_devices.lock().unwrap_or_else(PoisonError::into_inner);
        device.is_ok_and(|device| devices.contains(&device))
    }

    fn note_links(&self, dir: &RealDir) {
        if let Ok(raw) = waiting(|| sys::fstat(&dir.file)) {
            self.link_devices.lock().unwrap_or_else(PoisonError::into_inner).insert(raw.st_dev);
            self.links.store(true, Ordering::Relaxed);
        }
    }

    /// A rename for file systems without `RENAME_NOREPLACE`. Half of it would leave a file under both names, published
    /// and still waiting in staging: if the old name cannot be removed, the new one is removed again; and a new name
    /// left by an earlier attempt is accepted.
    fn rename_by_link(&self, from: &RealDir, from_name: &OsStr, to: &RealDir, to_name: &OsStr) -> Result<()> {
        let unlink = |dir: &RealDir, name: &OsStr| retry(|| sys::unlinkat(&dir.file, name, AtFlags::empty()));
        self.link(from, from_name, to, to_name)?;
        // Without this sync, on a file system that writes names in any order, a power cut could keep the removal and
        // lose the new name.
        if let Err(error) = self.sync_dir(to) {
            let _ = unlink(to, to_name);
            return Err(error);
        }
        match unlink(from, from_name) {
            // Another process has removed the old name; the new one may be the last.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => {
                let _ = unlink(to, to_name);
                Err(from.error_at(Syscall::Unlink, from_name, errno))
            }
        }
    }
}

/// True if both names belong to one inode.
fn is_one_file(one: &RealDir, one_name: &OsStr, other: &RealDir, other_name: &OsStr) -> bool {
    let key = |dir: &RealDir, name: &OsStr| {
        sys::statat(&dir.file, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino))
    };
    matches!((key(one, one_name), key(other, other_name)), (Ok(one), Ok(other)) if one == other)
}

impl Fs for RealFs {
    type Dir = RealDir;
    type File = RealFile;
    type Listing = RealListing;

    fn open_dir(&self, path: &Path) -> Result<RealDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry(|| sys::open(path, flags, Mode::empty())) {
            Ok(fd) => Ok(RealDir { file: fd.into(), path: path.into() }),
            Err(errno) => Err(Error { op: Syscall::OpenDir, path: path.to_path_buf(), source: errno.into() }),
        }
    }

    fn open_subdir(&self, dir: &RealDir, name: &OsStr) -> Result<RealDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match retry(|| sys::openat(&dir.file, name, flags, Mode::empty())) {
            Ok(fd) => Ok(RealDir { file: fd.into(), path: dir.path.join(name).into() }),
            Err(errno) => Err(dir.error_at(Syscall::OpenDir, name, errno)),
        }
    }

    fn open_beneath(&self, dir: &RealDir, path: &Path, crosses: bool) -> Result<RealDir> {
        self.beneath(dir, path, crosses)
    }

    fn is_mounted_from(&self, inner: &Path, outer: &Path) -> bool {
        let real = |path: &Path| resolve(path).unwrap_or_else(|_| path.to_path_buf());
        super::mounts::is_inside(&real(inner), &real(outer))
    }

    fn dir_path<'a>(&self, dir: &'a RealDir) -> &'a Path {
        &dir.path
    }

    fn stat_dir(&self, dir: &RealDir) -> Result<Stat> {
        match statx(&dir.file, OsStr::new(""), AtFlags::EMPTY_PATH) {
            Ok(Some(stat)) => Ok(stat),
            _ => waiting(|| sys::fstat(&dir.file))
                .map(|raw| stat_of(&raw))
                .map_err(|errno| dir.error(Syscall::Fstat, errno)),
        }
    }

    fn create_dir(&self, parent: &RealDir, name: &OsStr, mode: u32) -> Result<()> {
        retry(|| sys::mkdirat(&parent.file, name, Mode::from_raw_mode(mode)))
            .map_err(|errno| parent.error_at(Syscall::Mkdir, name, errno))?;
        owner::hand_over_dir(&parent.file, name, self.service());
        Ok(())
    }

    fn list(&self, dir: &RealDir) -> Result<RealListing> {
        let entries = waiting(|| sys::Dir::read_from(&dir.file)).map_err(|errno| dir.error(Syscall::OpenDir, errno))?;
        Ok(RealListing { entries, path: dir.path.clone() })
    }

    fn stat(&self, dir: &RealDir, name: &OsStr) -> Result<Option<Stat>> {
        statx(&dir.file, name, AtFlags::empty()).map_err(|errno| dir.error_at(Syscall::Stat, name, errno))
    }

    fn stat_fresh(&self, dir: &RealDir, name: &OsStr) -> Result<Option<Stat>> {
        statx(&dir.file, name, AtFlags::STATX_FORCE_SYNC).map_err(|errno| dir.error_at(Syscall::Stat, name, errno))
    }

    fn rename(&self, from: &RealDir, from_name: &OsStr, to: &RealDir, to_name: &OsStr) -> Result<()> {
        if self.renames_by_link(to) {
            return self.rename_by_link(from, from_name, to, to_name);
        }
        let rename = || sys::renameat_with(&from.file, from_name, &to.file, to_name, RenameFlags::NOREPLACE);
        match retry(rename) {
            Ok(()) => Ok(()),
            // An old kernel, a file system without flags, or one that refuses this name.
            Err(errno @ (Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)) => {
                match self.rename_by_link(from, from_name, to, to_name) {
                    Ok(()) => {
                        self.note_links(to);
                        Ok(())
                    }
                    // The caller waits for space, whichever call reports a full disk.
                    Err(error) if error.is_taken() || error.is_not_found() || error.is_no_space() => Err(error),
                    Err(error) if error.op == Syscall::Link => Err(from.error_at(Syscall::Rename, from_name, errno)),
                    failed => failed,
                }
            }
            // The kernel does not report which of the two names caused the error; for these it is the new one.
            Err(errno @ (Errno::EXIST | Errno::NOSPC | Errno::DQUOT)) => {
                Err(to.error_at(Syscall::Rename, to_name, errno))
            }
            Err(errno) => Err(from.error_at(Syscall::Rename, from_name, errno)),
        }
    }

    fn renames_by_link(&self, dir: &RealDir) -> bool {
        self.links.load(Ordering::Relaxed) && self.is_link_device(dir)
    }

    fn link(&self, from: &RealDir, from_name: &OsStr, to: &RealDir, to_name: &OsStr) -> Result<()> {
        match retry(|| sys::linkat(&from.file, from_name, &to.file, to_name, AtFlags::empty())) {
            Err(Errno::EXIST) if is_one_file(from, from_name, to, to_name) => Ok(()),
            linked => linked.map_err(|errno| to.error_at(Syscall::Link, to_name, errno)),
        }
    }

    fn set_aside(&self, dir: &RealDir, name: &OsStr, aside: &OsStr) -> Result<()> {
        if self.stat(dir, aside)?.is_some() {
            return Err(dir.error_at(Syscall::Rename, aside, Errno::EXIST));
        }
        let renamed = retry(|| sys::renameat(&dir.file, name, &dir.file, aside));
        renamed.map_err(|errno| dir.error_at(Syscall::Rename, name, errno))
    }

    fn replace(&self, dir: &RealDir, name: &OsStr, target: &OsStr) -> Result<()> {
        let renamed = retry(|| sys::renameat(&dir.file, name, &dir.file, target));
        renamed.map_err(|errno| dir.error_at(Syscall::Rename, target, errno))
    }

    fn unlink(&self, dir: &RealDir, name: &OsStr) -> Result<()> {
        retry(|| sys::unlinkat(&dir.file, name, AtFlags::empty()))
            .map_err(|errno| dir.error_at(Syscall::Unlink, name, errno))
    }

    fn sync_dir(&self, dir: &RealDir) -> Result<()> {
        self.timed(SyncCall::Fsync, || sys::fsync(&dir.file)).map_err(|errno| dir.error(Syscall::Fsync, errno))
    }

    fn sync_fs(&self, dir: &RealDir) -> Result<()> {
        self.timed(SyncCall::Syncfs, || sys::syncfs(&dir.file)).map_err(|errno| dir.error(Syscall::Syncfs, errno))
    }

    fn is_well_known(&self, dir: &RealDir) -> bool {
        waiting(|| sys::fstatfs(&dir.file)).is_ok_and(|raw| WELL_KNOWN.contains(&(raw.f_type as u64 & 0xffff_ffff)))
    }

    fn free_bytes(&self, dir: &RealDir) -> Result<u64> {
        waiting(|| fs2::available_space(&*dir.path)).map_err(|source| dir.error(Syscall::Statvfs, source))
    }

    fn open(&self, dir: &RealDir, name: &OsStr, how: Open) -> Result<RealFile> {
        let always = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Without O_NOATIME the first read of a file changes its inode, and the next sync has to write each of these
        // changes.
        let quiet = if self.atime.load(Ordering::Relaxed) { OFlags::empty() } else { OFlags::NOATIME };
        let (flags, mode) = match how {
            Open::Read => (OFlags::RDONLY | quiet, Mode::empty()),
            Open::Write => (OFlags::RDWR, Mode::empty()),
            Open::Create { mode } => (OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(mode)),
        };
        let open = |flags| leased(|| retry(|| sys::openat(&dir.file, name, flags | always, mode)));
        let opened = match open(flags) {
            Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => {
                self.atime.store(true, Ordering::Relaxed);
                open(flags.difference(OFlags::NOATIME))
            }
            opened => opened,
        };
        let fd: OwnedFd = opened.map_err(|errno| dir.error_at(Syscall::Open, name, errno))?;
        if matches!(how, Open::Create { .. }) {
            owner::hand_over(&dir.file, fd.as_fd(), self.service());
        }
        Ok(RealFile { file: fd.into(), dir: dir.path.clone(), name: name.to_owned() })
    }

    fn stat_file(&self, file: &RealFile) -> Result<Stat> {
        waiting(|| sys::fstat(&file.file)).map(|raw| stat_of(&raw)).map_err(|errno| file.error(Syscall::Fstat, errno))
    }

    fn read_at(&self, file: &RealFile, buffer: &mut [u8], offset: u64) -> Result<usize> {
        retry_io(|| file.file.read_at(buffer, offset)).map_err(|source| file.error(Syscall::Pread, source))
    }

    fn write_at(&self, file: &RealFile, bytes: &[u8], offset: u64) -> Result<usize> {
        retry_io(|| file.file.write_at(bytes, offset)).map_err(|source| file.error(Syscall::Pwrite, source))
    }

    fn set_len(&self, file: &RealFile, len: u64) -> Result<()> {
        retry(|| sys::ftruncate(&file.file, len)).map_err(|errno| file.error(Syscall::Ftruncate, errno))
    }

    fn set_meta(&self, file: &RealFile, mode: u32, mtime: FileTime) -> Result<()> {
        let moded = waiting(|| sys::fchmod(&file.file, Mode::from_raw_mode(mode)));
        let omit = sys::Timespec { tv_sec: 0, tv_nsec: sys::UTIME_OMIT };
        let stamp = sys::Timespec { tv_sec: mtime.sec, tv_nsec: i64::from(mtime.nsec) };
        let times = sys::Timestamps { last_access: omit, last_modification: stamp };
        waiting(|| sys::futimens(&file.file, &times)).map_err(|errno| file.error(Syscall::Futimens, errno))?;
        moded.map_err(|errno| file.error(Syscall::Fchmod, errno))
    }

    fn sync_data(&self, file: &RealFile) -> Result<()> {
        self.timed(SyncCall::Fdatasync, || sys::fdatasync(&file.file))
            .map_err(|errno| file.error(Syscall::Fdatasync, errno))
    }

    fn sync_all(&self, file: &RealFile) -> Result<()> {
        self.timed(SyncCall::Fsync, || sys::fsync(&file.file)).map_err(|errno| file.error(Syscall::Fsync, errno))
    }

    fn drop_cache(&self, file: &RealFile) -> Result<()> {
        waiting(|| sys::fadvise(&file.file, 0, None, sys::Advice::DontNeed))
            .map_err(|errno| file.error(Syscall::Fadvise, errno))
    }

    fn lease(&self, file: &RealFile) -> Result<Lease> {
        waiting(|| lease::take(file.file.as_fd())).map_err(|source| file.error(Syscall::SetLease, source))
    }

    fn lease_broken(&self, file: &RealFile) -> Result<bool> {
        waiting(|| lease::is_broken(file.file.as_fd())).map_err(|source| file.error(Syscall::GetLease, source))
    }

    fn try_lock_file(&self, file: &RealFile) -> Result<bool> {
        try_lock(&file.file).map_err(|source| file.error(Syscall::Flock, source))
    }

    fn unlock_file(&self, file: &RealFile) -> Result<()> {
        waiting(|| fs2::FileExt::unlock(&file.file)).map_err(|source| file.error(Syscall::Flock, source))
    }

    fn try_lock_dir(&self, dir: &RealDir) -> Result<bool> {
        waiting(|| mark::take(dir.file.as_fd())).map_err(|source| dir.error(Syscall::OfdSetlk, source))
    }

    fn dir_lock_holder(&self, dir: &RealDir) -> Option<u32> {
        mark::holder(dir.file.as_fd()).ok()?
    }

    fn lock_holder(&self, identity: &FileIdentity) -> Option<u32> {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let (major, minor) = (sys::major(identity.device), sys::minor(identity.device));
        let place = format!("{major:02x}:{minor:02x}:{}", identity.inode);
        // 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF   (proc_locks(5))
        locks.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ours = fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&place.as_str());
            if ours { fields.get(4)?.parse().ok() } else { None }
        })
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn act_for(&self, dir: &RealDir) {
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = owner::Owner::of(&dir.file);
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::from_system_time(SystemTime::now())
    }

    fn steady(&self) -> std::time::Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        std::time::Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // getrandom(2) cannot fail for 16 bytes once the pool is initialised. If a sandbox forbids it, time and pid
        // still differ between starts, which is enough for salts and names.
        if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) != Ok(bytes.len()) {
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
            bytes = (nanos ^ (u128::from(std::process::id()) << 96)).to_le_bytes();
        }
        bytes
    }
}

/// The absolute path, with all links in its existing part resolved: for checking whether one directory is inside
/// another.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut missing = Vec::new();
    for ancestor in absolute.ancestors() {
        match std::fs::canonicalize(ancestor) {
            Ok(real) => return Ok(missing.iter().rev().fold(real, |path, name: &OsString| path.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.extend(ancestor.file_name().map(OsStr::to_owned));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(absolute)
}

/// Creates a socket to which no other user may connect (unix(7): connecting requires write permission).
pub fn bind_private(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Raises the soft limit of open descriptors to the hard limit and returns it: each file in flight holds one. Also
/// makes the kernel allocate its table for `count` descriptors: while other threads run, each growth of the table costs
/// all of them an RCU grace period (`expand_fdtable` in fs/file.c), ten milliseconds and more. So call this before
/// threads are started.
pub fn raise_descriptor_limit(count: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached = if setrlimit(Resource::Nofile, wanted).is_ok() { limit.maximum } else { limit.current };
    let reached = reached.unwrap_or(u64::MAX);
    let last = i32::try_from(count.min(reached).saturating_sub(1)).unwrap_or(i32::MAX);
    // If this fails, the process is only slower.
    if let Ok(root) = StdFile::open("/") {
        let _ = rustix::io::fcntl_dupfd_cloexec(&root, last);
    }
    reached
}
