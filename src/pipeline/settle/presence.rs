//! Which of the files that are known by their inode still lie in staging.
//!
//! Invariants:
//! - A kept duplicate is called gone only after two whole scans, one behind the other, have not shown its inode, the second of
//!   which has looked at every name, also at those that are not ingested.
//! - It is not called gone while a file of equal size waits: that may be it, under another inode number, and its content must
//!   not be forgotten before that one is known.

use hashbrown::HashMap;

use crate::types::FileIdentity;

/// Something that is known by its inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) identity: FileIdentity,
    pub(super) is_sidecar: bool,
    /// The last scan that has shown it.
    pub(super) scan: u16,
    /// The scan before has not shown it.
    pub(super) missed: bool,
    /// It lies under a name that is not ingested.
    pub(super) hidden: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pub(super) watched: HashMap<(u64, u64), Present>,
    /// The scan under way looks at every name.
    pub(super) searches: bool,
    pub(super) search_next: bool,
    /// Something was missed for the first time: another scan at once tells more.
    pub(super) again: bool,
    /// The scan under way could not look at something.
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

    /// Ends a scan. `may_be` says whether a file of that size waits. Returns what is gone.
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
