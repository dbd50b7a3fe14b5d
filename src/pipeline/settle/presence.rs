//! Tracks which of the files that are known by their inode are still in staging.
//!
//! Invariants:
//! - A kept duplicate counts as gone only after two consecutive whole scans have not shown its inode, the second of which
//!   has checked every name, including those that are not ingested.
//! - It does not count as gone while a file of equal size waits: that file may be the same one under another inode
//!   number, and the content must not be forgotten before that is known.

use hashbrown::HashMap;

use crate::types::FileIdentity;

/// A file or sidecar that is known by its inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) identity: FileIdentity,
    pub(super) is_sidecar: bool,
    /// The last scan that showed it.
    pub(super) scan: u16,
    /// The scan before did not show it.
    pub(super) missed: bool,
    /// It has a name that is not ingested.
    pub(super) hidden: bool,
}

/// All watched files and sidecars.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pub(super) watched: HashMap<(u64, u64), Present>,
    /// The current scan checks every name.
    pub(super) searches: bool,
    pub(super) search_next: bool,
    /// A file was missed for the first time: another scan right now would show more.
    pub(super) again: bool,
    /// The current scan could not check a name.
    pub(super) is_blind: bool,
    pub(super) gone: Vec<FileIdentity>,
}

impl Presence {
    pub(super) fn watch(&mut self, identity: FileIdentity, is_sidecar: bool, scan: u16) {
        let watched = Present { identity, is_sidecar, scan, missed: false, hidden: false };
        self.watched.insert(identity.key(), watched);
    }

    pub(super) fn begin_scan(&mut self) {
        self.searches = std::mem::take(&mut self.search_next);
        (self.is_blind, self.again) = (false, false);
    }

    pub(super) fn saw(&mut self, key: (u64, u64), scan: u16) {
        if let Some(watched) = self.watched.get_mut(&key) {
            (watched.scan, watched.missed, watched.hidden) = (scan, false, false);
        }
    }

    /// Ends a scan. `may_be` says whether a file of that size waits. Returns the files that are gone.
    pub(super) fn end_scan(&mut self, scan: u16, may_be: impl Fn(u64) -> bool) -> Vec<Present> {
        if self.is_blind {
            return Vec::new();
        }
        let searched = self.searches;
        let (mut search_next, mut again) = (false, false);
        let gone = self.watched.extract_if(|_, watched| {
            if watched.scan == scan {
                return false;
            }
            let is_gone = searched && watched.missed && (watched.is_sidecar || !may_be(watched.identity.size));
            again |= !watched.missed && !watched.hidden;
            watched.missed = true;
            search_next |= !is_gone;
            is_gone
        });
        let gone = gone.map(|(_, watched)| watched).collect();
        (self.search_next, self.again) = (search_next, again);
        gone
    }
}
