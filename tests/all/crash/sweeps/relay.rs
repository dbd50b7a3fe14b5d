//! Batches that overlap: one is published by a second thread while the next is planned and recorded, and the lines of the
//! one before are written. The operations of both threads are interleaved by seeds.

use std::sync::{Arc, Mutex};

use csv_ingestor::fs::sim::{Odd, Op};
use csv_ingestor::journal::record::{DuplicateAction, Validation};

use super::fault::{How, fails};
use super::interference::{Stop, act_at, go_on};
use super::{is_thorough, operations, sweep, writes};
use crate::crash::act::{Act, IN_TREE, MALFORMED, path_of};
use crate::crash::play::Play;
use crate::crash::scenario::{Compacts, Crashed, HALVES, Moment, Phase, Scenario};
use crate::crash::seldom::Seldom;
use crate::crash::view::View;
use crate::crash::watch::Watch;

/// Six files: three batches.
fn six() -> Vec<Act> {
    (0..).zip([1, 3, 2, 4, 5, 7]).map(|(name, body)| Act::Write(name, body)).collect()
}

fn relayed(name: &'static str) -> Scenario {
    Scenario { before: six(), seldom: Seldom::relay(1), ..Scenario::plain(name) }
}

fn at(round: u32, phase: Phase, act: Act) -> (Moment, Act) {
    ((round, phase), act)
}

/// Files that come while others are on their way.
fn more() -> Vec<(Moment, Act)> {
    vec![at(1, Phase::Scan, Act::Write(0, 8)), at(1, Phase::Scan, Act::Write(5, 3))]
}

fn all() -> Vec<Scenario> {
    [of_places(), of_claims(), of_neighbours()].concat()
}

fn of_places() -> Vec<Scenario> {
    vec![
        relayed("overlapping batches"),
        Scenario { failing: HALVES, acts: more(), ..relayed("overlapping batches, renames in halves") },
        Scenario { cross: true, acts: more(), ..relayed("overlapping batches, across file systems") },
        Scenario { sidecars: true, cross: true, ..relayed("overlapping batches, sidecars, across file systems") },
        // What one thread removes must not be made durable by the other before it is durable elsewhere.
        Scenario { sidecars: true, failing: HALVES, ..relayed("overlapping batches, sidecars, renames in halves") },
        Scenario {
            duplicates: DuplicateAction::Move,
            before: (0..).zip([1, 3, 1, 4, 3, 7]).map(|(name, body)| Act::Write(name, body)).collect(),
            failing: HALVES,
            acts: more(),
            ..relayed("overlapping batches, duplicates moved, renames in halves")
        },
        Scenario {
            seldom: Seldom { strangers: vec!["b.csv", "c.csv"], ..Seldom::relay(2) },
            failing: HALVES,
            ..relayed("overlapping batches, names taken, renames in halves")
        },
    ]
}

/// What one batch has, the next one must not take.
fn of_claims() -> Vec<Scenario> {
    // Equal contents in one batch, in the next, and in the one after that.
    let equal = || (0..).zip([1, 1, 1, 3, 3, 1]).map(|(name, body)| Act::Write(name, body)).collect();
    // Files of equal names, in several directories.
    let below = || (IN_TREE..).zip([1, 3, 2, 4, 6, 5]).map(|(name, body)| Act::Write(name, body)).collect();
    vec![
        Scenario {
            before: equal(),
            duplicates: DuplicateAction::Remove,
            acts: more(),
            ..relayed("overlapping batches, equal contents")
        },
        Scenario {
            before: equal(),
            acts: vec![at(0, Phase::Commit, Act::Remove(0)), at(0, Phase::Commit, Act::Replace(3, 9))],
            ..relayed("overlapping batches, the first of equal contents vanishes")
        },
        Scenario { before: below(), ..relayed("overlapping batches, equal names") },
        Scenario {
            seldom: Seldom { strangers: vec!["a.csv", "c.csv"], ..Seldom::relay(2) },
            acts: more(),
            ..relayed("overlapping batches, names taken")
        },
    ]
}

fn of_neighbours() -> Vec<Scenario> {
    vec![
        Scenario {
            validate: Some(Validation { refuse: true, ..Validation::default() }),
            quarantines: true,
            failing: HALVES,
            before: vec![
                Act::Write(0, 1),
                Act::Write(1, MALFORMED),
                Act::Write(2, 2),
                Act::Write(3, MALFORMED + 1),
                Act::Write(4, 4),
            ],
            acts: more(),
            ..relayed("overlapping batches, with quarantine")
        },
        Scenario {
            acts: vec![
                at(0, Phase::Commit, Act::Open(2, 5)),
                at(0, Phase::Commit, Act::Append(4, 5)),
                at(1, Phase::Scan, Act::Close(6)),
                at(1, Phase::Scan, Act::Write(0, 8)),
            ],
            ..relayed("overlapping batches, writers")
        },
        Scenario {
            compacts: Compacts::Meanwhile { seed: 3 },
            duplicates: DuplicateAction::Remove,
            acts: [more(), vec![at(2, Phase::Scan, Act::Write(5, 9)), at(3, Phase::Scan, Act::Write(4, 1))]].concat(),
            ..relayed("overlapping batches, and a compaction")
        },
        Scenario {
            odd: Odd { links: true, ..Odd::default() },
            acts: more(),
            ..relayed("overlapping batches, renames by link")
        },
        Scenario {
            odd: Odd { renumbers: true, ..Odd::default() },
            sidecars: true,
            acts: more(),
            ..relayed("overlapping batches, inode numbers change")
        },
    ]
}

fn thinned(one_in: u64) -> impl Iterator<Item = Scenario> {
    all().into_iter().map(move |scenario| Scenario { crashed: Crashed::one_in(one_in), ..scenario })
}

/// With each of some seeds, each scenario ends correctly when nothing goes wrong. Each operation is checked.
#[test]
fn overlapping_batches_without_a_crash() {
    let seeds = if is_thorough() { 200 } else { 12 };
    for scenario in all() {
        for seed in 0..seeds {
            let seldom = Seldom { relay: Some(seed), ..scenario.seldom.clone() };
            let scenario = Scenario { seldom, ..scenario.clone() };
            let mut play = Play::new(&scenario);
            play.story.push(format!("turns of seed {seed}"));
            let (ended, _) = play.run_watched(Watch::default());
            play.check_ended(ended);
            play.end();
        }
    }
}

/// Killed and cut off at every operation. A reader sees no line withdrawn.
#[test]
fn overlapping_batches_crash() {
    let seeds = if is_thorough() { 32 } else { 3 };
    sweep("overlapping batches", writes(thinned(4)), 2_300, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.stop_at(operation, operation % 2 == 0);
        let (_, mut watch) = stopped.run_watched(Watch::blind());
        stopped.fs.clear_faults();
        for seed in 0..seeds {
            let mut play = stopped.fork();
            play.cut_power(operation * 100 + seed);
            if seed == 0 {
                play.recover();
                let view = View::of(&mut play.fs.upstream());
                watch.after_recovery(&view).unwrap_or_else(|wrong| panic!("{}: {wrong}", play.told()));
                play.check_recovery_is_repeatable();
            }
            play.end();
        }
        stopped.kill();
        stopped.check_recovery_is_repeatable();
        stopped.end();
        seeds + 1
    });
}

/// Every operation fails, once and for ever, on whichever thread.
#[test]
fn every_operation_of_overlapping_batches_fails() {
    sweep("faults in overlapping batches", operations(thinned(15)), 4_600, |scenario, operation, op| {
        // If no link can ever be removed, second names stay.
        let hows = How::all(op).into_iter().filter(|how| op != Op::Unlink || !how.is_for_ever());
        hows.map(|how| fails(scenario, operation, op, how)).sum()
    });
}

/// Upstreams act before each operation, and once more with a power cut or a kill soon after.
#[test]
fn an_upstream_acts_on_overlapping_batches_at_every_operation() {
    let acts = [
        Act::Replace(2, 8),
        Act::Remove(3),
        Act::Disguise(1),
        Act::Open(4, 7),
        Act::Append(5, 6),
        Act::Link(2, 5),
        Act::Rename(3, 5),
        Act::Write(1, 1),
    ];
    sweep("upstreams beside overlapping batches", operations(thinned(17)), 1_800, |scenario, operation, op| {
        let mut states = 0;
        for (_, act) in (0..).zip(&acts).filter(|(index, _)| is_thorough() || (index + operation) % 3 == 0) {
            let mut stops = vec![Stop::AtRest, Stop::Cut(operation + 1 + operation % 40)];
            if matches!(op, Op::Rename | Op::Unlink) {
                stops.push(Stop::Killed(operation + 1));
            }
            for stop in stops {
                let mut play = Play::new(scenario);
                act_at(&mut play, act, operation);
                go_on(play, act, stop);
                states += 1;
            }
        }
        states
    });
}

/// Two files share a sidecar, and are in two batches. A writer opens the second one when it is hashed: it is put back after
/// the first one is in the warehouse. Why: the first batch's clean-up must not take the sidecar away from it.
#[test]
fn a_sidecar_stays_for_a_file_that_goes_back() {
    let shared = Scenario {
        sidecars: true,
        before: vec![Act::Write(0, 1), Act::Write(6, 3), Act::Write(1, 2), Act::Write(2, 4)],
        seldom: Seldom { by_stem: true, ..Seldom::relay(2) },
        ..relayed("overlapping batches, a shared sidecar, and a writer")
    };
    sweep("a sidecar of two batches", operations([shared]), 350, |scenario, operation, _| {
        let seeds = if is_thorough() { 64 } else { 1 };
        for seed in 0..seeds {
            let seldom = Seldom { relay: Some(2 * seed), ..scenario.seldom.clone() };
            let scenario = Scenario { seldom, ..scenario.clone() };
            let mut play = Play::new(&scenario);
            play.story.push(format!("opened at operation {operation}, turns of seed {}", 2 * seed));
            let opened = Arc::new(Mutex::new(None));
            let writer = opened.clone();
            play.fs.set_hook(Box::new(move |call, upstream| {
                if call.number == operation && upstream.exists(path_of(6)) {
                    *writer.lock().unwrap() = upstream.open_writer(path_of(6)).ok();
                }
            }));
            let _ = play.run();
            play.fs.clear_hook();
            if let Some(writer) = opened.lock().unwrap().take() {
                play.fs.upstream().close_writer(writer);
            }
            play.end();
            let left: Vec<_> = play.view().staging.into_keys().collect();
            assert!(left.is_empty(), "{}: {left:?}", play.told());
        }
        seeds
    });
}
