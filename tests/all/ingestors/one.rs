//! One ingestor, and now and then another host of its lake, in situations that are worth a test of their own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csv_ingestor::Error;
use csv_ingestor::engine::lake::Reach;
use csv_ingestor::engine::{self, Options};
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::{DuplicateAction, Settings};
use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::entry::Entry;
use csv_ingestor::lake::flight::OneByOne;
use csv_ingestor::lake::format::{Description, Lake, LakeId};
use csv_ingestor::lake::keys;
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::pipeline;
use csv_ingestor::store::Store;
use csv_ingestor::store::sim::{Faults, SimStore};
use serde_json::Value;

use super::life::{Ingestor, STAGING, STATE, is_empty, options};
use super::model::{MANIFESTS, WAREHOUSE, sha256};

pub struct Ticks(pub AtomicU64);

impl Clock for Ticks {
    fn steady(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn pause(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    fn random(&self) -> [u8; 16] {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        std::array::from_fn(|at| (number >> (8 * (at % 8))) as u8 ^ at as u8)
    }
}

/// A store with an empty lake.
pub fn lake(id: u8) -> SimStore {
    let store = SimStore::new(1, Faults::NONE);
    let lake = Lake { id: LakeId([id; 16]), shards: 1, checkpoint_entries: 4 };
    let description = Description { lake, manifests: None };
    store.below(WAREHOUSE).put_foreign(keys::LAKE, &description.encode());
    store.below(MANIFESTS).put_foreign(keys::LAKE, &description.encode());
    store
}

/// Waits for the store so often, and gives up then.
pub fn reach(store: &SimStore, patience: u64) -> Reach {
    let (store, left) = (store.clone(), AtomicU64::new(patience));
    let less = move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    Reach {
        open: Box::new(move |location| Ok(Arc::new(store.below(&format!("{}/", location.prefix))) as Arc<dyn Store>)),
        clock: Arc::new(Ticks(AtomicU64::new(1))),
        on_away: Box::new(move |_| less()),
        away_max: None,
        flight: Box::new(OneByOne),
        racers: 0,
        remember: None,
        cut: Cut::USUAL,
    }
}

/// The entries of a lake's only shard.
pub fn entries(store: &SimStore) -> Vec<Entry> {
    let warehouse = store.below(WAREHOUSE);
    let all = (0..).map_while(|number| warehouse.peek(&keys::slot(0, number)));
    all.map(|bytes| Entry::decode(&bytes).unwrap()).collect()
}

pub fn machine() -> SimFs {
    machine_of(3)
}

/// One of several.
pub fn machine_of(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    fs.upstream().mkdir_all(STAGING).unwrap();
    fs.upstream().sync();
    fs
}

pub fn stage(fs: &SimFs, name: &str, bytes: &[u8]) {
    fs.upstream().write(Path::new(STAGING).join(name), bytes).unwrap();
    fs.upstream().sync();
}

/// Stages a group file that names these files, and the files that have bytes.
pub fn stage_group(fs: &SimFs, name: &str, members: &[(&str, &str, bool)]) {
    let line = |(name, text, _): &(&str, &str, bool)| format!("{}  {name}\n", sha256(text.as_bytes()).hex());
    stage(fs, name, members.iter().map(line).collect::<String>().as_bytes());
    for (name, text, _) in members.iter().filter(|(.., is_staged)| *is_staged) {
        stage(fs, name, text.as_bytes());
    }
}

/// Runs until nothing is to do. A round that does not come to rest is a failure, and no reason to wait for ever.
pub fn rest(ingestor: &mut Ingestor) -> Result<(), Error> {
    for _ in 0..50 {
        if ingestor.round()? {
            return Ok(());
        }
    }
    panic!("it does not come to rest");
}

pub fn run(fs: &SimFs, options: Options) -> Result<Index, Error> {
    let mut ingestor = Ingestor::start(fs, options)?;
    rest(&mut ingestor)?;
    Ok(ingestor.committer.shut_down()?)
}

pub fn lines(store: &SimStore) -> Vec<Value> {
    let manifests = store.below(MANIFESTS);
    let objects = manifests.keys("2").into_iter().map(|key| manifests.peek(&key).unwrap());
    let text: Vec<String> = objects.map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    text.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn data(store: &SimStore) -> Vec<String> {
    let mut keys = store.below(WAREHOUSE).keys("");
    keys.retain(|key| !key.starts_with(keys::OWN));
    keys
}

#[test]
fn a_file_gets_its_object_and_its_line_and_leaves_staging() {
    let (store, fs) = (lake(1), machine());
    stage(&fs, "a b.csv", b"x,y\n1,2\n");
    let index = run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    let key = data(&store).pop().unwrap();
    assert!(key.starts_with("ingest_date=") && key.contains("/a%20b-") && key.ends_with(".csv"), "{key}");
    assert_eq!(store.below(WAREHOUSE).peek(&key).unwrap(), b"x,y\n1,2\n");
    let line = lines(&store).pop().unwrap();
    assert_eq!(line["warehouse_path"], format!("s3://lake/W/{key}"));
    assert_eq!(line["path"], "/staging/a b.csv");
    assert!(is_empty(&fs));
    assert_eq!((index.count(FileState::Manifested), index.count(FileState::Hashed)), (1, 0));
    // The pack is gone.
    assert_eq!(store.below(WAREHOUSE).keys(keys::PACKS), Vec::<String>::new());
}

#[test]
fn what_this_host_has_listed_costs_no_request_when_it_comes_again() {
    let (store, fs) = (lake(1), machine());
    stage(&fs, "a.csv", b"a");
    let mut ingestor = Ingestor::start(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
    rest(&mut ingestor).unwrap();
    stage(&fs, "again.csv", b"a");
    let before = store.requests();
    let reports = ingestor.commit_staged().unwrap();
    assert_eq!((reports, store.requests() - before), (1, 0));
    assert!(is_empty(&fs));
}

#[test]
fn what_another_host_has_listed_is_a_duplicate() {
    for (action, stays) in [(DuplicateAction::Remove, false), (DuplicateAction::Keep, true)] {
        let store = lake(1);
        let (one, other) = (machine(), machine());
        stage(&one, "a.csv", b"a");
        run(&one, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
        stage(&other, "b.csv", b"a");
        let index = run(&other, options(reach(&store, 0), action)).unwrap();
        assert_eq!((data(&store).len(), lines(&store).len()), (1, 1));
        assert_eq!(index.count(FileState::SkippedDuplicate), 1);
        assert_eq!(is_empty(&other), !stays);
        // The next start knows it as well.
        let again = run(&other, options(reach(&store, 0), action)).unwrap();
        assert_eq!((again.count(FileState::SkippedDuplicate), lines(&store).len()), (1, 1));
    }
}

/// Each operation of the disk from the start on is the last one of a life: whatever the request before it has done, the
/// next start finishes it, with the same id, and once.
#[test]
fn whatever_ends_a_life_the_next_one_finishes_it() {
    let operations = {
        let (store, fs) = (lake(1), machine());
        stage(&fs, "a.csv", b"a");
        run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
        fs.operations()
    };
    let mut claimed_and_killed = 0;
    for operation in 1..operations {
        for power_cut in [false, true] {
            let (store, fs) = (lake(1), machine());
            stage(&fs, "a.csv", b"a");
            fs.inject(Fault::crash().at(operation));
            let ended = run(&fs, options(reach(&store, 0), DuplicateAction::Remove));
            let Err(_) = ended else { panic!("operation {operation} is not the last one") };
            fs.clear_faults();
            claimed_and_killed += usize::from(!is_empty(&fs) && !lines(&store).is_empty());
            if power_cut {
                fs.crash(operation);
            } else {
                fs.kill();
            }
            let index = run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
            assert_eq!((data(&store).len(), lines(&store).len()), (1, 1), "operation {operation}");
            assert!(is_empty(&fs), "operation {operation}");
            assert_eq!(index.open().count(), 0, "operation {operation}");
            let done = index.count(FileState::Manifested) + index.count(FileState::SkippedDuplicate);
            assert_eq!(done, 1, "operation {operation}");
            // Unless the journal was not durable yet, the line is that of the file that this journal knows.
            let line = &lines(&store)[0];
            let is_its_own = index.count(FileState::Manifested) == 1;
            assert!(is_its_own, "operation {operation}: {line}");
        }
    }
    assert!(claimed_and_killed > 0, "no life ended between the line and the removal of its source");
}

/// The request of a process that died may arrive when the next one has started and found nothing. Its entry is the file's
/// own: the file was hashed again with the same id. Otherwise it would stay in staging as a duplicate of itself.
#[test]
fn an_entry_that_arrives_late_is_the_files_own() {
    let staged = || {
        let fs = machine();
        stage(&fs, "a.csv", b"a");
        fs
    };
    let (sent, fs) = (lake(1), staged());
    let operations = fs.operations();
    run(&fs, options(reach(&sent, 0), DuplicateAction::Keep)).unwrap();
    let entry = sent.below(WAREHOUSE).peek(&keys::slot(0, 0)).unwrap();
    let mut late = 0;
    for operation in operations + 1..fs.operations() {
        let (store, fs) = (lake(1), staged());
        fs.inject(Fault::crash().at(operation));
        let Err(_) = run(&fs, options(reach(&store, 0), DuplicateAction::Keep)) else { break };
        fs.clear_faults();
        fs.kill();
        let known = engine::read_state(&fs, Path::new(STATE)).unwrap();
        let is_hashed = known.open().any(|ingest| ingest.state == FileState::Hashed);
        if !is_hashed || store.below(WAREHOUSE).peek(&keys::slot(0, 0)).is_some() {
            continue;
        }
        late += 1;
        let again = Ingestor::recover(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
        // The bytes are at hand, so nobody misses the pack.
        assert!(store.below(WAREHOUSE).put_foreign(&keys::slot(0, 0), &entry));
        let mut ingestor = again.begin().unwrap();
        rest(&mut ingestor).unwrap();
        let index = ingestor.committer.shut_down().unwrap();
        assert_eq!((data(&store).len(), lines(&store).len()), (1, 1), "operation {operation}");
        assert!(is_empty(&fs), "operation {operation}: it stays in staging");
        assert_eq!(index.count(FileState::Manifested), 1, "operation {operation}");
    }
    assert!(late > 0, "no life ended between HASHED and its entry");
}

/// A life has ended between the lines of its entry and the end of its pack.
#[test]
fn what_is_left_of_its_own_entry_is_removed_by_the_next_start() {
    let (store, fs) = (lake(1), machine());
    stage(&fs, "a.csv", b"a");
    run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    let warehouse = store.below(WAREHOUSE);
    let entry = Entry::decode(&warehouse.peek(&keys::slot(0, 0)).unwrap()).unwrap();
    assert!(warehouse.put_foreign(&entry.packs()[0], b"a"));
    run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    assert_eq!(warehouse.keys(keys::PACKS), Vec::<String>::new());
}

#[test]
fn a_source_stays_until_its_line_is_there() {
    let (store, fs) = (lake(1), machine());
    stage(&fs, "a.csv", b"a");
    let key = keys::data("ingest_date=2025-11-18", b"a.csv", &sha256(b"a"), 0);
    assert!(store.below(WAREHOUSE).put_foreign(&key, b"not ours"));
    let mut ingestor = Ingestor::start(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
    for _ in 0..5 {
        assert!(!ingestor.round().unwrap());
        assert!(!is_empty(&fs) && lines(&store).is_empty());
    }
    assert_eq!(ingestor.committer.index().count(FileState::Hashed), 1);
    assert!(store.below(WAREHOUSE).remove_foreign(&key));
    for _ in 0..1_000 {
        if ingestor.round().unwrap() {
            break;
        }
    }
    assert_eq!((lines(&store).len(), is_empty(&fs)), (1, true));
}

#[test]
fn while_the_store_is_away_nothing_leaves_staging() {
    let (store, fs) = (lake(1), machine());
    stage(&fs, "a.csv", b"a");
    let mut ingestor = Ingestor::start(&fs, options(reach(&store, 3), DuplicateAction::Remove)).unwrap();
    store.set_faults(Faults { never: 1000, reads_fail: 1000, ..Faults::NONE });
    let error = ingestor.round().unwrap_err();
    assert!(matches!(error, Error::Pipeline(pipeline::Error::StoreAway(_))), "{error}");
    drop(ingestor);
    fs.kill();
    assert!(!is_empty(&fs) && data(&store).is_empty());
    store.set_faults(Faults::NONE);
    run(&fs, options(reach(&store, 0), DuplicateAction::Remove)).unwrap();
    assert_eq!((data(&store).len(), lines(&store).len(), is_empty(&fs)), (1, 1, true));
}

#[test]
fn a_journal_works_with_one_lake() {
    let (store, fs) = (lake(1), machine());
    stage(&fs, "a.csv", b"a");
    run(&fs, options(reach(&store, 0), DuplicateAction::Keep)).unwrap();
    // Another lake at the same place.
    let error = engine_error(&fs, options(reach(&lake(2), 0), DuplicateAction::Keep));
    assert_eq!(error.exit_code(), 3, "{error}");
    // Another place, and a directory.
    for (warehouse, manifests) in [("s3://lake/X", "s3://lake/M"), ("/warehouse", "/manifests")] {
        let mut elsewhere = options(reach(&store, 0), DuplicateAction::Keep);
        elsewhere.settings =
            Some(Settings { warehouse: warehouse.into(), manifests: manifests.into(), ..elsewhere.settings.unwrap() });
        let error = engine_error(&fs, elsewhere);
        assert!(matches!(error, Error::OtherWarehouse { .. }), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_store_that_is_no_lake_or_lies_is_refused() {
    let fs = machine();
    let error = engine_error(&fs, options(reach(&SimStore::new(1, Faults::NONE), 0), DuplicateAction::Keep));
    assert!(matches!(error, Error::NoLake(_)), "{error}");
    assert_eq!(error.exit_code(), 2);
    let store = lake(1);
    store.set_faults(Faults { lies: 1000, ..Faults::NONE });
    let mut reach = reach(&store, 0);
    reach.racers = 16;
    let error = engine_error(&fs, options(reach, DuplicateAction::Keep));
    assert!(matches!(error, Error::StoreUnsuited { .. }), "{error}");
    assert_eq!(error.exit_code(), 2);
}

fn engine_error(fs: &SimFs, options: Options) -> Error {
    let error = engine::open(fs, options).err().expect("it is refused");
    fs.kill();
    error
}
