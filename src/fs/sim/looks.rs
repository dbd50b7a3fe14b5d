//! What a look at a file shows, where the file system is odd.

use std::io;

use super::state::{Place, State};
use crate::fs::{FileKind, Stat};

impl State {
    /// A file has been renamed to this place.
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

    /// What a look shows; `fresh` if the file system itself is asked.
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
