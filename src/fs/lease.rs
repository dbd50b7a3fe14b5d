//! Read leases (fcntl(2), `F_SETLEASE`): the only unsafe code in the crate, because no safe wrapper exists.
//!
//! A conflicting open sends SIGIO to the holder; the daemon installs a handler for it, since its default is to kill.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Lease;

/// Takes a read lease on a descriptor that is open for reading only.
pub(super) fn take(file: BorrowedFd<'_>) -> io::Result<Lease> {
    // SAFETY: the descriptor is open for the whole call, because it is borrowed; F_SETLEASE takes an integer and
    // touches no memory of ours.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    if result == 0 {
        return Ok(Lease::Held);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Lease::Writer),
        // EACCES: neither the owner nor CAP_LEASE. The others: a file system or a kernel without leases.
        Some(libc::EACCES | libc::EINVAL | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM) => {
            Ok(Lease::Unsupported)
        }
        _ => Err(error),
    }
}

/// True if the lease is being broken or is gone. While a break is pending, `F_GETLEASE` tells the type that the
/// lease has to be reduced to: `F_UNLCK` for a read lease.
pub(super) fn is_broken(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: as above; F_GETLEASE takes no argument and returns the type as the result.
    let kind = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind != libc::F_RDLCK) }
}
