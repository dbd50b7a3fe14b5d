//! A way to a store that fails where a test says so, and that counts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use csv_ingestor::store::sim::SimStore;
use csv_ingestor::store::{Error, Head, Kind, Part, Result, Store, Verb};
use csv_ingestor::types::{Sha256, UnixMillis};

/// What happens to a request.
#[derive(Clone, Copy)]
pub enum Answer {
    /// It arrives and is answered.
    Right,
    /// It never arrives, and this is known about it.
    Never(Kind),
    /// It has its effect, and this is the answer.
    Lost(Kind),
}

#[derive(Default)]
struct Count {
    all: BTreeMap<Verb, usize>,
    now: BTreeMap<Verb, usize>,
    most: BTreeMap<Verb, usize>,
}

type Rule<'a> = Box<dyn Fn(Verb, &str) -> Answer + Send + Sync + 'a>;

/// The store, with a rule for each request.
pub struct Door<'a> {
    store: SimStore,
    rule: Rule<'a>,
    counts: Mutex<Count>,
    /// So many requests of one kind are expected at once; they wait for each other.
    crowd: usize,
}

impl<'a> Door<'a> {
    pub fn new(store: SimStore, rule: impl Fn(Verb, &str) -> Answer + Send + Sync + 'a) -> Door<'a> {
        Door { store, rule: Box::new(rule), counts: Mutex::default(), crowd: 0 }
    }

    /// Requests wait until there are so many of their kind, or some time has passed.
    pub fn crowd(store: SimStore, crowd: usize) -> Door<'a> {
        Door { crowd, ..Door::new(store, |_, _| Answer::Right) }
    }

    /// Requests of this kind so far.
    pub fn count(&self, verb: Verb) -> usize {
        self.counts.lock().unwrap().all.get(&verb).copied().unwrap_or(0)
    }

    /// The most requests of this kind that were under way at once.
    pub fn most(&self, verb: Verb) -> usize {
        self.counts.lock().unwrap().most.get(&verb).copied().unwrap_or(0)
    }

    fn enter(&self, verb: Verb) {
        {
            let mut counts = self.counts.lock().unwrap();
            *counts.all.entry(verb).or_default() += 1;
            let now = counts.now.entry(verb).or_default();
            *now += 1;
            let now = *now;
            let most = counts.most.entry(verb).or_default();
            *most = now.max(*most);
        }
        let until = Instant::now() + Duration::from_millis(300);
        while self.most(verb) < self.crowd && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn pass<T>(&self, verb: Verb, key: &str, call: impl FnOnce(&SimStore) -> Result<T>) -> Result<T> {
        self.enter(verb);
        let fails = |kind| Err(Error { verb, key: key.to_owned(), kind, detail: String::new() });
        let result = match (self.rule)(verb, key) {
            Answer::Right => call(&self.store),
            Answer::Never(kind) => fails(kind),
            Answer::Lost(kind) => call(&self.store).and_then(|_| fails(kind)),
        };
        *self.counts.lock().unwrap().now.entry(verb).or_default() -= 1;
        result
    }
}

impl Store for Door<'_> {
    fn create(&self, key: &str, bytes: &[u8], sha256: &Sha256) -> Result<()> {
        self.pass(Verb::Create, key, |store| store.create(key, bytes, sha256))
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.pass(Verb::Get, key, |store| store.get(key))
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.pass(Verb::Get, key, |store| store.get_range(key, offset, length))
    }

    fn head(&self, key: &str) -> Result<Head> {
        self.pass(Verb::Head, key, |store| store.head(key))
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.pass(Verb::Delete, key, |store| store.delete(key))
    }

    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        self.pass(Verb::List, prefix, |store| store.list_ages(prefix, after))
    }

    fn begin_upload(&self, key: &str, sha256: &Sha256) -> Result<String> {
        self.pass(Verb::BeginUpload, key, |store| store.begin_upload(key, sha256))
    }

    fn put_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part> {
        self.pass(Verb::PutPart, key, |store| store.put_part(key, upload, number, bytes, sha256))
    }

    fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()> {
        self.pass(Verb::Complete, key, |store| store.complete(key, upload, parts))
    }

    fn abort(&self, key: &str, upload: &str) -> Result<()> {
        self.pass(Verb::Abort, key, |store| store.abort(key, upload))
    }

    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>> {
        self.pass(Verb::ListParts, key, |store| store.list_parts(key, upload))
    }
}
