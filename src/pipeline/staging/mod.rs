//! Names in staging, which upstreams use at the same time: moving a file out, taking one aside, removing it, giving it back.
//!
//! Invariants:
//! - No name that exists is ever replaced.
//! - Rename first, then check: an upstream may replace the file at any moment, so a check made before the rename proves
//!   nothing. What turns out to be another file goes back.
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

pub use move_out::Placed;
pub use remove::Removed;

use super::dirs::Dirs;
use crate::fs::Fs;
use crate::types::FileIdentity;

/// What is done to names in staging, by directories that are kept open.
pub struct Staging<F: Fs> {
    fs: F,
    /// The directories that files come from and go to.
    pub dirs: Dirs<F>,
    /// Of this journal: part of the names that are given in staging, so that nobody else's are taken for ours.
    store: [u8; 16],
    /// What `write_new` will find written and synced under its unfinished name.
    prepared: HashSet<PathBuf>,
    /// Devices that were seen to number a file anew when it is renamed.
    renumbering: HashSet<u64>,
    /// What was taken aside had another inode number there, and nothing else that was different.
    was_renumbered: bool,
}

impl<F: Fs> Staging<F> {
    /// Has touched nothing yet.
    pub fn new(fs: F, store: [u8; 16]) -> Staging<F> {
        let (prepared, renumbering) = (HashSet::new(), HashSet::new());
        Staging { dirs: Dirs::new(fs.clone()), fs, store, prepared, renumbering, was_renumbered: false }
    }

    /// The file that it was before it was renamed, as far as its inode says.
    fn is_same(&self, now: &FileIdentity, before: &FileIdentity) -> bool {
        now.same_but_renamed(before) || self.renumbering.contains(&now.device) && now.same_but_renumbered(before)
    }

    /// True if something was taken aside since the last question that seemed to be another file by its inode number alone.
    pub fn take_renumbered(&mut self) -> bool {
        std::mem::take(&mut self.was_renumbered)
    }

    /// Whether that is known of a device: where a content is not known, it is what tells the same file from another.
    pub fn renumbers(&self, device: u64) -> bool {
        self.renumbering.contains(&device)
    }

    /// A file on this device was numbered anew, as its content shows, when it was renamed: others will be.
    pub fn note_renumbering(&mut self, device: u64) {
        self.renumbering.insert(device);
    }
}
