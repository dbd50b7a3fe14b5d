//! Draws conclusions from what a scan has shown and has not: for kept duplicates and used sidecars.

use std::ffi::OsStr;
use std::sync::Arc;

use hashbrown::HashSet;

use super::Settle;
use super::tracked::{Mode, Phase, Sighting};
use crate::pipeline::WhyNot;
use crate::types::FileIdentity;

impl Settle {
    /// Watches a duplicate that the journal has as kept, whether it is recognized or checked again.
    pub fn watch_kept(&mut self, identity: FileIdentity) {
        self.presence.watch(identity, false, self.scan);
    }

    /// True if the current scan must check every name, and pass other files to [`Settle::found_elsewhere`].
    pub fn searches(&self) -> bool {
        self.presence.searches
    }

    /// A file is in staging under a name that is not ingested.
    pub fn found_elsewhere(&mut self, identity: &FileIdentity) {
        let scan = self.scan;
        if let Some(watched) = self.presence.watched.get_mut(&identity.key()).filter(|watched| watched.scan != scan) {
            (watched.scan, watched.hidden) = (scan, true);
        }
    }

    /// The current scan could not check a name: a file that it does not show may still be there.
    pub fn could_not_look(&mut self) {
        self.presence.is_blind = true;
    }

    /// True if another scan right now would show whether a file is gone.
    pub fn wants_another_scan(&self) -> bool {
        self.presence.again
    }

    /// True if the last scan has not shown a watched file that is not yet known to be gone.
    pub fn misses_something(&self) -> bool {
        self.presence.search_next
    }

    /// The kept duplicates that were found gone since the last call.
    pub fn take_gone(&mut self) -> Vec<FileIdentity> {
        std::mem::take(&mut self.presence.gone)
    }

    /// A file that may be ingested, and its sidecar, exist.
    pub(super) fn note_presence(&mut self, sighting: Option<&Sighting>) {
        let Some(sighting) = sighting else { return };
        self.presence.saw(sighting.stat.identity.key(), self.scan);
        if let Some(sidecar) = sighting.sidecar {
            self.presence.saw(sidecar.key(), self.scan);
        }
    }

    /// Concludes a whole scan.
    pub(super) fn find_gone(&mut self) {
        let (scan, tracked) = (self.scan, &self.tracked);
        // A file that is held or waits for its sidecar is hashed only when that changes.
        let may_be_it = |phase: &Phase| match phase {
            Phase::Held { why, .. } => *why == WhyNot::TooYoung,
            Phase::Waiting { why, .. } => !matches!(why, WhyNot::NoSidecar | WhyNot::UsedSidecar),
            Phase::Ready | Phase::InFlight { .. } => true,
        };
        let waiting =
            tracked.iter().map(|(_, it)| it).filter(|_| self.presence.searches).filter(|it| may_be_it(&it.phase));
        let sizes: HashSet<u64> = waiting.map(|it| it.identity.size).collect();
        let may_be = |size: u64| sizes.contains(&size);
        for gone in self.presence.end_scan(scan, may_be) {
            let key = gone.identity.key();
            if gone.is_sidecar {
                self.sidecars.end_use(key);
                continue;
            }
            if self.kept.get(&key).is_some_and(|kept| kept.identity == gone.identity) {
                self.kept.remove(&key);
            }
            self.presence.gone.push(gone.identity);
        }
    }

    /// As long as this sidecar exists, it must not release another file; if it may be shared, none of that name.
    pub(super) fn use_sidecar(&mut self, sidecar: FileIdentity, name: Option<&Arc<OsStr>>) {
        self.sidecars.record_use(sidecar, name);
        if self.mode == Mode::Sidecar {
            self.presence.watch(sidecar, true, self.scan);
        }
    }
}
