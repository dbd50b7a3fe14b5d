//! Directories that a scan could not read.
//!
//! Invariant: at most [`UNREAD_DIRS_MAX`] are remembered; with more, nothing counts as read.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::fs;
use crate::limits::UNREAD_DIRS_MAX;
use crate::log;

/// The directories that the running scan, or the last one, could not read.
#[derive(Debug, Default)]
pub(super) struct Unread {
    now: HashSet<Arc<Path>>,
    are_many: bool,
    /// Those that are named in the log; each until it could be read.
    told: HashSet<Arc<Path>>,
}

impl Unread {
    pub(super) fn begin_scan(&mut self) {
        (self.now, self.are_many) = (HashSet::new(), false);
    }

    pub(super) fn end_scan(&mut self) {
        if !self.are_many {
            self.told.retain(|path| self.now.contains(path));
        }
    }

    /// A directory cannot be read.
    pub(super) fn note(&mut self, path: Arc<Path>, error: &fs::Error) {
        if self.told.len() < UNREAD_DIRS_MAX && self.told.insert(path.clone()) {
            let message = "its files stay as they are known; each scan tries again";
            tracing::warn!(event = "directory_unreadable", path = log::path(&error.path), error = %error, message);
        }
        if self.now.len() < UNREAD_DIRS_MAX {
            self.now.insert(path);
        } else {
            self.are_many = true;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    /// True for a directory that could not be read.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.told.contains(path)
    }

    /// True if the scan may not have seen this file, because a directory above it could not be read.
    pub(super) fn covers(&self, name: &OsStr) -> bool {
        self.are_many || !self.now.is_empty() && Path::new(name).ancestors().any(|above| self.now.contains(above))
    }
}
