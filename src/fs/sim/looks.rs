//! The result of a stat on a file system that deviates.

use std::io;

use super::state::{Place, State};
use crate::fs::{FileKind, Stat};

impl State {
    /// Called when a file was renamed.
    pub(super) fn was_renamed(&mut self, place: Place) -> io::Result<()> {
        if self.node(place)?.kind != FileKind::Regular {
            return Ok(());
        }
        if self.behaviour.odd.stale_links > 0 {
            self.behaviour.stale.insert(place, self.behaviour.odd.stale_links);
        }
        if self.behaviour.odd.renumbers {
            self.device(place).renumber(place.node)?;
        }
        Ok(())
    }

    /// The result of a stat; `fresh` for [`crate::fs::Fs::stat_fresh`].
    pub(super) fn look(&mut self, place: Place, fresh: bool) -> io::Result<Stat> {
        let mut stat = self.stat(place)?;
        let counts = fresh && !self.behaviour.odd.always_stale;
        if let Some(left) = self.behaviour.stale.get_mut(&place).filter(|left| **left > 0 && !counts) {
            *left -= 1;
            stat.links += 1;
        }
        Ok(stat)
    }
}
