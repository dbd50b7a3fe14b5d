//! A large content whose upload outlives its host's process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::Error;
use csv_ingestor::engine::lake::Reach;
use csv_ingestor::engine::{self, Options};
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::compact;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::{DuplicateAction, Upload};
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::store::Store;
use csv_ingestor::store::sim::{Gate, SimStore};

use super::dry_run::other_host;
use super::life::{Ingestor, STAGING, STATE, is_empty, options};
use super::model::WAREHOUSE;
use super::one::{data, lake, lines, machine, reach, rest, run, stage, stage_group};
use super::parts::{Parts, Reached};
use crate::lake::turns::Death;

const CUT: Cut = Cut { packed_max: 10, part: 8 };
const LARGE: &[u8] = b"a large content, in four parts";
const PARTS: usize = 4;

/// What outlives a process: the store and what it has confirmed, and the disk.
struct World {
    store: SimStore,
    parts: Arc<Mutex<Parts>>,
    fs: SimFs,
}

impl World {
    fn new() -> World {
        let world = World { store: lake(1), parts: Arc::default(), fs: machine() };
        stage(&world.fs, "a.csv", LARGE);
        world
    }

    /// How this host is started; `gate` is called before each request.
    fn options(&self, gate: Gate) -> Options {
        let (store, parts) = (self.store.gated(gate), self.parts.clone());
        let open = move |location: &csv_ingestor::store::location::Location| {
            let (store, parts) = (store.below(&format!("{}/", location.prefix)), parts.clone());
            Ok(Arc::new(Reached { store, host: 0, parts }) as Arc<dyn Store>)
        };
        options(Reach { open: Box::new(open), cut: CUT, ..reach(&self.store, 0) }, DuplicateAction::Remove)
    }

    fn run(&self) -> Result<Index, Error> {
        run(&self.fs, self.options(Arc::new(|| {})))
    }

    /// A life that ends before a part is put, when so many were confirmed in all lives.
    fn dies_after(&self, parts: usize) {
        self.parts.lock().unwrap().dies_at = Some(parts);
        let ended = catch_unwind(AssertUnwindSafe(|| self.run().map(drop)));
        assert!(ended.is_err_and(|payload| payload.is::<Death>()), "it did not die after {parts} parts");
        assert_eq!(self.confirmed(), parts);
        self.fs.kill();
    }

    /// A life that ends before its request of this number, from 0. False if it has fewer.
    fn dies_at_request(&self, last: u64) -> bool {
        let sent = AtomicU64::new(0);
        let gate = move || {
            if sent.fetch_add(1, Ordering::Relaxed) == last {
                std::panic::resume_unwind(Box::new(Death));
            }
        };
        let options = self.options(Arc::new(gate));
        match catch_unwind(AssertUnwindSafe(|| run(&self.fs, options).map(drop))) {
            Ok(ended) => {
                ended.unwrap();
                false
            }
            Err(payload) => payload.is::<Death>(),
        }
    }

    fn confirmed(&self) -> usize {
        let parts = self.parts.lock().unwrap();
        assert_eq!(parts.wrong, Vec::<String>::new());
        parts.count
    }

    /// The uploads that the journal names.
    fn recorded(&self) -> Vec<Upload> {
        let index = engine::read_state(&self.fs, Path::new(STATE)).unwrap();
        let targets: Vec<_> = index.open().filter_map(|ingest| ingest.target.clone()).collect();
        targets.into_iter().filter_map(|target| target.upload.map(|upload| *upload)).collect()
    }

    #[track_caller]
    fn check_done(&self, when: &str) {
        assert_eq!((data(&self.store).len(), lines(&self.store).len()), (1, 1), "{when}");
        assert_eq!(self.store.below(WAREHOUSE).peek(&data(&self.store)[0]).unwrap(), LARGE, "{when}");
        assert!(is_empty(&self.fs), "{when}: it stays in staging");
    }
}

#[test]
fn whatever_request_is_the_last_one_each_part_is_put_once() {
    let requests = {
        let world = World::new();
        world.run().unwrap();
        assert_eq!(world.confirmed(), PARTS);
        world.store.requests()
    };
    let mut resumed = 0;
    for last in 1..requests {
        for power_cut in [false, true] {
            let (world, when) = (World::new(), format!("request {last}, power cut: {power_cut}"));
            assert!(world.dies_at_request(last), "{when} is not the last one");
            if power_cut {
                world.fs.crash(last);
            } else {
                world.fs.kill();
            }
            resumed += usize::from(!world.recorded().is_empty());
            let index = world.run().unwrap();
            world.check_done(&when);
            assert_eq!((world.confirmed(), index.count(FileState::Manifested)), (PARTS, 1), "{when}");
            assert_eq!(world.store.uploads(), Vec::<String>::new(), "{when}");
        }
    }
    assert!(resumed >= 2 * PARTS, "{resumed} lives have gone on with an upload");
}

/// The second life hashes the file again, and must not lose the upload in doing so.
#[test]
fn whatever_request_of_a_second_life_is_the_last_one_each_part_is_put_once() {
    let mut lives = 0;
    for last in 0.. {
        let (world, when) = (World::new(), format!("request {last} of the second life"));
        world.dies_after(2);
        if !world.dies_at_request(last) {
            break;
        }
        lives += 1;
        world.fs.crash(last);
        world.run().unwrap();
        world.check_done(&when);
        assert_eq!((world.confirmed(), world.store.uploads()), (PARTS, Vec::new()), "{when}");
    }
    assert!(lives > 2 * PARTS, "only {lives} requests");
}

#[test]
fn whatever_operation_of_the_disk_is_the_last_one_each_part_is_put_once() {
    let operations = {
        let world = World::new();
        world.run().unwrap();
        world.fs.operations()
    };
    for operation in 1..operations {
        for power_cut in [false, true] {
            let (world, when) = (World::new(), format!("operation {operation}, power cut: {power_cut}"));
            world.fs.inject(Fault::crash().at(operation));
            assert!(world.run().is_err(), "{when} is not the last one");
            world.fs.clear_faults();
            if power_cut {
                world.fs.crash(operation);
            } else {
                world.fs.kill();
            }
            let index = world.run().unwrap();
            world.check_done(&when);
            assert_eq!((world.confirmed(), index.open().count()), (PARTS, 0), "{when}");
            // An upload that was begun and not recorded is left, without parts.
            assert!(world.store.uploads().len() <= 1, "{when}");
        }
    }
}

/// One life after the other, each for one part. Before the last, the journal is compacted: the snapshot has the upload.
#[test]
fn an_upload_outlives_many_processes_and_a_compaction() {
    let world = World::new();
    world.dies_after(1);
    let [upload] = &world.recorded()[..] else { panic!("{:?}", world.recorded()) };
    assert!(upload.key.contains("/a-") && upload.generation == 0);
    assert_eq!(world.store.uploads(), std::slice::from_ref(&upload.id));
    world.dies_after(2);
    world.dies_after(3);
    assert_eq!(world.recorded(), std::slice::from_ref(upload));
    let mut recovered = Ingestor::recover(&world.fs, world.options(Arc::new(|| {}))).unwrap();
    let until = recovered.engine.committer.prepare_compaction(None).unwrap();
    let compacted = compact::compact(&world.fs, Path::new(STATE), until, &AtomicBool::new(false)).unwrap();
    assert!(compacted.is_some(), "nothing was compacted");
    drop(recovered);
    world.fs.kill();
    assert_eq!(world.recorded(), std::slice::from_ref(upload));
    world.run().unwrap();
    world.check_done("after four lives");
    assert_eq!((world.confirmed(), world.store.uploads().len(), world.recorded().len()), (PARTS, 0, 0));
}

#[test]
fn an_upload_that_the_store_has_ended_begins_anew() {
    let world = World::new();
    world.dies_after(2);
    let old = world.recorded().remove(0);
    world.store.below(WAREHOUSE).abort(&old.key, &old.id).unwrap();
    world.dies_after(3);
    let new = world.recorded().remove(0);
    assert_ne!(new.id, old.id);
    world.run().unwrap();
    world.check_done("after another upload");
    assert_eq!((world.confirmed(), world.store.uploads().len()), (2 + PARTS, 0));
}

/// Some stores remove what waits for a week: an entry that names it could not be finished.
#[test]
fn an_upload_that_is_days_old_begins_anew() {
    for (days, begins_anew) in [(2, false), (4, true)] {
        let world = World::new();
        world.dies_after(2);
        let old = world.recorded().remove(0);
        world.fs.upstream().advance(Duration::from_secs(days * 24 * 3600));
        if begins_anew {
            world.parts.lock().unwrap().forget(0);
        }
        world.run().unwrap();
        world.check_done("days later");
        let parts = if begins_anew { 2 + PARTS } else { PARTS };
        assert_eq!((world.confirmed(), world.store.uploads().contains(&old.id)), (parts, begins_anew), "{days} days");
    }
}

/// The file is there under another name, as another ingest: the upload is recorded for that one before it goes on.
#[test]
fn a_file_that_comes_again_goes_on_with_the_upload_of_its_content() {
    let world = World::new();
    world.dies_after(1);
    let upload = world.recorded().remove(0);
    let mut ingestor = Ingestor::recover(&world.fs, world.options(Arc::new(|| {}))).unwrap().begin().unwrap();
    assert_eq!(world.confirmed(), PARTS, "the file is there");
    rest(&mut ingestor).unwrap();
    drop(ingestor);
    world.check_done("under its own name");

    let world = World::new();
    world.dies_after(1);
    rename(&world.fs, "a.csv", "b.csv");
    world.dies_after(2);
    let again = world.recorded().remove(0);
    assert_eq!((again.id != upload.id, &again.key), (false, &upload.key));
    world.run().unwrap();
    world.check_done("under another name");
    assert_eq!((world.confirmed(), world.store.uploads().len()), (PARTS, 0));
    assert_eq!(lines(&world.store)[0]["path"], "/staging/b.csv");
}

fn rename(fs: &SimFs, from: &str, to: &str) {
    let path = |name: &str| Path::new(STAGING).join(name);
    fs.upstream().rename(path(from), path(to)).unwrap();
    fs.upstream().sync();
}

/// Why: only the file for which an upload was begun had it in its record. Here another host takes a small member of a group
/// while its large one is uploaded; the group starts again without the small one, and dies before that upload is whole.
#[test]
fn an_upload_is_recorded_for_a_group_that_starts_again() {
    let large = "large, in many parts".repeat(20);
    let (store, fs) = (lake(1), machine());
    let world = World { store, parts: Arc::new(Mutex::new(Parts::of(vec![fs.clone()]))), fs };
    stage_group(&world.fs, "g.group", &[("large.csv", &large, true), ("s.csv", "s", true)]);
    let (met, parts, store) = (AtomicBool::new(false), world.parts.clone(), world.store.clone());
    let gate = move || {
        let some_are_there = parts.try_lock().is_ok_and(|parts| parts.count >= 2);
        if some_are_there && !met.swap(true, Ordering::Relaxed) {
            other_host(&store, &["s"], true);
        }
    };
    let mut options = world.options(Arc::new(gate));
    options.names.groups = true;
    let mut ingestor = Ingestor::start(&world.fs, options).unwrap();
    while ingestor.committer.index().count(FileState::Abandoned) < 2 {
        ingestor.round().unwrap();
    }
    let (upload, before) = (world.store.uploads(), world.confirmed());
    assert_eq!((upload.len(), world.recorded().len()), (1, 0), "the first attempt is over");
    world.parts.lock().unwrap().dies_at = Some(before + 1);
    let ended = catch_unwind(AssertUnwindSafe(|| rest(&mut ingestor)));
    assert!(ended.is_err_and(|payload| payload.is::<Death>()), "{before} parts were all");
    drop(ingestor);
    world.fs.kill();
    assert_eq!(world.recorded().into_iter().map(|upload| upload.id).collect::<Vec<_>>(), upload);
    let mut options = world.options(Arc::new(|| {}));
    options.names.groups = true;
    run(&world.fs, options).unwrap();
    assert_eq!(world.confirmed(), CUT.parts(large.len() as u64));
    assert_eq!((data(&world.store).len(), world.store.uploads().len(), is_empty(&world.fs)), (2, 0, true));
}

/// The file is gone. Nobody else aborts its upload, and this host only when an entry claims the content.
#[test]
fn an_upload_whose_file_is_gone_is_left_until_its_content_is_claimed() {
    let world = World::new();
    world.dies_after(2);
    world.fs.upstream().remove(Path::new(STAGING).join("a.csv")).unwrap();
    world.fs.upstream().sync();
    let mut ingestor = Ingestor::start(&world.fs, world.options(Arc::new(|| {}))).unwrap();
    rest(&mut ingestor).unwrap();
    assert_eq!(ingestor.committer.index().count(FileState::Abandoned), 1);
    assert_eq!((world.store.uploads().len(), world.recorded().len()), (1, 0));
    let other = machine();
    stage(&other, "c.csv", LARGE);
    run(&other, options(reach(&world.store, 0), DuplicateAction::Keep)).unwrap();
    for _ in 0..1_000 {
        ingestor.round().unwrap();
        if world.store.uploads().is_empty() {
            return;
        }
    }
    panic!("the upload is left");
}

/// What another host has claimed meanwhile is a duplicate here, and its upload is aborted.
#[test]
fn an_upload_whose_content_was_claimed_meanwhile_is_aborted() {
    let world = World::new();
    world.dies_after(2);
    let other = machine();
    stage(&other, "c.csv", LARGE);
    run(&other, options(reach(&world.store, 0), DuplicateAction::Keep)).unwrap();
    assert_eq!(world.store.uploads().len(), 1);
    world.run().unwrap();
    world.check_done("as a duplicate");
    assert_eq!((world.confirmed(), world.store.uploads().len()), (2, 0));
}
