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
        if self.manners.odd.stale_links > 0 {
            self.manners.stale.insert(place, self.manners.odd.stale_links);
        }
        if self.manners.odd.renumbers {
            self.device(place).renumber(place.node)?;
        }
        Ok(())
    }

    /// The result of a stat; `fresh` for [`crate::fs::Fs::stat_fresh`].
    pub(super) fn look(&mut self, place: Place, fresh: bool) -> io::Result<Stat> {
        let mut stat = self.stat(place)?;
        let counts = fresh && !self.manners.odd.always_stale;
        if let Some(left) = self.manners.stale.get_mut(&place).filter(|left| **left > 0 && !counts) {
            *left -= 1;
            stat.links += 1;
        }
        Ok(stat)
    }
}
