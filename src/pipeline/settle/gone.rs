//! What a scan has shown, and has not: what follows for duplicates that are kept and sidecars that were used.

use hashbrown::HashSet;

use super::Settle;
use super::tracked::{Mode, Phase, Sighting};
use crate::pipeline::WhyNot;
use crate::types::FileIdentity;

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
            Phase::Waiting { why, .. } => !matches!(why, WhyNot::NoSidecar | WhyNot::UsedSidecar),
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
