//! The objects that entries name: there, with the right size and the right SHA-256.
//!
//! Invariant: an object that is missing is a finding only if its entry is finished, or has not been finished in time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::context::{Audit, Where, lock};
use crate::audit::finding::{Content, Kind};
use crate::lake::Error;
use crate::lake::entry::{Claim, Entry};
use crate::lake::flight::{Flight as _, Threads};
use crate::lake::publish;
use crate::limits::{LAKE_LOOKS_AT_ONCE, LAKE_TRIES_MAX};
use crate::store::{self, Head, Store};
use crate::types::{Sha256, UnixMillis};
use sha2::Digest as _;

/// Whether an entry is finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It was ingested before the time that is looked at.
    #[default]
    Old,
    /// All its data objects must be there.
    Finished,
    /// It may be finished at any moment, or never.
    Unfinished,
}

/// What the store says of an object; None if it is not there. A store that does not answer is asked again.
pub(super) fn head(store: &dyn Store, key: &str) -> store::Result<Option<Head>> {
    let mut tries = 1;
    loop {
        match store.head(key) {
            Ok(head) => return Ok(Some(head)),
            Err(error) if error.kind == store::Kind::NotFound => return Ok(None),
            Err(error) if tries == LAKE_TRIES_MAX => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

impl Audit<'_> {
    /// Checks the objects of these entries; everything below `floor` is finished.
    pub(super) fn check_block(&self, entries: &[Entry], floor: u64) -> Result<(), Error> {
        for entry in entries {
            lock(&self.seen).add(entry);
        }
        let lines = entries.iter().map(|entry| entry.claims().len() as u64).sum();
        self.watch.progress.lines.fetch_add(lines, Ordering::Relaxed);
        self.count(|summary| summary.all.lines += lines);
        let (states, failed) = (Mutex::new(vec![State::default(); entries.len()]), Mutex::new(None));
        Threads.each(LAKE_LOOKS_AT_ONCE, entries.len(), &|at| match self.check_lines(&entries[at], floor) {
            Ok(state) => lock(&states)[at] = state,
            Err(error) => *lock(&failed) = Some(error),
        });
        let states = states.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let looked = entries.iter().zip(states).filter(|(_, state)| *state != State::Old);
        let claims: Vec<(&Entry, &Claim, State)> =
            looked.flat_map(|(entry, state)| entry.claims().iter().map(move |claim| (entry, claim, state))).collect();
        Threads.each(LAKE_LOOKS_AT_ONCE, claims.len(), &|at| {
            let (entry, claim, state) = claims[at];
            if !self.watch.is_stopped()
                && let Err(error) = self.check_data(entry, claim, state)
            {
                *lock(&failed) = Some(error);
            }
        });
        failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The manifest objects of an entry.
    fn check_lines(&self, entry: &Entry, floor: u64) -> Result<State, Error> {
        let newest = entry.claims().iter().map(|claim| claim.ingested_at).max();
        let Some(newest) = newest.filter(|newest| self.plan.since.is_none_or(|since| *newest >= since)) else {
            return Ok(State::Old);
        };
        let mut missing = BTreeMap::new();
        for (key, bytes) in publish::manifests(entry) {
            let expected = Head { size: bytes.len() as u64, sha256: Some(Sha256(sha2::Sha256::digest(&bytes).into())) };
            match head(self.plan.stores.manifests.as_ref(), &key)? {
                Some(found) if found == expected => {}
                Some(found) => self.report_altered(Where::Manifests, &key, &expected, &found, entry),
                None => drop(missing.insert(key, bytes)),
            }
        }
        if missing.is_empty() {
            return Ok(State::Finished);
        }
        if entry.header.number < floor {
            for key in missing.keys() {
                let detail = format!("the lines of {} are gone; later entries say that it was finished", name(entry));
                self.report(Kind::NotListed, Where::Manifests, key, detail);
            }
            return Ok(State::Finished);
        }
        let claims = entry.claims().len() as u64;
        if UnixMillis(newest.0.saturating_add(self.plan.grace.as_millis() as u64)) < self.plan.now {
            let detail = format!("{} is not finished: {claims} contents have no line yet", name(entry));
            let key = crate::lake::keys::slot(entry.header.shard, entry.header.number);
            self.report(Kind::Unfinished, Where::Warehouse, &key, detail);
        } else {
            self.count(|summary| summary.all.on_their_way += claims);
        }
        Ok(State::Unfinished)
    }

    fn check_data(&self, entry: &Entry, claim: &Claim, state: State) -> Result<(), Error> {
        let expected = Head { size: claim.size, sha256: Some(claim.sha256) };
        match head(self.plan.stores.warehouse.as_ref(), &claim.key)? {
            Some(found) if found == expected => {
                self.count(|summary| summary.all.files += 1);
                self.watch.progress.files.fetch_add(1, Ordering::Relaxed);
                self.pick(claim)?;
            }
            Some(found) => self.report_altered(Where::Warehouse, &claim.key, &expected, &found, entry),
            None if state == State::Finished => {
                let mut finding =
                    self.finding(Kind::Missing, Where::Warehouse, &claim.key, format!("{} names it", name(entry)));
                finding.expected = Content { size: Some(claim.size), sha256: Some(claim.sha256) };
                self.watch.reporter.report(&finding);
            }
            None => {}
        }
        Ok(())
    }

    fn report_altered(&self, place: Where, key: &str, expected: &Head, found: &Head, entry: &Entry) {
        let detail = format!("it is not what {} says", name(entry));
        let mut finding = self.finding(Kind::Altered, place, key, detail);
        finding.expected = Content { size: Some(expected.size), sha256: expected.sha256 };
        finding.actual = Content { size: Some(found.size), sha256: found.sha256 };
        self.watch.reporter.report(&finding);
    }
}

fn name(entry: &Entry) -> String {
    format!("entry {} of shard {}", entry.header.number, entry.header.shard)
}
