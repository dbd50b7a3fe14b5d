//! Which of the files that are known by their inode still lie in staging.
//!
//! Invariants:
//! - A kept duplicate is called gone only after two whole scans, one behind the other, have not shown its inode, the second of
//!   which has looked at every name, also at those that are not ingested.
//! - It is not called gone while a file of equal size waits: that may be it, under another inode number, and its content must
//!   not be forgotten before that one is known.

use hashbrown::{HashMap, HashSet};

use super::{Mode, Phase, Settle, Sighting, Waiting};
use crate::types::FileIdentity;

/// Something that is known by its inode.
#[derive(Clone, Copy, Debug)]
struct Watched {
    identity: FileIdentity,
    is_sidecar: bool,
    /// The last scan that has shown it.
    scan: u16,
    /// The scan before has not shown it.
    missed: bool,
    /// It lies under a name that is not ingested.
    hidden: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Presence {
    watched: HashMap<(u64, u64), Watched>,
    /// The scan under way looks at every name.
    searches: bool,
    search_next: bool,
    /// Something was missed for the first time: another scan at once tells more.
    again: bool,
    /// The scan under way could not look at something.
    is_blind: bool,
    gone: Vec<FileIdentity>,
}

impl Presence {
    pub(super) fn watch(&mut self, identity: FileIdentity, is_sidecar: bool, scan: u16) {
        let watched = Watched { identity, is_sidecar, scan, missed: false, hidden: false };
        self.watched.insert(identity.key(), watched);
    }

    pub(super) fn begin_scan(&mut self) {
        self.searches = std::mem::take(&mut self.search_next);
        (self.is_blind, self.again) = (false, false);
    }

    fn saw(&mut self, key: (u64, u64), scan: u16) {
        if let Some(watched) = self.watched.get_mut(&key) {
            (watched.scan, watched.missed, watched.hidden) = (scan, false, false);
        }
    }

    /// Ends a scan. `may_be` says whether a file of that size waits. Returns what is gone.
    fn end_scan(&mut self, scan: u16, may_be: impl Fn(u64) -> bool) -> Vec<Watched> {
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

impl Settle {
    /// Watches a duplicate that the journal calls kept, whether it is recognized or looked at anew.
    pub fn watch_kept(&mut self, identity: FileIdentity) {
        self.presence.watch(identity, false, self.scan);
    }

    /// True if the scan under way is to look at every name, and tell what it finds to [`Settle::found_elsewhere`].
    pub fn searches(&self) -> bool {
        self.presence.searches
    }

    /// A file lies in staging under a name that is not ingested.
    pub fn found_elsewhere(&mut self, identity: &FileIdentity) {
        let scan = self.scan;
        if let Some(watched) = self.presence.watched.get_mut(&identity.key()).filter(|watched| watched.scan != scan) {
            (watched.scan, watched.hidden) = (scan, true);
        }
    }

    /// The scan under way could not look at a name: from what it does not show, nothing follows.
    pub fn could_not_look(&mut self) {
        self.presence.is_blind = true;
    }

    /// True if another scan at once would tell whether something is gone.
    pub fn wants_another_scan(&self) -> bool {
        self.presence.again
    }

    /// True if the last scan has not shown something that is not known to be gone.
    pub fn misses_something(&self) -> bool {
        self.presence.search_next
    }

    /// The kept duplicates that were found gone since the last time.
    pub fn take_gone(&mut self) -> Vec<FileIdentity> {
        std::mem::take(&mut self.presence.gone)
    }

    /// A file that may be ingested, and its sidecar, are there.
    pub(super) fn note_presence(&mut self, sighting: Option<&Sighting>) {
        let Some(sighting) = sighting else { return };
        self.presence.saw(sighting.stat.identity.key(), self.scan);
        if let Some(sidecar) = sighting.sidecar {
            self.presence.saw(sidecar.key(), self.scan);
        }
    }

    /// At the end of a whole scan.
    pub(super) fn find_gone(&mut self) {
        let (scan, tracked) = (self.scan, &self.tracked);
        // What waits for its sidecar, or is held, is hashed when that changes, and not before.
        let may_be_it = |phase: &Phase| match phase {
            Phase::Held { .. } => false,
            Phase::Waiting { why, .. } => !matches!(why, Waiting::NoSidecar | Waiting::UsedSidecar),
            Phase::Ready | Phase::InFlight { .. } => true,
        };
        let waiting = tracked.values().filter(|_| self.presence.searches).filter(|it| may_be_it(&it.phase));
        let sizes: HashSet<u64> = waiting.map(|it| it.identity.size).collect();
        let may_be = |size: u64| sizes.contains(&size);
        for gone in self.presence.end_scan(scan, may_be) {
            let key = gone.identity.key();
            if gone.is_sidecar {
                self.used_sidecars.remove(&key);
                continue;
            }
            if self.kept.get(&key).is_some_and(|kept| kept.identity == gone.identity) {
                self.kept.remove(&key);
            }
            self.presence.gone.push(gone.identity);
        }
    }

    /// A sidecar must not release another file, as long as it is there.
    pub(super) fn use_sidecar(&mut self, sidecar: FileIdentity) {
        self.used_sidecars.insert(sidecar.key(), sidecar);
        if self.mode == Mode::Sidecar {
            self.presence.watch(sidecar, true, self.scan);
        }
    }
}
