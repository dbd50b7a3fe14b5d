//! A store, a clock, and hosts on them, for single situations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::entry::Entry;
use csv_ingestor::lake::format::{Lake, LakeId};
use csv_ingestor::lake::host::{Host, Ingested};
use csv_ingestor::lake::keys;
use csv_ingestor::lake::progress::{Journal, Progress};
use csv_ingestor::lake::publish::Stores;
use csv_ingestor::store::Store;
use csv_ingestor::store::sim::{Faults, SimStore};
use csv_ingestor::types::UnixMillis;

use super::files::Files;
use super::life::{Notebook, Notes};
use super::model::{MANIFESTS, WAREHOUSE};

pub const LAKE: Lake = Lake { id: LakeId([7; 16]), shards: 1, checkpoint_entries: 2 };

/// An instant so many days after the first.
pub fn day(days: u64) -> UnixMillis {
    UnixMillis(1_763_458_200_123 + days * 86_400_000)
}

/// A store, a clock, and hosts on them.
pub struct Desk {
    pub store: SimStore,
    pub lake: Lake,
    seconds: Arc<AtomicU64>,
}

struct DeskClock {
    seconds: Arc<AtomicU64>,
    host: u8,
}

impl Clock for DeskClock {
    fn steady(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    fn pause(&self, time: Duration) {
        self.seconds.fetch_add(time.as_secs() + 1, Ordering::Relaxed);
    }

    fn random(&self) -> [u8; 16] {
        let now = self.seconds.fetch_add(1, Ordering::Relaxed);
        std::array::from_fn(|at| if at == 0 { self.host } else { (now >> (at % 8)) as u8 })
    }
}

impl Desk {
    pub fn new() -> Desk {
        Desk::on(SimStore::new(0, Faults::NONE))
    }

    pub fn on(store: SimStore) -> Desk {
        Desk { store, lake: LAKE, seconds: Arc::default() }
    }

    /// Another lake.
    pub fn of(lake: Lake) -> Desk {
        Desk { lake, ..Desk::new() }
    }

    pub fn host(&self, id: u8) -> Host {
        self.host_on(id, Arc::new(self.store.below(WAREHOUSE)), &Notes::default())
    }

    /// A host that reaches the warehouse in this way and has these notes.
    pub fn host_on(&self, id: u8, warehouse: Arc<dyn Store>, notes: &Notes) -> Host {
        let progress = notes.lock().unwrap().clone();
        self.host_with(id, warehouse, Box::new(Notebook(notes.clone())), &progress)
    }

    /// A host that keeps its notes in this journal, and begins with that progress.
    pub fn host_with(
        &self,
        id: u8,
        warehouse: Arc<dyn Store>,
        journal: Box<dyn Journal>,
        progress: &[Progress],
    ) -> Host {
        let stores = Stores::new(warehouse, Arc::new(self.store.below(MANIFESTS)));
        let clock = DeskClock { seconds: self.seconds.clone(), host: id };
        Host::new(stores, self.lake, [id; 16], Box::new(clock), journal, progress)
    }

    pub fn now(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    /// The entry of this number.
    pub fn entry(&self, number: u64) -> Entry {
        Entry::decode(&self.store.below(WAREHOUSE).peek(&keys::slot(0, number)).unwrap()).unwrap()
    }

    pub fn files(&self, count: u64) -> Files {
        let texts: Vec<String> = (0..count).map(|number| format!("file {number}")).collect();
        Files::of(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn wait(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// A host claims these contents and dies.
    pub fn claim(&self, id: u8, texts: &[&str]) -> Entry {
        let (mut host, files) = (self.host(id), Files::of(texts));
        let Ingested::Claimed(number) = host.ingest(&files.contents(day(0)), &files).unwrap()[0] else {
            panic!("nothing was claimed")
        };
        self.entry(number)
    }

    /// Replaces the last entry.
    pub fn replace(&self, entry: &Entry, bytes: &[u8]) {
        let (store, key) = (self.store.below(WAREHOUSE), keys::slot(0, entry.header.number));
        store.remove_foreign(&key);
        assert!(store.put_foreign(&key, bytes));
    }
}
