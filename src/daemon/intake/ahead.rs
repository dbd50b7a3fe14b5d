//! With `--order`: how far hashing may run ahead of the oldest file that is not committed.
//!
//! Invariant: at most [`ORDERED_FILES_MAX`] files are on their way, and beside the first of them at most
//! [`ORDERED_BYTES_MAX`] bytes, give or take one file.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::sync::Arc;

use crate::limits::{ORDERED_BYTES_MAX, ORDERED_FILES_MAX};
use crate::pipeline::Settled;

/// The files on their way, in order, with their sizes.
#[derive(Default)]
pub(super) struct Ahead {
    files: VecDeque<(Arc<OsStr>, u64)>,
    bytes: u64,
}

impl Ahead {
    /// True if another file may be hashed.
    pub(super) fn has_room(&self) -> bool {
        let first = self.files.front().map_or(0, |(_, size)| *size);
        self.files.len() < ORDERED_FILES_MAX && self.bytes - first < ORDERED_BYTES_MAX
    }

    /// The file is handed out.
    pub(super) fn add(&mut self, settled: &Settled) {
        self.files.push_back((settled.name.clone(), settled.identity.size));
        self.bytes += settled.identity.size;
    }

    /// The file is finished.
    pub(super) fn remove(&mut self, name: &OsStr) {
        if let Some(at) = self.files.iter().position(|(known, _)| **known == *name)
            && let Some((_, size)) = self.files.remove(at)
        {
            self.bytes -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FileIdentity, UnixMillis};

    fn file(name: &str, size: u64) -> Settled {
        Settled {
            name: Arc::from(OsStr::new(name)),
            identity: FileIdentity { size, ..FileIdentity::default() },
            links: 1,
            sidecar: None,
            orphaned: false,
            sidecar_name: None,
            complete_at: UnixMillis(0),
            partition: None,
            ticket: 0,
            failures: 0,
            failing: None,
        }
    }

    /// Why: while one file of 100 GB is hashed, the others must neither fill the disk with copies nor take all descriptors.
    #[test]
    fn a_large_file_holds_back_as_many_as_there_is_room_for() {
        let mut ahead = Ahead::default();
        ahead.add(&file("large", u64::MAX / 2));
        ahead.add(&file("a", ORDERED_BYTES_MAX - 1));
        assert!(ahead.has_room());
        ahead.add(&file("b", 1));
        assert!(!ahead.has_room());
        // Now "a" is the first.
        ahead.remove(OsStr::new("large"));
        assert!(ahead.has_room());
        (0..ORDERED_FILES_MAX - 2).for_each(|n| ahead.add(&file(&n.to_string(), 0)));
        assert!(!ahead.has_room());
        ahead.remove(OsStr::new("7"));
        assert!(ahead.has_room());
    }
}
