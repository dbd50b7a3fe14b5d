//! Opens the lake of a journal: the store, `lake.json`, and the log up to its end.
//!
//! Invariants:
//! - A journal works with one lake and one prefix of it, or with directories: contents that it knows from one place are
//!   not in another.
//! - A store is tried out before a journal uses it for the first time.
//! - To foresee what a host would do needs no request with an effect.

use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::fs::Fs;
use crate::journal::Journal;
use crate::journal::index::Index;
use crate::journal::ingest::Ingest;
use crate::journal::record::{Settings, Upload};
use crate::lake;
use crate::lake::clock::Clock;
use crate::lake::description::{check_manifests, read};
use crate::lake::flight::{Flight, Threads};
use crate::lake::format::{Description, LakeId};
use crate::lake::host::Host;
use crate::lake::parts::Cut;
use crate::lake::probe::{Defect, probe};
use crate::lake::progress::{Progress, Step};
use crate::lake::publish::Stores;
use crate::lake::system_clock::SystemClock;
use crate::limits::{
    LAKE_AWAY_MAX, LAKE_PROBE_HANDLES, LAKE_SKEW_MAX, LAKE_SKEW_WARNED, LAKE_TRY_PAUSE, LAKE_UPLOAD_AGE_MAX,
};
use crate::metrics::Metrics;
use crate::pipeline;
use crate::pipeline::lake::{Away, Lake, Notes, OnAway};
use crate::store::Store;
use crate::store::location::{Location, Options};
use crate::store::open::{Unopened, open};
use crate::store::patient::Patient;
use crate::types::UnixMillis;

/// Opens the store at a location.
pub type Opener = Box<dyn Fn(&Location) -> Result<Arc<dyn Store>, Unopened>>;

/// How a lake is reached.
pub struct Reach {
    /// Opens its stores.
    pub open: Opener,
    /// The host's clock.
    pub clock: Arc<dyn Clock>,
    /// How it waits.
    pub on_away: OnAway,
    /// So long it waits for a store that does not answer, or for entries that stay unfinished; None: for ever.
    pub away_max: Option<Duration>,
    /// How it makes several requests at once.
    pub flight: Box<dyn Flight>,
    /// So many creates race when a store is tried out; 0: it is trusted.
    pub racers: usize,
    /// The lake forgets contents that were listed longer ago than this; None: nothing.
    pub remember: Option<Duration>,
    /// Where large contents are cut: always in the same way.
    pub cut: Cut,
}

impl Reach {
    /// By this machine's clock and network. `ends`: the run ends by itself, and does not wait for ever.
    pub fn real(options: Options, on_away: OnAway, ends: bool) -> Reach {
        let open: Opener = Box::new(move |location| open(location, &options));
        Reach {
            open,
            clock: Arc::new(SystemClock::default()),
            on_away,
            away_max: ends.then_some(LAKE_AWAY_MAX),
            flight: Box::new(Threads),
            racers: LAKE_PROBE_HANDLES,
            remember: None,
            cut: Cut::USUAL,
        }
    }
}

/// Waits, whatever signals come.
pub fn sleeps() -> OnAway {
    let clock = SystemClock::default();
    Box::new(move |time| {
        clock.pause(time);
        true
    })
}

/// Refuses a journal that has worked with another warehouse, if either is a lake.
///
/// # Errors
/// They differ.
pub(super) fn check_same(index: &Index, settings: &Settings) -> Result<(), Error> {
    let Some(known) = index.settings() else { return Ok(()) };
    let is_same = known.warehouse == settings.warehouse && known.manifests == settings.manifests;
    if is_same || !known.is_lake() && !settings.is_lake() {
        return Ok(());
    }
    Err(Error::OtherWarehouse { known: known.warehouse.clone(), now: settings.warehouse.clone() })
}

/// The lake of these settings, read up to its end; None if they name directories. `has_groups`: files are ingested in groups.
///
/// # Errors
/// It cannot be reached, is none, is another one, or its store does not keep what is needed.
pub(super) fn connect<F: Fs>(
    reach: Option<Reach>,
    settings: &Settings,
    (journal, index, now): (&Journal<F>, &Index, UnixMillis),
    metrics: Arc<Metrics>,
    has_groups: bool,
) -> Result<Option<Lake>, Error> {
    if !settings.is_lake() {
        return Ok(None);
    }
    let remember = reach.as_ref().and_then(|reach| reach.remember);
    let mut found = Found::find(reach, settings, index, metrics)?;
    // A lake that was made without manifests gets those of its first host.
    let may_mark = found.description.manifests.is_none() && index.lake().is_none();
    found.check_manifests(may_mark)?;
    if index.lake().is_none() {
        found.try_out()?;
    }
    let mut lake = found.begin(journal.store(), &begun(index, now))?;
    check_groups(&lake, has_groups)?;
    lake.remember(remember);
    Ok(Some(lake))
}

/// The same for a look at it: nothing is written there, and its store is not tried out.
///
/// # Errors
/// As a host's start, as far as reading shows it.
pub fn foresee(
    reach: Option<Reach>,
    settings: &Settings,
    (journal, index): ([u8; 16], &Index),
    has_groups: bool,
) -> Result<Lake, Error> {
    let mut found = Found::find(reach, settings, index, Arc::default())?;
    let is_first = found.description.manifests.is_none() && index.lake().is_none();
    match found.check_manifests(false) {
        // The first host would mark them.
        Err(Error::Pipeline(pipeline::Error::Lake(lake::Error::ManifestsUnmarked { .. }))) if is_first => {}
        checked => checked?,
    }
    let lake = found.begin(journal, &[])?;
    check_groups(&lake, has_groups)?;
    Ok(lake)
}

/// A lake that answers, and is the journal's.
struct Found {
    stores: Stores,
    description: Description,
    warehouse: Location,
    away: Away,
    clock: Arc<dyn Clock>,
    racers: usize,
    cut: Cut,
}

impl Found {
    fn find(reach: Option<Reach>, settings: &Settings, index: &Index, metrics: Arc<Metrics>) -> Result<Found, Error> {
        let warehouse = location(&settings.warehouse)?;
        let reach = reach.ok_or_else(|| Unopened::NotBuilt(warehouse.clone()))?;
        let open = |location: &Location| -> Result<Arc<dyn Store>, Error> {
            let clock = reach.clock.clone();
            let pause = move |tries: u32| clock.pause(LAKE_TRY_PAUSE * tries);
            Ok(Arc::new(Patient::new((reach.open)(location)?, Arc::new(pause))))
        };
        let manifests = open(&location(&settings.manifests)?)?;
        let stores = Stores { warehouse: open(&warehouse)?, manifests, flight: reach.flight };
        let mut away = Away::new(reach.on_away, reach.away_max, metrics);
        let description = away.patiently(&mut || read(stores.warehouse.as_ref()))?;
        let description = description.ok_or_else(|| Error::NoLake(warehouse.clone()))?;
        if let Some(expected) = index.lake().map(LakeId).filter(|expected| *expected != description.lake.id) {
            return Err(lake_error(lake::Error::OtherLake { found: description.lake.id, expected }));
        }
        check_clock(stores.warehouse.skew(), &warehouse)?;
        Ok(Found { stores, description, warehouse, away, clock: reach.clock, racers: reach.racers, cut: reach.cut })
    }

    fn check_manifests(&mut self, may_mark: bool) -> Result<(), Error> {
        let Found { stores, description, away, .. } = self;
        Ok(away.patiently(&mut || check_manifests(stores.manifests.as_ref(), description, may_mark))?)
    }

    /// Refuses a store that does not keep what is needed.
    fn try_out(&mut self) -> Result<(), Error> {
        if self.racers == 0 {
            return Ok(());
        }
        let Found { stores, away, clock, racers, .. } = self;
        let defect = away.patiently(&mut || try_out(&stores.warehouse, *racers, clock.as_ref()))?;
        defect.map_or(Ok(()), |defect| Err(Error::StoreUnsuited { location: self.warehouse.clone(), defect }))
    }

    /// A host that has begun these uploads before, and has read the log up to its end.
    fn begin(self, journal: [u8; 16], begun: &[Progress]) -> Result<Lake, Error> {
        let Found { stores, description, warehouse, away, clock, cut, .. } = self;
        let (notes, lake) = (Notes::default(), description.lake);
        let mut host = Host::new(stores, lake, journal, Box::new(clock), Box::new(notes.clone()), begun);
        host.cut(cut);
        let mut lake = Lake::new(host, lake.id, warehouse, away, notes);
        lake.begin()?;
        Ok(lake)
    }
}

/// The uploads that the journal names, and that the store has not begun to remove: those of files that were not claimed yet.
fn begun(index: &Index, now: UnixMillis) -> Vec<Progress> {
    let age_max = u64::try_from(LAKE_UPLOAD_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
    let upload = |ingest: &Ingest| {
        let target = ingest.target.as_ref()?;
        let upload = target.upload.as_deref().filter(|upload| now.0.saturating_sub(upload.since.0) <= age_max)?;
        let Upload { generation, since, key, id } = upload.clone();
        let step = Step::Uploading { upload: id, key, since };
        Some(Progress { content: target.sha256, generation, step })
    };
    index.open().filter_map(upload).collect()
}

/// Refuses groups in a lake with several shards.
///
/// # Errors
/// It has several.
fn check_groups(lake: &Lake, are_wanted: bool) -> Result<(), Error> {
    match lake.shards() {
        shards if are_wanted && shards > 1 => Err(Error::Usage(format!(
            "--mode group: {} has {shards} shards, and an entry, which is all or nothing, belongs to one; groups need a lake of \
             their own with one shard: csv-ingestor lake init URL --shards 1",
            lake.warehouse
        ))),
        _ => Ok(()),
    }
}

fn lake_error(error: lake::Error) -> Error {
    Error::Pipeline(pipeline::Error::Lake(error))
}

fn location(path: &std::path::Path) -> Result<Location, Error> {
    Location::parse(path.to_str().unwrap_or_default())
        .map_err(|fault| Error::Usage(format!("{}: {fault}", path.display())))
}

/// Compares this host's clock with the store's: partitions come from it, and signatures fail where it is far off.
fn check_clock(skew: Option<i64>, warehouse: &Location) -> Result<(), Error> {
    let Some(ahead_seconds) = skew else { return Ok(()) };
    let off = Duration::from_secs(ahead_seconds.unsigned_abs());
    if off >= LAKE_SKEW_MAX {
        return Err(Error::ClockOff { location: warehouse.clone(), ahead_seconds });
    }
    if off >= LAKE_SKEW_WARNED {
        let path = warehouse.to_string();
        tracing::warn!(event = "store_clock_differs", path, ahead_seconds, "the store's clock is ahead by so much");
    }
    Ok(())
}

/// What the store does wrong, first of all.
fn try_out(store: &Arc<dyn Store>, racers: usize, clock: &dyn Clock) -> Result<Option<Defect>, lake::Error> {
    let handles: Vec<Arc<dyn Store>> = (0..racers).map(|_| store.clone()).collect();
    Ok(probe(&handles, clock)?.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_refused() {
        let warehouse = Location::parse("s3://b/p").unwrap();
        for (skew, is_refused) in [(None, false), (Some(-299), false), (Some(300), true), (Some(-300), true)] {
            assert_eq!(check_clock(skew, &warehouse).is_err(), is_refused, "{skew:?}");
        }
    }
}
