//! Converts the kernel's file metadata to this crate's types.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fs::{self as sys, AtFlags, StatxFlags};
use rustix::io::Errno;

use super::calls::retry;
use crate::fs::{FileKind, Stat};
use crate::types::{FileIdentity, FileTime};

pub(super) fn kind_of(kind: sys::FileType) -> FileKind {
    match kind {
        sys::FileType::RegularFile => FileKind::Regular,
        sys::FileType::Directory => FileKind::Directory,
        sys::FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    }
}

/// The kernel guarantees nanoseconds in 0..1e9; anything else comes from a broken file system.
fn file_time(sec: i64, nsec: u64) -> FileTime {
    FileTime { sec, nsec: u32::try_from(nsec).unwrap_or(0) }
}

pub(super) fn stat_of(raw: &sys::Stat) -> Stat {
    Stat {
        identity: FileIdentity {
            device: raw.st_dev,
            inode: raw.st_ino,
            size: u64::try_from(raw.st_size).unwrap_or(0),
            mtime: file_time(raw.st_mtime, raw.st_mtime_nsec),
            ctime: file_time(raw.st_ctime, raw.st_ctime_nsec),
        },
        kind: kind_of(sys::FileType::from_raw_mode(raw.st_mode)),
        links: raw.st_nlink,
        mode: raw.st_mode & 0o7777,
        born: None,
    }
}

/// The same for statx, which also reports when the inode was created.
fn statx_of(raw: &sys::Statx) -> Stat {
    let time = |time: sys::StatxTimestamp| file_time(time.tv_sec, u64::from(time.tv_nsec));
    let (ctime, born) = (time(raw.stx_ctime), time(raw.stx_btime));
    // A creation time after the last change, or of 0, comes from a file system that does not know it.
    let is_known = raw.stx_mask & StatxFlags::BTIME.bits() != 0 && born <= ctime && born != FileTime::default();
    Stat {
        identity: FileIdentity {
            device: sys::makedev(raw.stx_dev_major, raw.stx_dev_minor),
            inode: raw.stx_ino,
            size: raw.stx_size,
            mtime: time(raw.stx_mtime),
            ctime,
        },
        kind: kind_of(sys::FileType::from_raw_mode(u32::from(raw.stx_mode))),
        links: u64::from(raw.stx_nlink),
        mode: u32::from(raw.stx_mode) & 0o7777,
        born: is_known.then_some(born),
    }
}

/// The metadata of a name; None if it does not exist. `how` says whether the file system may answer from a cache.
pub(super) fn statx(dir: impl AsFd, name: &OsStr, how: AtFlags) -> Result<Option<Stat>, Errno> {
    let (flags, wanted) = (AtFlags::SYMLINK_NOFOLLOW | how, StatxFlags::BASIC_STATS | StatxFlags::BTIME);
    let found = match retry(|| sys::statx(&dir, name, flags, wanted)) {
        // A kernel before 4.11, or a sandbox that does not know statx.
        Err(Errno::NOSYS | Errno::PERM) => {
            retry(|| sys::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)).map(|raw| stat_of(&raw))
        }
        found => found.map(|raw| statx_of(&raw)),
    };
    match found {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
