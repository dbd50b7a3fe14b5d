//! System calls that are made again: a signal has interrupted them, or a lease is in the way.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::heartbeat::waiting;

/// How often a file is opened again that somebody has a lease on: for half a second in all.
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

/// Opens a file on which another process (an NFS or SMB server) may have a lease: a failed open asks for it, a later one works.
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
