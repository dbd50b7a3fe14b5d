//! Contents that the lake forgets, and files that wait for their lines meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use csv_ingestor::engine::lake::Reach;
use csv_ingestor::engine::{self, Options};
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::DuplicateAction;
use csv_ingestor::lake::entry::{Body, Entry};
use csv_ingestor::lake::format::{Lake, LakeId};
use csv_ingestor::lake::host::Host;
use csv_ingestor::lake::progress::NoJournal;
use csv_ingestor::lake::publish::Stores;
use csv_ingestor::limits::{LAKE_FORGET_INTERVAL, LAKE_PATIENCE};
use csv_ingestor::store::location::Location;
use csv_ingestor::store::sim::SimStore;
use csv_ingestor::store::{Kind, Store, Verb};

use super::life::{Ingestor, STATE, is_empty, options};
use super::model::{MANIFESTS, WAREHOUSE, sha256};
use super::one::{Ticks, data, entries, lake, lines, machine, machine_of, reach, rest, run, stage, stage_group};
use crate::lake::door::{Answer, Door};
use crate::lake::files::Files;

/// Another host, at this time of its clock.
fn other(store: &SimStore, seconds: u64) -> Host {
    let lake = Lake { id: LakeId([1; 16]), shards: 1, checkpoint_entries: 4 };
    let stores = Stores::new(Arc::new(store.below(WAREHOUSE)), Arc::new(store.below(MANIFESTS)));
    Host::new(stores, lake, [9; 16], Box::new(Ticks(AtomicU64::new(seconds))), Box::new(NoJournal), &[])
}

/// Another host finishes what there is, and lets the lake forget all of it.
pub fn finish_and_forget(store: &SimStore) {
    let mut host = other(store, 0);
    host.read().unwrap();
    for _ in 0..LAKE_PATIENCE.as_secs() {
        host.now();
    }
    host.help(&Files::default()).unwrap();
    let end = host.shards()[0].log.next();
    host.forget_below(0, end).unwrap();
}

fn remembering(store: &SimStore) -> Options {
    let reach = Reach { remember: Some(Duration::from_secs(1)), ..reach(store, 0) };
    options(reach, DuplicateAction::Remove)
}

fn plain(store: &SimStore) -> Options {
    options(reach(store, 0), DuplicateAction::Remove)
}

/// How many entries forget something.
fn forgets(store: &SimStore) -> usize {
    entries(store).iter().filter(|entry| matches!(entry.body, Body::Forget(_))).count()
}

fn again(fs: &SimFs, name: &str) {
    stage(fs, name, b"a");
}

/// This host's own journal remembers the content: the lake counts.
#[test]
fn what_the_lake_has_forgotten_is_ingested_again() {
    let (store, fs) = (lake(1), machine());
    for generation in 0..4 {
        again(&fs, &format!("{generation}.csv"));
        again(&fs, &format!("{generation}-same.csv"));
        let index = run(&fs, plain(&store)).unwrap();
        assert!(is_empty(&fs));
        assert_eq!((data(&store).len(), lines(&store).len()), (generation + 1, generation + 1));
        let done = (index.count(FileState::Manifested), index.count(FileState::SkippedDuplicate));
        assert_eq!(done, (generation as u64 + 1, generation as u64 + 1));
        assert!(generation == 0 || data(&store).iter().any(|key| key.ends_with(&format!(".g{generation}.csv"))));
        finish_and_forget(&store);
    }
}

#[test]
fn a_host_lets_the_lake_forget_once_an_hour() {
    let (store, fs) = (lake(1), machine());
    let mut ingestor = Ingestor::start(&fs, remembering(&store)).unwrap();
    again(&fs, "first.csv");
    rest(&mut ingestor).unwrap();
    assert_eq!((forgets(&store), lines(&store).len()), (1, 1));
    again(&fs, "second.csv");
    rest(&mut ingestor).unwrap();
    assert_eq!((forgets(&store), lines(&store).len()), (1, 2), "it was forgotten, and not again yet");
    // Each look at the clock is a second.
    for _ in 0..LAKE_FORGET_INTERVAL.as_secs() {
        ingestor.committer.turn_lake().unwrap();
    }
    assert_eq!(forgets(&store), 2);
    again(&fs, "third.csv");
    rest(&mut ingestor).unwrap();
    assert_eq!(lines(&store).len(), 3);
    // The next start asks at once.
    drop(ingestor);
    fs.kill();
    run(&fs, remembering(&store)).unwrap();
    assert_eq!(forgets(&store), 3);
    run(&fs, remembering(&store)).unwrap();
    assert_eq!(forgets(&store), 3, "there is nothing to forget");
}

/// A life ends at each operation; before the next one begins, another host has finished whatever it had claimed, and the
/// lake has forgotten it. It is the file's own claim all the same, and its line.
#[test]
fn a_claim_that_was_forgotten_is_the_files_own() {
    let operations = {
        let (store, fs) = (lake(1), machine());
        again(&fs, "a.csv");
        run(&fs, plain(&store)).unwrap();
        fs.operations()
    };
    let mut claimed = 0;
    for operation in 1..operations {
        let (store, fs) = (lake(1), machine());
        again(&fs, "a.csv");
        fs.inject(Fault::crash().at(operation));
        assert!(run(&fs, plain(&store)).is_err(), "operation {operation}");
        fs.clear_faults();
        fs.kill();
        if entries(&store).is_empty() {
            continue;
        }
        finish_and_forget(&store);
        assert_eq!((lines(&store).len(), forgets(&store)), (1, 1), "operation {operation}");
        claimed += usize::from(!is_empty(&fs));
        let index = run(&fs, plain(&store)).unwrap();
        assert!(is_empty(&fs), "operation {operation}");
        assert_eq!((lines(&store).len(), data(&store).len()), (1, 1), "operation {operation}");
        assert_eq!((index.open().count(), index.count(FileState::Manifested)), (0, 1), "operation {operation}");
    }
    assert!(claimed > 3, "{claimed}");
}

/// Why: a start asked only for the newest claim of the content, took a CLAIMED file for overtaken, and stopped over its own
/// journal: that file may not be given up any more. Here the content is claimed once more by another host, before the next
/// life begins.
#[test]
fn a_claim_is_the_files_own_also_if_others_have_its_content_again() {
    let (mut claimed, mut overtaken) = (0, 0);
    for operation in 1.. {
        let (store, fs, another) = (lake(1), machine(), machine_of(7));
        again(&fs, "a.csv");
        fs.inject(Fault::crash().at(operation));
        if run(&fs, plain(&store)).is_ok() {
            break;
        }
        fs.clear_faults();
        fs.kill();
        if entries(&store).is_empty() {
            continue;
        }
        finish_and_forget(&store);
        again(&another, "b.csv");
        run(&another, plain(&store)).unwrap();
        assert_eq!((lines(&store).len(), data(&store).len()), (2, 2), "operation {operation}");
        let was_claimed = engine::read_state(&fs, Path::new(STATE)).unwrap().open().any(|it| it.claimed.is_some());
        let index = run(&fs, plain(&store)).unwrap();
        assert!(is_empty(&fs), "operation {operation}");
        assert_eq!((lines(&store).len(), data(&store).len()), (2, 2), "operation {operation}");
        let done = (index.count(FileState::Manifested), index.count(FileState::SkippedDuplicate));
        assert!(done == (1, 0) || (!was_claimed && done == (0, 1)), "operation {operation}: {done:?}");
        claimed += usize::from(was_claimed);
        overtaken += usize::from(done == (0, 1));
    }
    assert!(claimed > 3 && overtaken > 0, "{claimed}, {overtaken}");
}

/// While a file waits for its line, the lake forgets its content, and another file of this content comes: it waits until the
/// first is done, and is ingested then.
#[test]
fn two_files_of_one_content_are_never_under_way_at_once() {
    let (store, fs) = (lake(1), machine());
    again(&fs, "a.csv");
    // Its own manifest object cannot be created, until another host has put it there.
    let hour = "2025/11/18/09";
    let key = format!("{hour}/0-{:020}.jsonl", 0);
    assert!(store.below(MANIFESTS).put_foreign(&key, b"not ours"));
    let mut ingestor = Ingestor::start(&fs, plain(&store)).unwrap();
    for _ in 0..3 {
        ingestor.round().unwrap();
    }
    assert_eq!(ingestor.committer.index().count(FileState::Hashed), 1, "the test's hour is another one");
    assert!(store.below(MANIFESTS).remove_foreign(&key));
    finish_and_forget(&store);
    again(&fs, "b.csv");
    rest(&mut ingestor).unwrap();
    let index = ingestor.committer.shut_down().unwrap();
    assert!(is_empty(&fs));
    assert_eq!(index.open().count(), 0);
    let names: Vec<String> = lines(&store).iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["/staging/a.csv", "/staging/b.csv"]);
    assert_eq!(entries(&store).iter().flat_map(Entry::claims).filter(|claim| claim.sha256 == sha256(b"a")).count(), 2);
}

/// The answer to the create of an entry is lost, and the store is away for this host only: when it is back, others have finished
/// the entry, and the lake has forgotten its contents. Why: they seemed new, and their files got a second line.
#[test]
fn an_entry_whose_answer_is_lost_is_looked_for_before_anything_is_claimed_again() {
    for are_groups in [false, true] {
        let (store, fs) = (lake(1), machine());
        // Neither; the create has arrived; others have forgotten what it claimed.
        let (is_away, is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let open = {
            let (store, is_away, is_over) = (store.clone(), is_away.clone(), is_over.clone());
            move |location: &Location| {
                let (is_away, is_over) = (is_away.clone(), is_over.clone());
                let rule = move |verb, key: &str| match (verb, key.contains("/log/")) {
                    (_, false) => Answer::Right,
                    _ if is_over.load(Ordering::Relaxed) => Answer::Right,
                    _ if is_away.load(Ordering::Relaxed) => Answer::Never(Kind::DidNotHappen),
                    (Verb::Create, true) => {
                        is_away.store(true, Ordering::Relaxed);
                        Answer::Lost(Kind::MayHaveHappened)
                    }
                    _ => Answer::Right,
                };
                Ok(Arc::new(Door::new(store.below(&format!("{}/", location.prefix)), rule)) as Arc<dyn Store>)
            }
        };
        let (others, was_over) = (store.clone(), is_over.clone());
        let on_away = move |_| {
            if is_away.load(Ordering::Relaxed) && !was_over.swap(true, Ordering::Relaxed) {
                finish_and_forget(&others);
            }
            true
        };
        let reach = Reach { open: Box::new(open), on_away: Box::new(on_away), ..reach(&store, 0) };
        let mut options = options(reach, DuplicateAction::Remove);
        options.names.groups = are_groups;
        match are_groups {
            true => stage_group(&fs, "g.group", &[("a.csv", "a", true), ("b.csv", "b", true)]),
            false => ["a", "b"].iter().for_each(|text| stage(&fs, &format!("{text}.csv"), text.as_bytes())),
        }
        let index = run(&fs, options).unwrap();
        assert!(is_over.load(Ordering::Relaxed), "no answer was lost");
        assert_eq!((lines(&store).len(), data(&store).len(), forgets(&store)), (2, 2, 1), "groups: {are_groups}");
        assert_eq!(entries(&store).iter().flat_map(Entry::claims).count(), 2, "groups: {are_groups}");
        assert_eq!((index.count(FileState::Manifested), index.open().count(), index.groups().count()), (2, 0, 0));
        assert!(is_empty(&fs));
    }
}
