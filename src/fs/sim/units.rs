//! Error numbers and times of the simulated machine.

use std::io;
use std::time::Duration;

use crate::types::UnixMillis;

pub(super) const NS_PER_MS: u64 = 1_000_000;

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

pub(super) fn millis(clock_ns: u64) -> UnixMillis {
    UnixMillis(clock_ns / NS_PER_MS)
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The umask of every process.
pub(super) const UMASK: u32 = 0o022;
