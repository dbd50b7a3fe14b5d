//! Contents that are claimed together or not at all: one entry claims all of them.
//!
//! Invariants:
//! - *All or none*: an entry is made only while each of the contents is new, as read up to the slot before. If an entry that
//!   was read claims one of them, nothing is claimed, and the caller decides anew.
//! - It is made when the store has confirmed the bytes of all of them: their pack, and each upload.
//! - What does not fit into one entry is never claimed in part.

use super::ingest::Batch;
use super::{Content, Fate, Fates, Host, Staging};
use crate::lake::error::Error;
use crate::lake::log::Appended;
use crate::lake::parts::Cut;
use crate::limits::{LAKE_CLAIMS_MAX, LAKE_PACK_BYTES_MAX, LAKE_UPLOADS_MAX};
use crate::types::Sha256;

/// What became of contents that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whole {
    /// This entry of this host claims all of them now.
    Claimed(u64),
    /// An entry that was read claims some of them, or all; or has claimed them, and they were forgotten since the last call.
    Taken,
    /// Too many entries are unfinished: these come first.
    Busy,
    /// Bytes are under way: call again.
    UnderWay,
    /// The bytes of this one are not at hand any more, or not those of its SHA-256.
    Differs(Sha256),
    /// No entry can ever claim them together, for this reason.
    Unfit(&'static str),
}

impl Host {
    /// Claims all of these contents, or none, with one entry. They are of one shard, and no two are the same. After an error
    /// nothing is claimed, or all will turn out to be claimed, even if they were forgotten since: the next call returns
    /// [`Whole::Taken`] then, and [`Host::last_claim_of`] the claims.
    ///
    /// # Errors
    /// The store, the log or the journal fails.
    pub fn ingest_whole(&mut self, contents: &[Content], staging: &dyn Staging) -> Result<Whole, Error> {
        let Some(first) = contents.first() else { return Ok(Whole::Unfit("there are none")) };
        let shard = self.shard_of(&first.sha256);
        if contents.iter().any(|content| self.shard_of(&content.sha256) != shard) {
            return Ok(Whole::Unfit("they belong to several shards of the lake, and an entry to one"));
        }
        if contents.len() > LAKE_CLAIMS_MAX {
            return Ok(Whole::Unfit("there are more of them than an entry can claim"));
        }
        let usual = self.cut;
        self.cut = Cut { packed_max: packed_max(contents, usual.packed_max), ..usual };
        let whole = self.ingest_as_cut(shard, &contents.iter().collect::<Vec<_>>(), staging);
        self.cut = usual;
        whole
    }

    fn ingest_as_cut(&mut self, shard: usize, contents: &[&Content], staging: &dyn Staging) -> Result<Whole, Error> {
        self.read_shard(shard)?;
        if self.unsure.were_forgotten(shard, &self.shards[shard]) || !self.are_new(contents) {
            return Ok(Whole::Taken);
        }
        if self.shards[shard].unfinished.are_too_many() {
            return Ok(Whole::Busy);
        }
        if let Some(stops) = self.upload_some(shard, contents, staging)? {
            return Ok(stops);
        }
        let mut fates = Fates::new();
        let mut batch = self.gather(shard, contents, staging, &mut fates);
        if batch.members.len() < contents.len() {
            let stops = fates.into_iter().find_map(|(content, fate)| stops(content, &fate));
            return Ok(stops.unwrap_or(Whole::Unfit("their claims and manifest lines are too long for one entry")));
        }
        self.store_pack(&batch)?;
        loop {
            // The bytes take time, in which others may have appended: a read costs less than a slot that is lost to them.
            if batch.pack.is_some() && self.shards[shard].pace.active(self.clock.steady()) > 1 {
                self.read_shard(shard)?;
            }
            if let Some(stops) = self.stops_whole(shard, contents, &mut batch) {
                return Ok(stops);
            }
            let entry = self.entry(shard, &batch, staging);
            if self.append(shard, &entry)? == Appended::Ours {
                self.appended(shard, &entry)?;
                return Ok(Whole::Claimed(entry.header.number));
            }
            self.read_shard(shard)?;
        }
    }

    fn are_new(&self, contents: &[&Content]) -> bool {
        contents.iter().all(|content| self.next_generation(&content.sha256).is_some())
    }

    /// Puts parts of those that are not uploaded yet, for a while. None if all are there.
    fn upload_some(
        &mut self,
        shard: usize,
        contents: &[&Content],
        staging: &dyn Staging,
    ) -> Result<Option<Whole>, Error> {
        let is_missing = |content: &&&Content| {
            let generation = self.next_generation(&content.sha256).unwrap_or(0);
            self.cut.is_large(content.size) && self.uploaded(&content.sha256, generation).is_none()
        };
        let missing: Vec<&Content> = contents.iter().filter(is_missing).take(LAKE_UPLOADS_MAX).copied().collect();
        if missing.is_empty() {
            return Ok(None);
        }
        if let Some(why) = missing.iter().find_map(|content| self.unfit(content)) {
            return Ok(Some(Whole::Unfit(why)));
        }
        let mut fates = Fates::new();
        let failed = self.upload(shard, &missing, staging, &mut fates)?;
        match (fates.into_iter().find_map(|(content, fate)| stops(content, &fate)), failed) {
            (Some(stops), _) => Ok(Some(stops)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Some(Whole::UnderWay)),
        }
    }

    /// Why this batch cannot be claimed as a whole any more, as far as the log was read.
    fn stops_whole(&self, shard: usize, contents: &[&Content], batch: &mut Batch<'_>) -> Option<Whole> {
        self.take_out(shard, batch);
        let is_whole = batch.members.len() == contents.len();
        match (is_whole, self.are_new(contents)) {
            (true, _) => None,
            (false, false) => Some(Whole::Taken),
            // The pack has become too old, or one of them was claimed and forgotten: it needs another pack.
            (false, true) => Some(Whole::UnderWay),
        }
    }
}

/// What a fate means for all of them.
fn stops(content: Sha256, fate: &Fate) -> Option<Whole> {
    match fate {
        Fate::Differs => Some(Whole::Differs(content)),
        Fate::Unfit(why) => Some(Whole::Unfit(why)),
        Fate::Claimed { .. } | Fate::Taken { .. } | Fate::Left => None,
    }
}

/// Up to which size contents go into the pack, so that all of these fit: larger ones are uploaded, as large ones are.
fn packed_max(contents: &[Content], usual: u64) -> u64 {
    let mut sizes: Vec<u64> = contents.iter().map(|content| content.size).filter(|size| *size <= usual).collect();
    if sizes.iter().sum::<u64>() <= LAKE_PACK_BYTES_MAX {
        return usual;
    }
    sizes.sort_unstable();
    let (mut bytes, mut most) = (0, 0);
    for same in sizes.chunk_by(|one, other| one == other) {
        bytes += same.iter().sum::<u64>();
        if bytes > LAKE_PACK_BYTES_MAX {
            break;
        }
        most = same[0];
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UnixMillis;

    fn sized(sizes: &[u64]) -> Vec<Content> {
        let content = |size: &u64| Content {
            sha256: Sha256([0; 32]),
            size: *size,
            partition: String::new(),
            name: Vec::new(),
            ingested_at: UnixMillis(0),
            parts: None,
        };
        sizes.iter().map(content).collect()
    }

    /// A pack takes the smallest, as many as fit; those of one size go the same way.
    #[test]
    fn what_does_not_fit_into_a_pack_is_uploaded() {
        const MIB: u64 = 1 << 20;
        let usual = Cut::USUAL.packed_max;
        assert_eq!(packed_max(&sized(&[usual; 8]), usual), usual);
        assert_eq!(packed_max(&sized(&[usual; 9]), usual), 0);
        let mixed = [&[8 * MIB; 8][..], &[5 * MIB, 900 * MIB, 3 * MIB, 0]].concat();
        assert_eq!(packed_max(&sized(&mixed), usual), 5 * MIB);
        assert_eq!(packed_max(&sized(&[900 * MIB, 1]), usual), usual);
        assert_eq!(packed_max(&[], usual), usual);
    }
}
