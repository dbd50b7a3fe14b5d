//! What the parts of an audit share: the plan, what was found so far, and how it is reported.
//!
//! Invariant: each lock is held only to add or to look up something, never during a request.

use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::seen::Seen;
use crate::audit::finding::{Finding, Kind};
use crate::audit::plan::Summary;
use crate::audit::sample::Sample;
use crate::audit::watch::Watch;
use crate::lake::format::Lake;
use crate::lake::publish::Stores;
use crate::store::location::Location;
use crate::types::{Sha256, UnixMillis};

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
pub(super) struct Audit<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) watch: &'a Watch<'a>,
    pub(super) summary: Mutex<LakeSummary>,
    pub(super) seen: Mutex<Seen>,
    /// The sample, while it is chosen: the contents with the lowest numbers.
    pub(super) picks: Mutex<BinaryHeap<Pick>>,
}

/// A content of the sample; the one with the highest number is left out first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pick {
    pub(super) number: u64,
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) sha256: Sha256,
}

/// The object is in the warehouse, or among the manifests.
#[derive(Clone, Copy)]
pub(super) enum Where {
    Warehouse,
    Manifests,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Audit<'_> {
    pub(super) fn finding(&self, kind: Kind, place: Where, key: &str, detail: String) -> Finding {
        let [warehouse, manifests] = self.plan.places;
        let location = match place {
            Where::Warehouse => warehouse,
            Where::Manifests => manifests,
        };
        Finding::new(kind, PathBuf::from(location.of(key)), detail)
    }

    pub(super) fn report(&self, kind: Kind, place: Where, key: &str, detail: String) {
        self.watch.reporter.report(&self.finding(kind, place, key, detail));
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut LakeSummary)) {
        count(&mut lock(&self.summary));
    }
}
