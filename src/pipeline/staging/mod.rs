//! Operations on names in staging, which upstreams use at the same time: moves a file out, sets it aside, removes it,
//! gives it back.
//!
//! Invariants:
//! - No name that exists is ever replaced.
//! - Rename first, then check: an upstream may replace the file at any moment, so a check made before the rename proves
//!   nothing. If the check finds another file, that file goes back.
//! - Nothing here is durable until [`Dirs::sync`] has returned.

mod content;
mod give_back;
mod link;
mod move_out;
pub mod names;
mod remove;
mod write_new;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use move_out::Placed;
pub use remove::{Expected, Removed};

use super::dirs::Dirs;
use crate::fs::Fs;
use crate::types::FileIdentity;

/// The operations on names in staging, with a cache of open directories.
pub struct Staging<F: Fs> {
    fs: F,
    /// The directories that files come from and go to.
    pub dirs: Dirs<F>,
    /// The journal's UUID: part of every name aside, so that the names of other ingestors are not taken for this one's.
    store: [u8; 16],
    /// Paths whose content `prepare_new` has already written under the unfinished name.
    prepared: HashSet<PathBuf>,
    /// Devices that give a file a new inode number when it is renamed, as was seen.
    renumbering: Arc<Mutex<HashSet<u64>>>,
    /// A file that was set aside differed from the expected one in its inode number only.
    was_renumbered: bool,
}

impl<F: Fs> Staging<F> {
    /// Touches nothing on disk.
    pub fn new(fs: F, store: [u8; 16]) -> Staging<F> {
        let (prepared, renumbering) = (HashSet::new(), Arc::default());
        Staging { dirs: Dirs::new(fs.clone()), fs, store, prepared, renumbering, was_renumbered: false }
    }

    /// The same for another thread, with open directories of its own: each syncs what it has changed itself.
    pub fn sibling(&self) -> Staging<F> {
        let renumbering = self.renumbering.clone();
        Staging { renumbering, ..Staging::new(self.fs.clone(), self.store) }
    }

    fn renumbering(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.renumbering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if this is the same file as before its rename, as far as its inode shows.
    fn is_same(&self, now: &FileIdentity, before: &FileIdentity) -> bool {
        now.same_but_renamed(before) || self.renumbers(now.device) && now.same_but_renumbered(before)
    }

    /// True if, since the last call, a file that was set aside was taken for another one because of its inode number
    /// alone.
    pub fn take_renumbered(&mut self) -> bool {
        std::mem::take(&mut self.was_renumbered)
    }

    /// True if the device is known to renumber renamed files. Where the content is not known, this decides whether a file
    /// is the same.
    pub fn renumbers(&self, device: u64) -> bool {
        self.renumbering().contains(&device)
    }

    /// Notes that this device renumbers renamed files: the content of one has shown it.
    pub fn note_renumbering(&mut self, device: u64) {
        self.renumbering().insert(device);
    }
}
