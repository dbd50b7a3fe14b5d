//! The sample: objects whose bytes are read and hashed.
//!
//! Invariant: a seed selects the same contents each time, in whatever order they come.

use std::sync::atomic::Ordering;

use super::context::{Audit, Pick, Where, lock};
use super::seen::fingerprint;
use crate::audit::finding::{Content, Kind};
use crate::audit::sample::{Sample, mixed};
use crate::lake::Error;
use crate::lake::entry::Claim;
use crate::limits::LAKE_READ_BYTES;
use crate::types::Sha256;
use sha2::Digest as _;

impl Audit<'_> {
    /// Hashes the object if it belongs to the sample, or notes it until that is known.
    pub(super) fn pick(&self, claim: &Claim) -> Result<(), Error> {
        let number = mixed(fingerprint(claim.key.as_bytes()), self.plan.seed);
        let pick = || Pick { number, key: claim.key.clone(), size: claim.size, sha256: claim.sha256 };
        match self.plan.sample {
            Sample::Nothing => Ok(()),
            Sample::All => self.hash(&pick()),
            // The conversion saturates: from 100 on, all are selected.
            Sample::Percent(percent) if number > (percent / 100.0 * u64::MAX as f64) as u64 => Ok(()),
            Sample::Percent(_) => self.hash(&pick()),
            Sample::Count(count) => {
                let mut picks = lock(&self.picks);
                picks.push(pick());
                if picks.len() as u64 > count {
                    picks.pop();
                }
                Ok(())
            }
        }
    }

    /// Hashes what was noted.
    pub(super) fn hash_picked(&self) -> Result<(), Error> {
        let picks = std::mem::take(&mut *lock(&self.picks));
        picks.into_sorted_vec().iter().filter(|_| !self.watch.is_stopped()).try_for_each(|pick| self.hash(pick))
    }

    fn hash(&self, pick: &Pick) -> Result<(), Error> {
        let (mut hasher, mut offset) = (sha2::Sha256::new(), 0);
        while offset < pick.size && !self.watch.is_stopped() {
            let length = (pick.size - offset).min(LAKE_READ_BYTES);
            hasher.update(self.plan.stores.warehouse.get_range(&pick.key, offset, length)?);
            offset += length;
            self.watch.progress.bytes.fetch_add(length, Ordering::Relaxed);
            self.count(|summary| summary.all.bytes += length);
        }
        let found = Sha256(hasher.finalize().into());
        if found != pick.sha256 && offset == pick.size {
            let detail = "its bytes are not those that its metadata names".to_owned();
            let mut finding = self.finding(Kind::Altered, Where::Warehouse, &pick.key, detail);
            finding.expected = Content { size: Some(pick.size), sha256: Some(pick.sha256) };
            finding.actual = Content { size: Some(pick.size), sha256: Some(found) };
            self.watch.reporter.report(&finding);
        }
        Ok(())
    }
}
