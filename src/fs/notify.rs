//! inotify(7), as a hint that wakes the scan early.
//!
//! Invariant: nothing depends on it. NFS has no inotify and queues overflow, so the periodic scan finds the names that
//! this misses; each reported name is checked again with `stat`.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use inotify::{EventMask, WatchMask};

/// Bytes for one read of events: about 1,000 short names.
const EVENT_BUFFER_BYTES: usize = 64 * 1024;

/// Local file systems: this kernel makes every change on them, so inotify reports it. That is not certain for others
/// (NFS, SMB, FUSE...). The numbers are those of statfs(2) and of linux/magic.h.
const LOCAL: [u32; 8] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
    0xCA45_1A4E, // bcachefs
    0x0102_1994, // tmpfs
    0x3153_464A, // JFS
];

/// A report of the kernel about the staging directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Hint {
    /// These names were created, renamed in, closed after writing, or changed.
    Names(Vec<OsString>),
    /// The queue overflowed: scan everything.
    Rescan,
    /// The directory itself is gone, so no more hints will come.
    Ended,
}

/// A watch on one directory.
pub struct Inotify {
    inotify: inotify::Inotify,
    buffer: Vec<u8>,
}

impl Inotify {
    /// Watches `directory`.
    ///
    /// # Errors
    /// The kernel has no inotify, or its limits (`/proc/sys/fs/inotify`) are reached.
    pub fn new(directory: &Path) -> io::Result<Inotify> {
        let inotify = inotify::Inotify::init()?;
        // Not MODIFY: it would wake the scan at each write, and the close at the end is enough.
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::MOVE_SELF
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR;
        inotify.watches().add(directory, mask)?;
        Ok(Inotify { inotify, buffer: vec![0; EVENT_BUFFER_BYTES] })
    }

    /// True if every change in `directory` is reported.
    pub fn hears_all(directory: &Path) -> bool {
        // The type of the number depends on the architecture; its value needs 32 bits.
        rustix::fs::statfs(directory).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
    }

    /// Waits for events. Returns the names from one read, without consecutive repetitions.
    pub fn wait(&mut self) -> io::Result<Hint> {
        let mut names: Vec<OsString> = Vec::new();
        for event in self.inotify.read_events_blocking(&mut self.buffer)? {
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                return Ok(Hint::Rescan);
            }
            if event.mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED) {
                return Ok(Hint::Ended);
            }
            if let Some(name) = event.name
                && names.last().is_none_or(|last| last != name)
            {
                names.push(name.to_owned());
            }
        }
        Ok(Hint::Names(names))
    }
}
