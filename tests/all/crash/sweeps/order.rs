//! `--order` and sidecars that files share: what one scan finds is listed in order, whatever is cut off meanwhile; and no
//! sidecar is removed while another file needs it.

use std::path::Path;

use csv_ingestor::engine;
use csv_ingestor::fs::sim::Fault;
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::record::DuplicateAction;
use csv_ingestor::pipeline::settle::order::Order;

use super::{operations, sweep, writes};
use crate::crash::act::{Act, Body, content_of, path_of};
use crate::crash::play::Play;
use crate::crash::scenario::{Crashed, Phase, STATE, Scenario, Seldom};
use crate::crash::view::digest;
use crate::crash::watch::Watch;

/// A scenario, and the contents that it ingests, in order.
type Ordered = (Scenario, &'static [Body]);

fn ordered() -> Vec<Ordered> {
    use Act::{Remove, Wait, Write};
    let by_name = Scenario {
        seldom: Seldom::order(Order::Name),
        // Of two equal files the first in order is the one that was written last.
        before: vec![Write(4, 5), Write(2, 3), Write(3, 2), Write(1, 3), Write(0, 1)],
        ..Scenario::plain("in the order of names")
    };
    let oldest = Scenario {
        seldom: Seldom::order(Order::Oldest),
        before: vec![Write(3, 1), Wait(1), Write(1, 2), Wait(1), Write(2, 1), Write(0, 4)],
        crashed: Crashed::one_in(2),
        ..Scenario::plain("the oldest first")
    };
    let vanishes = Scenario {
        seldom: Seldom::order(Order::Name),
        before: vec![Write(0, 1), Write(1, 1), Write(2, 2), Write(3, 4)],
        acts: vec![((0, Phase::Commit), Remove(0))],
        ..Scenario::plain("the first of two equal files vanishes, in order")
    };
    let across = Scenario {
        cross: true,
        duplicates: DuplicateAction::Remove,
        crashed: Crashed::one_in(3),
        name: "in the order of names, across file systems",
        ..by_name.clone()
    };
    vec![(by_name, &[1, 3, 2, 5]), (oldest, &[1, 2, 4]), (vanishes, &[1, 2, 4]), (across, &[1, 3, 2, 5])]
}

/// The contents in the manifests, in the order of their lines.
fn listed(play: &Play<'_>, bodies: &[Body]) -> Vec<Body> {
    let of = |sha256: &String| bodies.iter().copied().find(|body| digest(&content_of(*body)) == *sha256);
    play.view().lines.iter().filter_map(|line| of(&line.sha256)).collect()
}

fn ids(play: &Play<'_>) -> Vec<u64> {
    play.view().lines.iter().map(|line| line.ingest_id).collect()
}

/// How many contents are not in their place: so many have to be left out until the rest is in order.
#[track_caller]
fn late(play: &Play<'_>, bodies: &[Body]) -> u64 {
    let listed = listed(play, bodies);
    assert_eq!(listed.len(), bodies.len(), "{}: {listed:?}", play.told());
    // The longest sequence that both have.
    let mut row = vec![0; bodies.len() + 1];
    for body in listed {
        let before = row.clone();
        for (at, expected) in bodies.iter().enumerate() {
            row[at + 1] = if *expected == body { before[at] + 1 } else { row[at].max(before[at + 1]) };
        }
    }
    bodies.len() as u64 - row[bodies.len()]
}

#[track_caller]
fn assert_in_order(play: &Play<'_>, bodies: &[Body]) {
    assert_eq!(late(play, bodies), 0, "{}: lines of {:?}", play.told(), listed(play, bodies));
    assert!(ids(play).is_sorted(), "{}: ids {:?}", play.told(), ids(play));
}

/// After a power cut or a fault, only those that were abandoned may be late: a power cut may undo the rename of a file and
/// keep its ctime, and then it has changed.
#[track_caller]
fn assert_nearly_in_order(play: &Play<'_>, bodies: &[Body]) {
    let abandoned = engine::read_state(&play.fs, Path::new(STATE)).unwrap().count(FileState::Abandoned);
    let late = late(play, bodies);
    assert!(late <= abandoned, "{}: {late} of {:?}, {abandoned} abandoned", play.told(), listed(play, bodies));
}

/// The expected contents of the scenario with that name.
fn bodies_of(scenario: &Scenario) -> &'static [Body] {
    ordered().into_iter().find(|(other, _)| other.name == scenario.name).unwrap().1
}

#[test]
fn order_without_a_crash() {
    for (scenario, bodies) in ordered() {
        let mut play = Play::new(&scenario);
        let (ended, _) = play.run_watched(Watch::default());
        play.check_ended(ended);
        assert_in_order(&play, bodies);
    }
    for scenario in shared() {
        let mut play = Play::new(&scenario);
        let (ended, _) = play.run_watched(Watch::default());
        play.check_ended(ended);
        assert!(!play.view().staging.keys().any(|path| path.extension().is_some_and(|it| it == "ok")));
    }
}

/// Lines are in order, and ingest ids ascend, wherever the power is cut or the process is killed.
#[test]
fn order_after_a_crash() {
    let scenarios = ordered().into_iter().map(|(scenario, _)| scenario);
    sweep("order", writes(scenarios), 880, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, true);
        for seed in 0..3 {
            let mut play = stopped.fork();
            if seed == 0 {
                play.kill();
                play.end();
                assert_in_order(&play, bodies_of(scenario));
            } else {
                play.cut_power(operation.wrapping_mul(1_000) + seed);
                play.end();
                assert_nearly_in_order(&play, bodies_of(scenario));
            }
        }
        3
    });
}

/// One call fails: at most the file that it is about loses its place.
#[test]
fn order_when_a_call_fails() {
    let scenarios = ordered().into_iter().map(|(scenario, _)| Scenario { crashed: Crashed::one_in(5), ..scenario });
    sweep("order, faults", operations(scenarios), 190, |scenario, operation, op| {
        if op.is_sync() {
            return 0;
        }
        let mut play = Play::new(scenario);
        play.story.push(format!("EIO at operation {operation}, {op:?}"));
        play.fs.inject(Fault::errno(libc::EIO).at(operation));
        if play.run().is_err() {
            play.kill();
        }
        play.fs.clear_faults();
        play.end();
        let (late, bodies) = (late(&play, bodies_of(scenario)), bodies_of(scenario));
        assert!(late <= 1, "{}: {late} of {:?}", play.told(), listed(&play, bodies));
        1
    });
}

/// Two files that share a sidecar. One of them is open for writing: its name is the last one.
fn shared() -> Vec<Scenario> {
    let plain = Scenario {
        sidecars: true,
        seldom: Seldom { by_stem: true, ..Seldom::default() },
        before: vec![Act::Write(0, 1), Act::Write(6, 3), Act::Write(1, 2)],
        ..Scenario::plain("a shared sidecar")
    };
    let across = Scenario {
        cross: true,
        crashed: Crashed::one_in(3),
        name: "a shared sidecar, across file systems",
        ..plain.clone()
    };
    let duplicates = Scenario {
        before: vec![Act::Write(1, 1), Act::Write(0, 1), Act::Write(6, 3)],
        duplicates: DuplicateAction::Remove,
        seldom: Seldom { by_stem: true, ..Seldom::order(Order::Oldest) },
        crashed: Crashed::one_in(2),
        name: "a duplicate's shared sidecar",
        ..plain.clone()
    };
    vec![plain, across, duplicates]
}

/// A sidecar stays while a file that shares it waits, wherever the power is cut or the process is killed: so that file is
/// ingested once its writer has closed it.
#[test]
fn shared_sidecars_after_a_crash() {
    sweep("shared sidecars", writes(shared()), 560, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        let writer = stopped.fs.upstream().open_writer(path_of(6)).unwrap();
        stopped.run_until(operation, true);
        for seed in 0..3 {
            let mut play = stopped.fork();
            match seed {
                0 => {
                    play.fs.upstream().close_writer(writer);
                    play.kill();
                }
                seed => play.cut_power(operation.wrapping_mul(1_000) + seed),
            }
            play.end();
            let left: Vec<_> = play.view().staging.into_keys().collect();
            assert!(left.is_empty(), "{}: {left:?}", play.told());
        }
        3
    });
}
