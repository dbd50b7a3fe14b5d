//! Objects that no entry names.
//!
//! Invariants:
//! - Before one is reported, the entries that came since the log was read are looked through.
//! - If a shard cannot be read on, nothing is reported: its entries may name the object.

use super::context::{Audit, Where, lock};
use super::log::Tail;
use crate::audit::finding::Kind;
use crate::lake::Error;
use crate::lake::keys;
use crate::lake::listing::each_key;
use crate::lake::read::Read;
use crate::limits::{LAKE_ENTRY_BYTES_MAX, LAKE_SUSPECTS_MAX};
use crate::store::Store;

impl Audit<'_> {
    /// Lists both stores; `tails` say how far each shard was read.
    pub(super) fn look_for_extras(&self, mut tails: Vec<Tail>) -> Result<(), Error> {
        for place in [Where::Warehouse, Where::Manifests] {
            let mut suspects = Vec::new();
            let mut failed = Ok(());
            each_key(self.store(place), "", &mut |key| {
                if !key.starts_with(keys::OWN) && !self.is_named(place, &key) {
                    suspects.push(key);
                }
                if suspects.len() >= LAKE_SUSPECTS_MAX {
                    failed = self.judge(place, &mut suspects, &mut tails);
                }
                failed.is_ok() && !self.watch.is_stopped()
            })?;
            failed?;
            self.judge(place, &mut suspects, &mut tails)?;
        }
        Ok(())
    }

    fn store(&self, place: Where) -> &dyn Store {
        match place {
            Where::Warehouse => self.plan.stores.warehouse.as_ref(),
            Where::Manifests => self.plan.stores.manifests.as_ref(),
        }
    }

    fn is_named(&self, place: Where, key: &str) -> bool {
        let mut seen = lock(&self.seen);
        match place {
            Where::Warehouse => seen.has_data(key),
            Where::Manifests => seen.has_manifest(key),
        }
    }

    /// Reports those that the newest entries do not name either.
    fn judge(&self, place: Where, suspects: &mut Vec<String>, tails: &mut [Tail]) -> Result<(), Error> {
        for log in tails.iter_mut().flatten() {
            while let Some(bytes) = log.look(self.plan.stores.warehouse.as_ref())? {
                let read = Read::of(&bytes);
                if let Ok(entry) = &read.entry {
                    lock(&self.seen).add(entry);
                }
                log.advance(read.sha256);
            }
        }
        let is_unread = tails.contains(&None);
        for key in suspects.drain(..) {
            match place {
                _ if self.is_named(place, &key) => {}
                _ if is_unread => self.count(|summary| summary.all.undecided += 1),
                Where::Warehouse => self.report(Kind::Extra, place, &key, "no entry names it".to_owned()),
                Where::Manifests => self.report_manifest(&key)?,
            }
        }
        Ok(())
    }

    /// A manifest object that no entry names: its lines may be those of another one.
    fn report_manifest(&self, key: &str) -> Result<(), Error> {
        let store = self.plan.stores.manifests.as_ref();
        let size = store.head(key)?.size.min(LAKE_ENTRY_BYTES_MAX as u64);
        let bytes = store.get_range(key, 0, size)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (mut count, mut again) = (0, 0);
        for line in lines {
            count += 1;
            again += u64::from(lock(&self.seen).has_line(line));
        }
        let (kind, detail) = match again {
            0 => (Kind::Extra, format!("no entry names it; it has {count} lines")),
            _ => (
                Kind::ListedTwice,
                format!("no entry names it, and {again} of its {count} lines are in another object"),
            ),
        };
        self.report(kind, Where::Manifests, key, detail);
        Ok(())
    }
}
