//! inotify(7), as a hint that wakes the scan early.
//!
//! Invariant: nothing depends on it. NFS has no inotify and queues overflow, so the periodic scan finds the names that
//! this misses; each reported name is checked again with `stat`. A directory is watched before it is listed, so what
//! comes in between is reported.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use inotify::{EventMask, WatchDescriptor, WatchMask, Watches};

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
    /// What was seen in one read.
    Changes(Changes),
    /// The queue overflowed: scan everything.
    Rescan,
    /// The staging directory itself is gone, so no more hints will come.
    Ended,
}

/// What was seen in one read; all paths are relative to staging.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// These names were created, renamed in, closed after writing, or changed.
    pub names: Vec<OsString>,
    /// These directories were created or renamed in.
    pub directories: Vec<OsString>,
    /// The permissions or times of these directories have changed.
    pub changed: Vec<OsString>,
    /// Watched directories that have another path by now, by the numbers of their watches.
    pub moved: Vec<i32>,
}

/// The watches on a staging directory and on directories in it.
pub struct Inotify {
    inotify: inotify::Inotify,
    buffer: Vec<u8>,
    watched: Watched,
}

impl Inotify {
    /// Watches `directory`.
    ///
    /// # Errors
    /// The kernel has no inotify, or its limits (`/proc/sys/fs/inotify`) are reached.
    pub fn new(directory: &Path) -> io::Result<Inotify> {
        let inotify = inotify::Inotify::init()?;
        let top = inotify.watches().add(directory, mask())?;
        let table = Table { top: top.get_watch_descriptor_id(), ..Table::default() };
        let watched = Watched { watches: inotify.watches(), table: Arc::new(Mutex::new(table)) };
        Ok(Inotify { inotify, buffer: vec![0; EVENT_BUFFER_BYTES], watched })
    }

    /// True if every change in `directory` is reported.
    pub fn hears_all(directory: &Path) -> bool {
        // The type of the number depends on the architecture; its value needs 32 bits.
        rustix::fs::statfs(directory).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
    }

    /// The watches, for adding directories.
    pub fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// Waits for events. Returns what one read has shown, without consecutive repetitions.
    pub fn wait(&mut self) -> io::Result<Hint> {
        let mut changes = Changes::default();
        let events = self.inotify.read_events_blocking(&mut self.buffer)?;
        let mut table = self.watched.table();
        for event in events {
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                return Ok(Hint::Rescan);
            }
            let watch = event.wd.get_watch_descriptor_id();
            if event.mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED) {
                if watch == table.top {
                    return Ok(Hint::Ended);
                }
                if event.mask.contains(EventMask::MOVE_SELF) {
                    changes.moved.push(watch);
                } else if event.mask.contains(EventMask::IGNORED) {
                    table.below.remove(&watch);
                }
                continue;
            }
            let Some(name) = event.name else { continue };
            let path = match table.below.get(&watch) {
                Some(known) => known.path.join(name).into_os_string(),
                None if watch == table.top => name.to_owned(),
                // Its watch was removed: what is at its path by now is watched by itself.
                None => continue,
            };
            let is_dir = event.mask.contains(EventMask::ISDIR);
            let list = match event.mask.contains(EventMask::ATTRIB) {
                true if is_dir => &mut changes.changed,
                false if is_dir => &mut changes.directories,
                _ => &mut changes.names,
            };
            if list.last() != Some(&path) {
                list.push(path);
            }
        }
        Ok(Hint::Changes(changes))
    }
}

/// Not MODIFY: it would wake the scan at each write, and the close at the end is enough.
fn mask() -> WatchMask {
    WatchMask::CREATE
        | WatchMask::MOVED_TO
        | WatchMask::CLOSE_WRITE
        | WatchMask::ATTRIB
        | WatchMask::MOVE_SELF
        | WatchMask::DELETE_SELF
        | WatchMask::ONLYDIR
}

/// A watched directory.
struct Known {
    watch: WatchDescriptor,
    path: Arc<Path>,
    /// The last scan that entered it.
    scan: u16,
}

/// The watched directories.
#[derive(Default)]
struct Table {
    /// The staging directory's own watch.
    top: i32,
    below: HashMap<i32, Known>,
    scan: u16,
    /// The running scan has met a directory that cannot be watched.
    is_full: bool,
    /// So had the last one.
    misses: bool,
    is_told: bool,
}

/// Adds and removes the watches on directories below staging. One inode has one watch: if it is entered by another path,
/// that path counts from then on.
#[derive(Clone)]
pub struct Watched {
    watches: Watches,
    table: Arc<Mutex<Table>>,
}

impl Watched {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A scan begins.
    pub fn begin_scan(&self) {
        let mut table = self.table();
        (table.scan, table.is_full) = (table.scan.wrapping_add(1), false);
    }

    /// Watches the directory that `reach` leads to, which is `path` below staging. At the kernel's limit each directory is
    /// tried nevertheless: one that is watched already needs no further watch and must count as entered, and a watch may
    /// have become free.
    pub fn enter(&mut self, path: &Arc<Path>, reach: &Path) {
        let table = self.table.clone();
        // Held while the watch is added: the other thread must know the path when its first event comes.
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        match self.watches.add(reach, mask()) {
            Ok(watch) => {
                let (number, scan) = (watch.get_watch_descriptor_id(), table.scan);
                if number != table.top {
                    table.below.insert(number, Known { watch, path: path.clone(), scan });
                }
            }
            Err(error) => {
                (table.is_full, table.misses) = (true, true);
                if !std::mem::replace(&mut table.is_told, true) {
                    let watched = table.below.len();
                    let message = "files in further directories are found by the periodic scan only: raise \
                                   fs.inotify.max_user_watches";
                    tracing::warn!(event = "watch_limit", directories = watched, error = %error, message);
                }
            }
        }
    }

    /// The scan is complete; if it is `whole`, directories that it has not entered are gone.
    pub fn end_scan(&mut self, whole: bool) {
        let table = self.table.clone();
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        table.misses = table.is_full;
        let scan = table.scan;
        if whole {
            for (_, gone) in table.below.extract_if(|_, known| known.scan != scan) {
                // It may be gone with its directory.
                let _ = self.watches.remove(gone.watch);
            }
        }
    }

    /// A watched directory was renamed. Returns its path before that, where it may be again by now.
    pub fn forget(&mut self, watch: i32) -> Option<Arc<Path>> {
        let known = self.table().below.remove(&watch)?;
        let _ = self.watches.remove(known.watch);
        Some(known.path)
    }

    /// True if there are directories that are not watched.
    pub fn misses(&self) -> bool {
        self.table().misses
    }
}
