//! Read leases and the locks for marks on directories (fcntl(2), `F_SETLEASE` and `F_OFD_SETLK`): the only unsafe code
//! in the crate, because no safe wrapper exists.
//!
//! A conflicting open sends SIGIO to the holder; the daemon installs a handler for it, since its default is to kill.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Lease;

/// Takes a read lease on a descriptor that is open for reading only.
pub(super) fn take(file: BorrowedFd<'_>) -> io::Result<Lease> {
    // SAFETY: the descriptor is open for the whole call, because it is borrowed; F_SETLEASE takes an integer and
    // accesses none of this process's memory.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    if result == 0 {
        return Ok(Lease::Held);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Lease::Writer),
        // EACCES: this process neither owns the file nor has CAP_LEASE. The others: a file system or a kernel without
        // leases.
        Some(libc::EACCES | libc::EINVAL | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM) => {
            Ok(Lease::Unsupported)
        }
        _ => Err(error),
    }
}

/// True if the lease is being broken or is gone. While a break is pending, `F_GETLEASE` returns the type to which the
/// lease must be reduced: `F_UNLCK` for a read lease.
pub(super) fn is_broken(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: as above; F_GETLEASE takes no argument and returns the type as the result.
    let kind = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind != libc::F_RDLCK) }
}

/// A byte range of a file. The file may be shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) len: i64,
}

fn record(kind: i32, range: Range) -> libc::flock {
    // The kernel's constants fit: they are 0, 1 and 2.
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    libc::flock { l_type, l_whence, l_start: range.start, l_len: range.len, l_pid: 0 }
}

/// Takes a shared lock on the bytes, held while this open file exists; or releases it.
pub(super) fn set_shared(file: BorrowedFd<'_>, range: Range, is_held: bool) -> io::Result<()> {
    let lock = record(if is_held { libc::F_RDLCK } else { libc::F_UNLCK }, range);
    // SAFETY: the descriptor is open for the whole call, because it is borrowed; the kernel reads the record, which lives
    // as long.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// If another open file holds a lock on any of the bytes: the first byte of that lock.
pub(super) fn held_by_others(file: BorrowedFd<'_>, range: Range) -> io::Result<Option<i64>> {
    let mut lock = record(libc::F_WRLCK, range);
    // SAFETY: as above; the kernel writes the record, which is local.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    match result {
        0 if libc::c_int::from(lock.l_type) == libc::F_UNLCK => Ok(None),
        0 => Ok(Some(lock.l_start)),
        _ => Err(io::Error::last_os_error()),
    }
}
