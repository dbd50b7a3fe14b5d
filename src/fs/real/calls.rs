//! Repeats system calls that a signal has interrupted or that a lease delays.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::heartbeat::waiting;

/// How often the open of a file with another process's lease is retried: half a second in all.
const LEASED_TRIES: u32 = 10;
const LEASED_PAUSE: Duration = Duration::from_millis(50);

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match waiting(&mut call) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Opens a file on which another process (an NFS or SMB server) may have a lease: the failed open breaks the lease, and
/// a later one succeeds.
pub(super) fn leased<T>(mut open: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..LEASED_TRIES {
        match open() {
            Err(Errno::AGAIN) => std::thread::sleep(LEASED_PAUSE),
            opened => return opened,
        }
    }
    open()
}

pub(super) fn retry_io<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match waiting(&mut call) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// flock(2), exclusive, without waiting.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match retry_io(|| fs2::FileExt::try_lock_exclusive(file)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
