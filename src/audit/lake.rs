//! Audit of a lake: every entry of its log, every object that the entries name, and every object that none names.
//!
//! Invariants:
//! - It only reads, and works beside running hosts.
//! - The log is read first and the listings afterwards: a data object is created after its entry, so whatever is listed and
//!   in no entry yet is looked for in the entries that came meanwhile before it is reported.
//! - An entry counts as finished if its manifest objects are there, or if a later entry says so.
//! - Memory: 16 bytes for each content, 8 for each manifest object, the contents of one shard, and some entries.
//!
//! Two keys with one 64-bit fingerprint would hide a foreign object: one in 2^64 for each pair.

mod extra;
mod log;
mod objects;
mod picked;
mod seen;

use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::picked::Pick;
use self::seen::Seen;
use super::finding::{Finding, Kind};
use super::plan::Summary;
use super::sample::Sample;
use super::watch::Watch;
use crate::lake::Error;
use crate::lake::format::Lake;
use crate::lake::publish::Stores;
use crate::store::location::Location;
use crate::types::UnixMillis;

/// What to audit, and how.
pub struct Plan<'a> {
    /// The lake.
    pub lake: &'a Lake,
    /// Its stores.
    pub stores: &'a Stores,
    /// Where they are, for people: the warehouse, and the manifests.
    pub places: [&'a Location; 2],
    /// Look only at objects of contents that were ingested at this instant or later.
    pub since: Option<UnixMillis>,
    /// How many objects are read and hashed; of all others, size and metadata are compared.
    pub sample: Sample,
    /// The seed that selects the sample.
    pub seed: u64,
    /// The time by this host's clock.
    pub now: UnixMillis,
    /// How long hosts may take to finish an entry.
    pub grace: Duration,
}

/// The result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LakeSummary {
    /// Lines and data objects; those of entries that are being finished are `on_their_way`, and objects that an entry which
    /// cannot be read may explain are `undecided`.
    pub all: Summary,
    /// Entries that were read.
    pub entries: u64,
    /// Entries that an operator has skipped.
    pub skipped: u64,
}

/// An audit under way.
struct Audit<'a> {
    plan: &'a Plan<'a>,
    watch: &'a Watch<'a>,
    summary: Mutex<LakeSummary>,
    seen: Mutex<Seen>,
    /// The sample, while it is chosen: the contents with the lowest numbers.
    picks: Mutex<BinaryHeap<Pick>>,
}

/// The object is in the warehouse, or among the manifests.
#[derive(Clone, Copy)]
enum Where {
    Warehouse,
    Manifests,
}

/// Audits the lake.
///
/// # Errors
/// A store fails. Whatever is wrong with the lake is a finding.
pub fn run(plan: &Plan<'_>, watch: &Watch<'_>) -> Result<LakeSummary, Error> {
    let (summary, seen, picks) = (Mutex::default(), Mutex::default(), Mutex::default());
    let audit = Audit { plan, watch, summary, seen, picks };
    let mut tails = Vec::new();
    for number in 0..plan.lake.shards {
        tails.push(audit.read_shard(number)?);
    }
    audit.hash_picked()?;
    audit.look_for_extras(tails)?;
    let mut summary = *lock(&audit.summary);
    summary.all.is_interrupted = watch.is_stopped();
    Ok(summary)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Audit<'_> {
    fn finding(&self, kind: Kind, place: Where, key: &str, detail: String) -> Finding {
        let [warehouse, manifests] = self.plan.places;
        let location = match place {
            Where::Warehouse => warehouse,
            Where::Manifests => manifests,
        };
        Finding::new(kind, PathBuf::from(location.of(key)), detail)
    }

    fn report(&self, kind: Kind, place: Where, key: &str, detail: String) {
        self.watch.reporter.report(&self.finding(kind, place, key, detail));
    }

    fn count(&self, count: impl FnOnce(&mut LakeSummary)) {
        count(&mut lock(&self.summary));
    }
}
