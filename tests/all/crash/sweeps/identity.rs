//! Names as part of what makes two files the same, a change of that between runs, and empty files: with power cuts and deaths
//! of the process at every operation.
//!
//! The model of the other sweeps knows a file by its content. Here the end of each history is known in advance: which names
//! and contents are listed, and what is left.

use std::collections::BTreeMap;
use std::path::Path;

use csv_ingestor::engine;
use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::record::{DuplicateAction, EmptyFiles, Identity, SameBy};
use csv_ingestor::pipeline::places::Accepts;

use super::{READS, is_thorough};
use crate::crash::act::{Act, IN_TREE, content_of};
use crate::crash::ingestor::{self, Ended, Nobody};
use crate::crash::scenario::{Compacts, STAGING, STATE, Scenario};
use crate::crash::seldom::Seldom;
use crate::crash::view::{View, digest};

/// The content with this number is empty.
const EMPTY: u8 = 0;

/// What upstreams write before a run (names and contents), and how the run is started.
type Phase = (Identity, &'static [(&'static str, u8)]);

struct History {
    scenario: Scenario,
    phases: Vec<Phase>,
    /// The names and contents that are listed at the end.
    listed: &'static [(&'static str, u8)],
    /// The names that are left in staging, and how many files are in quarantine.
    left: (&'static [&'static str], usize),
}

fn by(same_by: SameBy, empty: EmptyFiles) -> Identity {
    Identity { same_by, empty }
}

/// Nothing is sent before the first run.
fn unsent(title: &'static str, compacts: Compacts) -> Scenario {
    let (before, duplicates) = (Vec::new(), DuplicateAction::Remove);
    Scenario { before, duplicates, compacts, ..Scenario::plain(title) }
}

/// Their paths in the warehouse must differ also where one is planned while the other is being moved.
fn in_directories() -> History {
    let name = by(SameBy::NameAndContent, EmptyFiles::Ingest);
    History {
        scenario: Scenario {
            before: vec![Act::Write(IN_TREE, 9)],
            seldom: Seldom::relay(4),
            ..unsent("one name and content in several directories, in overlapping batches", Compacts::Never)
        },
        phases: vec![(
            name,
            &[("k/a.csv", 1), ("k/l/a.csv", 1), ("m/a.csv", 1), ("n/a.csv", 1), ("n/b.csv", 1), ("o/a.csv", 1)],
        )],
        listed: &[("a.csv", 9), ("a.csv", 1), ("a.csv", 1), ("a.csv", 1), ("a.csv", 1), ("b.csv", 1), ("a.csv", 1)],
        left: (&[], 0),
    }
}

fn histories() -> Vec<History> {
    let name = by(SameBy::NameAndContent, EmptyFiles::Ingest);
    let content = Identity::default();
    let plain = unsent;
    let names: Vec<Phase> = vec![
        (name, &[("a.csv", 1), ("b.csv", 1), ("c.csv", 2), ("d.csv", 1)]),
        (name, &[("a.csv", 1), ("e.csv", 1), ("c.csv", 1), ("b.csv", 3)]),
        (name, &[("e.csv", 1), ("f.csv", 2)]),
    ];
    let all_names = &[
        ("a.csv", 1),
        ("b.csv", 1),
        ("b.csv", 3),
        ("c.csv", 1),
        ("c.csv", 2),
        ("d.csv", 1),
        ("e.csv", 1),
        ("f.csv", 2),
    ];
    vec![
        History {
            scenario: plain("one content under several names", Compacts::Between),
            phases: names.clone(),
            listed: all_names,
            left: (&[], 0),
        },
        History {
            scenario: Scenario { cross: true, ..plain("the same, across file systems", Compacts::Never) },
            phases: names,
            listed: all_names,
            left: (&[], 0),
        },
        History {
            scenario: plain("names count, then not, then again", Compacts::Between),
            phases: vec![
                (content, &[("a.csv", 1), ("b.csv", 1), ("c.csv", 2)]),
                (name, &[("a.csv", 1), ("d.csv", 1), ("e.csv", 1)]),
                // Known by its content since the first run; the other one is new to this rule.
                (content, &[("f.csv", 1), ("e.csv", 3)]),
                (name, &[("d.csv", 1), ("e.csv", 3)]),
            ],
            listed: &[("a.csv", 1), ("a.csv", 1), ("c.csv", 2), ("d.csv", 1), ("e.csv", 1), ("e.csv", 3), ("e.csv", 3)],
            left: (&[], 0),
        },
        in_directories(),
        History {
            scenario: Scenario { quarantines: true, ..plain("empty files, to quarantine and not", Compacts::Between) },
            phases: vec![
                (by(SameBy::Content, EmptyFiles::Quarantine), &[("a.csv", EMPTY), ("b.csv", 1), ("c.csv", EMPTY)]),
                (by(SameBy::Content, EmptyFiles::Keep), &[("d.csv", EMPTY), ("e.csv", 2)]),
            ],
            listed: &[("b.csv", 1), ("e.csv", 2)],
            left: (&["d.csv"], 2),
        },
    ]
}

fn bytes(body: u8) -> Vec<u8> {
    if body == EMPTY { Vec::new() } else { content_of(body) }
}

fn write(fs: &SimFs, files: &[(&str, u8)]) {
    for (name, body) in files {
        let path = Path::new(STAGING).join(name);
        fs.upstream().mkdir_all(path.parent().unwrap()).unwrap();
        fs.upstream().write(&path, &bytes(*body)).unwrap();
    }
    fs.upstream().sync();
}

/// One run to its end; an error if a fault ended it.
fn run(history: &History, identity: Identity, fs: &SimFs) -> Result<Ended, csv_ingestor::Error> {
    let mut options = ingestor::options(&history.scenario, fs, Box::new(|| false));
    (options.identity, options.accepts) = (identity, Accepts { identity: true, ..Accepts::default() });
    ingestor::run_with(&history.scenario, options, fs, &mut Nobody)
}

/// The whole history. With `stop`, an operation and a seed, a run ends there: by a power cut if there is a seed; and the same
/// start is made again.
fn play(history: &History, stop: Option<(u64, Option<u64>)>) -> SimFs {
    let (fs, _) = history.scenario.machine();
    if let Some((operation, _)) = stop {
        let fault = Fault::crash().at(operation);
        fs.inject(if operation % 2 == 0 { fault.happened() } else { fault });
    }
    let story = format!("{}, stopped at {stop:?}", history.scenario.name);
    for (identity, files) in &history.phases {
        write(&fs, files);
        let ended = run(history, *identity, &fs);
        if !fs.is_dead() {
            ended.unwrap_or_else(|error| panic!("{story}: {error}"));
            continue;
        }
        fs.clear_faults();
        match stop.and_then(|(_, seed)| seed) {
            Some(seed) => fs.crash(seed),
            None => fs.kill(),
        }
        run(history, *identity, &fs).unwrap_or_else(|error| panic!("{story}: {error}"));
    }
    check(history, &fs, &story);
    fs
}

fn check(history: &History, fs: &SimFs, story: &str) {
    // The operation may come only after the last run.
    fs.clear_faults();
    let view = View::of(&mut fs.upstream());
    let mut due: BTreeMap<String, usize> = BTreeMap::new();
    for (_, body) in history.listed {
        *due.entry(digest(&bytes(*body))).or_default() += 1;
    }
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut places = std::collections::BTreeSet::new();
    for line in &view.lines {
        *found.entry(line.sha256.clone()).or_default() += 1;
        assert_eq!(view.warehouse.get(&line.warehouse_path), Some(&line.sha256), "{story}: {line:?}");
        assert!(places.insert(&line.warehouse_path), "{story}: two lines for one file: {line:?}");
    }
    assert_eq!(found, due, "{story}: {:?}", view.lines);
    let name =
        |line: &crate::crash::view::Line| line.warehouse_path.file_name().unwrap().to_str().unwrap()[..1].to_owned();
    let mut names: Vec<(String, String)> = view.lines.iter().map(|line| (name(line), line.sha256.clone())).collect();
    let mut due: Vec<(String, String)> =
        history.listed.iter().map(|(name, body)| (name[..1].to_owned(), digest(&bytes(*body)))).collect();
    names.sort();
    due.sort();
    assert_eq!(names, due, "{story}");
    assert_eq!(
        view.warehouse.len(),
        view.lines.len(),
        "{story}: in the warehouse, and not listed: {:?}",
        view.warehouse
    );
    assert!(view.torn.is_empty() && view.copies.is_empty(), "{story}: {:?}, {:?}", view.torn, view.copies);
    let staged: Vec<&str> = view.staging.keys().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!((&staged[..], view.quarantine.len()), (history.left.0, history.left.1), "{story}");
    let state = engine::read_state(fs, Path::new(STATE)).unwrap();
    assert_eq!(state.open().count(), 0, "{story}: half done at the end");
    assert_eq!(state.identity().unwrap_or_default(), history.phases.last().unwrap().0, "{story}");
}

/// P1 for names and contents, at every operation; and a change of the rule holds, or does not, never in between.
#[test]
fn names_and_contents_with_power_cuts() {
    let (mut states, thin) = (0, if is_thorough() { 1 } else { 12 });
    for history in &histories() {
        let log = play(history, None).log();
        let writes = log.iter().filter(|logged| !READS.contains(&logged.op)).map(|logged| logged.number);
        for operation in writes.filter(|number| number.is_multiple_of(thin) || number % thin == 1) {
            play(history, Some((operation, None)));
            play(history, Some((operation, Some(operation.wrapping_mul(1_000)))));
            states += 2;
        }
    }
    println!("names, contents and empty files: {states} states");
    assert!(states > 200, "only {states} states");
}
