//! Waits that a signal cuts short: the ingestor ends in order, and the next start goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csv_ingestor::engine::Options;
use csv_ingestor::engine::lake::Reach;
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::DuplicateAction;
use csv_ingestor::lake::clock::Clock;
use csv_ingestor::lake::parts::Cut;
use csv_ingestor::lake::publish::manifests;
use csv_ingestor::limits::{LAKE_RETRY_MIN, LAKE_UNFINISHED_MAX};
use csv_ingestor::store::location::Location;
use csv_ingestor::store::sim::SimStore;
use csv_ingestor::store::{Kind, Store, Verb};

use super::dry_run::other_host;
use super::life::{Ingestor, is_empty, options};
use super::model::{MANIFESTS, sha256};
use super::one::{data, entries, lake, lines, machine, reach, rest, run, stage, stage_group};
use super::parts::{Parts, Reached};
use crate::lake::door::{Answer, Door};

/// A clock that stands still: each wait for the pace is as long as it can be.
struct Still;

impl Clock for Still {
    fn steady(&self) -> Duration {
        Duration::from_secs(100)
    }

    fn pause(&self, _: Duration) {}

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}

/// A host that is stopping: each wait ends at once. It counts them.
fn stopping(store: &SimStore, are_groups: bool) -> (Options, Arc<AtomicU64>) {
    let waits = Arc::new(AtomicU64::new(0));
    let counted = waits.clone();
    let on_away = Box::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    });
    let reach = Reach { clock: Arc::new(Still), on_away, ..reach(store, 0) };
    let mut options = options(reach, DuplicateAction::Remove);
    options.names.groups = are_groups;
    (options, waits)
}

#[test]
fn a_wait_for_the_pace_that_is_cut_short_ends_nothing() {
    for are_groups in [false, true] {
        let (store, fs) = (lake(1), machine());
        // Hosts leave slots to each other only where there are several.
        other_host(&store, &["another"], true);
        let (stopping, waits) = stopping(&store, are_groups);
        let mut ingestor = Ingestor::start(&fs, stopping).unwrap();
        for text in ["1", "2"] {
            let name = format!("{text}.csv");
            match are_groups {
                true => stage_group(&fs, &format!("{text}.group"), &[(&name, text, true)]),
                false => stage(&fs, &name, text.as_bytes()),
            }
            if !are_groups {
                ingestor.round().unwrap();
            }
        }
        rest(&mut ingestor).unwrap();
        assert_eq!((entries(&store).len(), is_empty(&fs)), (3, true), "groups: {are_groups}");
        assert!(waits.load(Ordering::Relaxed) > 0, "it has not waited");
        ingestor.committer.shut_down().unwrap();
    }
}

/// The store is away for a moment before each entry. Why: all waits of a run that ends by itself added up, those for the pace
/// too, so that one with some hundred groups ended as if the store were away.
#[test]
fn only_waits_for_one_absence_of_the_store_add_up() {
    for are_groups in [false, true] {
        let (store, fs) = (lake(1), machine());
        let is_away = Arc::new(AtomicBool::new(true));
        let (shut, back) = (is_away.clone(), is_away.clone());
        let opened = store.clone();
        let open = move |location: &Location| {
            let shut = shut.clone();
            let rule = move |verb, key: &str| match verb == Verb::Create && key.contains("/log/") {
                true if shut.load(Ordering::Relaxed) => Answer::Never(Kind::DidNotHappen),
                _ => Answer::Right,
            };
            Ok(Arc::new(Door::new(opened.below(&format!("{}/", location.prefix)), rule)) as Arc<dyn Store>)
        };
        let waited = Arc::new(AtomicU64::new(0));
        let sum = waited.clone();
        let on_away = move |time: Duration| {
            sum.fetch_add(time.as_secs(), Ordering::Relaxed);
            back.store(false, Ordering::Relaxed);
            true
        };
        let away_max = Some(LAKE_RETRY_MIN * 3);
        let reach = Reach { open: Box::new(open), on_away: Box::new(on_away), away_max, ..reach(&store, 0) };
        let mut options = options(reach, DuplicateAction::Remove);
        options.names.groups = are_groups;
        let mut ingestor = Ingestor::start(&fs, options).unwrap();
        for number in 0..10 {
            let (name, text) = (format!("{number}.csv"), format!("text {number}"));
            match are_groups {
                true => stage_group(&fs, &format!("{number}.group"), &[(&name, &text, true)]),
                false => stage(&fs, &name, text.as_bytes()),
            }
            is_away.store(true, Ordering::Relaxed);
            rest(&mut ingestor).unwrap();
        }
        assert_eq!((entries(&store).len(), is_empty(&fs)), (10, true), "groups: {are_groups}");
        assert!(waited.load(Ordering::Relaxed) >= 10, "it has not waited for the store");
    }
}

/// Entries that nobody can finish now keep the next one from being made.
#[test]
fn a_wait_for_entries_of_others_that_is_cut_short_leaves_files_to_the_next_start() {
    for are_groups in [false, true] {
        let (store, fs) = (lake(1), machine());
        let texts: Vec<String> = (0..LAKE_UNFINISHED_MAX).map(|number| format!("of another {number}")).collect();
        other_host(&store, &texts.iter().map(String::as_str).collect::<Vec<_>>(), false);
        let objects = store.below(MANIFESTS);
        let in_the_way: Vec<String> = entries(&store).iter().flat_map(|entry| manifests(entry).into_keys()).collect();
        in_the_way.iter().for_each(|key| assert!(objects.put_foreign(key, b"not theirs")));
        match are_groups {
            true => stage_group(&fs, "g.group", &[("a.csv", "a", true)]),
            false => stage(&fs, "a.csv", b"a"),
        }
        let (stopping, waits) = stopping(&store, are_groups);
        let mut ingestor = Ingestor::start(&fs, stopping).unwrap();
        ingestor.round().unwrap();
        ingestor.round().unwrap();
        assert!(waits.load(Ordering::Relaxed) > 0, "it has not waited");
        assert_eq!(ingestor.committer.index().count(FileState::Hashed), 1);
        ingestor.committer.shut_down().unwrap();
        fs.kill();
        assert_eq!(entries(&store).len(), texts.len());
        in_the_way.iter().for_each(|key| assert!(objects.remove_foreign(key)));
        let mut again = options(reach(&store, u64::MAX), DuplicateAction::Remove);
        again.names.groups = are_groups;
        let index = run(&fs, again).unwrap();
        assert_eq!(index.count(FileState::Manifested), 1);
        assert_eq!(entries(&store).last().unwrap().claims()[0].sha256, sha256(b"a"));
    }
}

/// The signal comes while parts are put. Its file stays HASHED, with its upload, and no part is put again.
#[test]
fn a_stop_does_not_wait_for_an_upload() {
    let large = "so many parts".repeat(25);
    let cut = Cut { packed_max: 10, part: 8 };
    for are_groups in [false, true] {
        let (store, fs, parts) = (lake(1), machine(), Arc::new(Mutex::new(Parts::default())));
        let host = |store: SimStore, stop: &Arc<AtomicBool>| {
            let parts = parts.clone();
            let open = move |location: &Location| {
                let (store, parts) = (store.below(&format!("{}/", location.prefix)), parts.clone());
                Ok(Arc::new(Reached { store, host: 0, parts }) as Arc<dyn Store>)
            };
            let reach = Reach { open: Box::new(open), cut, ..reach(&lake(2), 0) };
            let mut options = options(reach, DuplicateAction::Remove);
            options.names.groups = are_groups;
            options.stop = stop.clone();
            options
        };
        match are_groups {
            true => stage_group(&fs, "g.group", &[("large.csv", &large, true), ("s.csv", "small", true)]),
            false => stage(&fs, "large.csv", large.as_bytes()),
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (signal, put) = (stop.clone(), parts.clone());
        let gate = move || {
            if put.try_lock().is_ok_and(|put| put.count > 2) {
                signal.store(true, Ordering::Relaxed);
            }
        };
        let mut ingestor = Ingestor::start(&fs, host(store.gated(Arc::new(gate)), &stop)).unwrap();
        while !stop.load(Ordering::Relaxed) {
            ingestor.round().unwrap();
        }
        let index = ingestor.committer.shut_down().unwrap();
        fs.kill();
        assert_eq!(index.count(FileState::Hashed), if are_groups { 2 } else { 1 });
        assert_eq!((entries(&store).len(), store.uploads().len()), (0, 1));
        let confirmed = parts.lock().unwrap().count;
        assert!(confirmed < cut.parts(large.len() as u64), "all {confirmed} parts were put");

        run(&fs, host(store.clone(), &Arc::default())).unwrap();
        let parts = parts.lock().unwrap();
        assert_eq!((parts.count, &parts.wrong), (cut.parts(large.len() as u64), &Vec::new()));
        let files = if are_groups { 2 } else { 1 };
        assert_eq!((data(&store).len(), lines(&store).len(), is_empty(&fs)), (files, files, true));
    }
}
