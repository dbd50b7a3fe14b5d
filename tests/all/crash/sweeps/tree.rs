//! Directories in staging, which upstreams make, rename, remove, take away and replace by links, at every operation.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use csv_ingestor::fs::sim::{Fault, Odd, Op};
use csv_ingestor::journal::record::{DuplicateAction, Validation};
use csv_ingestor::pipeline::quarantine::reason_path;

use super::fault::{How, fails};
use super::interference::{Stop, act_at, go_on};
use super::{is_thorough, operations, sweep, writes};
use crate::crash::act::{Act, DirAct, IN_TREE, MALFORMED};
use crate::crash::play::Play;
use crate::crash::scenario::{Crashed, HALVES, Phase, QUARANTINE, Scenario};
use crate::crash::view::is_hidden;
use crate::crash::watch::Watch;

/// Five files in three directories, and one beside them.
fn before() -> Vec<Act> {
    let bodies = [1, 3, 2, 4, 6];
    let below = (IN_TREE..).zip(bodies).map(|(name, body)| Act::Write(name, body));
    below.chain([Act::Write(0, 7)]).collect()
}

fn tree(name: &'static str) -> Scenario {
    Scenario { before: before(), ..Scenario::plain(name) }
}

fn quarantined() -> Scenario {
    Scenario {
        validate: Some(Validation { refuse: true, ..Validation::default() }),
        quarantines: true,
        before: [before(), vec![Act::Write(IN_TREE + 1, MALFORMED), Act::Write(IN_TREE + 4, MALFORMED + 1)]].concat(),
        ..tree("a tree, with quarantine")
    }
}

/// Without disturbances by upstreams.
fn calm() -> Vec<Scenario> {
    let twice = || [before(), vec![Act::Write(IN_TREE + 5, 3), Act::Write(1, 6)]].concat();
    let links = Odd { links: true, ..Odd::default() };
    vec![
        tree("a tree"),
        Scenario { failing: HALVES, ..tree("a tree, renames in halves") },
        Scenario { cross: true, sidecars: true, ..tree("a tree across file systems, with sidecars") },
        Scenario { duplicates: DuplicateAction::Move, before: twice(), ..tree("a tree, duplicates moved") },
        quarantined(),
        Scenario {
            odd: links,
            duplicates: DuplicateAction::Remove,
            before: twice(),
            ..tree("a tree, renames by link")
        },
    ]
}

/// Directories come and go while their files are ingested.
fn restless() -> Vec<Scenario> {
    let at = |round, phase, act| ((round, phase), act);
    let dir = |act| Act::Dir(act);
    let acts = || {
        vec![
            at(0, Phase::Hash, dir(DirAct::Rename(1, 4))),
            at(0, Phase::Commit, dir(DirAct::TakeOut(2))),
            at(1, Phase::Scan, dir(DirAct::BringIn(2))),
            at(1, Phase::Commit, dir(DirAct::Link(0))),
            at(2, Phase::Scan, Act::Write(IN_TREE + 1, 9)),
            at(2, Phase::Rest, dir(DirAct::Remove(0))),
            at(3, Phase::Scan, Act::Write(IN_TREE, 8)),
            at(3, Phase::Commit, dir(DirAct::Rename(0, 5))),
        ]
    };
    vec![
        Scenario { acts: acts(), ..tree("a restless tree") },
        Scenario { acts: acts(), cross: true, ..tree("a restless tree, across file systems") },
        Scenario { acts: acts(), sidecars: true, ..tree("a restless tree, with sidecars") },
    ]
}

fn all() -> Vec<Scenario> {
    [calm(), restless()].concat()
}

fn thinned(scenarios: Vec<Scenario>, one_in: u64) -> impl Iterator<Item = Scenario> {
    scenarios.into_iter().map(move |scenario| Scenario { crashed: Crashed::one_in(one_in), ..scenario })
}

/// Trees end correctly when nothing goes wrong. Each operation is checked.
#[test]
fn every_tree_without_a_crash() {
    for scenario in all() {
        let mut play = Play::new(&scenario);
        let (ended, _) = play.run_watched(Watch::default());
        play.check_ended(ended);
        play.end();
    }
}

/// Killed and cut off at every operation.
#[test]
fn trees_crash() {
    let seeds = if is_thorough() { 16 } else { 2 };
    sweep("trees", writes(thinned(all(), 3)), 1_200, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 2 == 0);
        for seed in 0..seeds {
            let mut play = stopped.fork();
            play.cut_power(operation * 100 + seed);
            play.end();
        }
        stopped.kill();
        stopped.check_recovery_is_repeatable();
        stopped.end();
        seeds + 1
    });
}

/// Every operation fails, once and for ever.
#[test]
fn every_operation_on_a_tree_fails() {
    sweep("faults in trees", operations(thinned(calm(), 11)), 2_100, |scenario, operation, op| {
        // If no link can ever be removed, second names stay.
        let hows = How::all(op).into_iter().filter(|how| op != Op::Unlink || !how.is_for_ever());
        hows.map(|how| fails(scenario, operation, op, how)).sum()
    });
}

fn acts() -> Vec<Act> {
    let mut acts = vec![
        Act::Replace(IN_TREE, 8),
        Act::Remove(IN_TREE + 1),
        Act::Disguise(IN_TREE + 2),
        Act::Open(IN_TREE + 3, 7),
        Act::Append(IN_TREE + 4, 6),
    ];
    let of_dirs = [
        DirAct::Rename(0, 4),
        DirAct::Rename(1, 4),
        DirAct::Rename(2, 5),
        DirAct::TakeOut(0),
        DirAct::TakeOut(3),
        DirAct::Link(0),
        DirAct::Link(1),
        DirAct::Remove(0),
        DirAct::Remove(2),
    ];
    acts.extend(of_dirs.map(Act::Dir));
    acts
}

/// Directories are renamed, removed, taken away and replaced by links before each operation, and once more with a power cut
/// or a kill soon after.
#[test]
fn an_upstream_acts_on_a_tree_at_every_operation() {
    sweep("upstreams in trees", operations(thinned(calm(), 7)), 3_200, |scenario, operation, op| {
        let mut states = 0;
        for (index, act) in (0..).zip(acts()).filter(|(index, _)| is_thorough() || (index + operation) % 3 == 0) {
            let mut stops = vec![Stop::AtRest, Stop::Cut(operation + 1 + (operation + index * 7) % 40)];
            if matches!(op, Op::Rename | Op::Unlink) {
                stops.extend([Stop::Cut(operation + 1), Stop::Killed(operation + 1)]);
            }
            for stop in stops {
                let mut play = Play::new(scenario);
                act_at(&mut play, &act, operation);
                go_on(play, &act, stop);
                states += 1;
            }
        }
        states
    });
}

/// Why: where a link and an unlink replace a rename, the old name may vanish before it is unlinked, with its directory; the
/// new name is the last one then, and was taken back.
#[test]
fn a_directory_is_removed_while_a_link_does_the_work_of_a_rename() {
    let links = calm().into_iter().filter(|scenario| scenario.odd.links);
    sweep("removed during a link", operations(links), 60, |scenario, operation, op| {
        let acts = if op == Op::Unlink { &[DirAct::Remove(0), DirAct::Remove(2), DirAct::TakeOut(0)][..] } else { &[] };
        for act in acts {
            let mut play = Play::new(scenario);
            act_at(&mut play, &Act::Dir(*act), operation);
            go_on(play, &Act::Dir(*act), Stop::AtRest);
        }
        acts.len() as u64
    });
}

/// Why: where a directory of quarantine cannot be entered, the file stays in staging; its unfinished reason stayed there, too,
/// for good.
#[test]
fn no_reason_is_left_in_a_directory_of_quarantine() {
    let is_met = AtomicBool::new(false);
    sweep("a quarantine that cannot be entered", writes([quarantined()]), 120, |scenario, operation, _| {
        let mut play = Play::new(scenario);
        play.run_until(operation, operation % 2 == 0);
        play.kill();
        // A whole reason whose file is not there yet stays where nothing can be looked at: see docs/files.md.
        let view = play.view();
        let is_alone = |path: &PathBuf| !is_hidden(path) && !view.quarantine.keys().any(|of| reason_path(of) == *path);
        if view.reasons.keys().any(is_alone) {
            return 0;
        }
        let dirs = ["d/e", "f/g/h"].map(|dir| Path::new(QUARANTINE).join(dir));
        let fs = play.fs.clone();
        let set_open = |is_open: bool| {
            let mut upstream = fs.upstream();
            for dir in &dirs {
                let _ = upstream.set_unreadable(dir, !is_open);
            }
        };
        set_open(false);
        // Where a file was moved there and the directory is not synced yet, a start ends with an error that names it.
        if let Err(error) = play.run() {
            let is_named = dirs.iter().any(|dir| error.to_string().contains(&dir.display().to_string()));
            assert!(is_named, "{}: {error}", play.told());
            play.kill();
        }
        is_met.fetch_or(play.view().reasons.keys().any(|path| is_hidden(path)), Ordering::Relaxed);
        set_open(true);
        play.story.push("quarantine can be entered again".to_owned());
        play.end();
        1
    });
    assert!(is_met.into_inner(), "the test is about unfinished reasons");
}

/// Why: a file that was to go to quarantine vanishes; its reason, which is there already, cannot be removed for a moment. It
/// stayed there for good, without its file.
#[test]
fn a_reason_that_cannot_be_removed_is_removed_by_the_next_start() {
    let is_met = AtomicBool::new(false);
    sweep("reasons that stay", operations([quarantined()]), 25, |scenario, operation, op| {
        let acts = if op == Op::Rename { &[Act::Remove(IN_TREE + 1), Act::Remove(IN_TREE + 4)][..] } else { &[] };
        for act in acts {
            let mut play = Play::new(scenario);
            act_at(&mut play, act, operation);
            play.fs.inject(Fault::errno(libc::EBUSY).only(&[Op::Unlink]).from(operation));
            play.story.push("nothing can be unlinked from then on".to_owned());
            is_met.fetch_or(play.run().is_err(), Ordering::Relaxed);
            play.fs.clear_hook();
            play.fs.clear_faults();
            play.kill();
            play.end();
        }
        acts.len() as u64
    });
    assert!(is_met.into_inner(), "the test is about reasons that cannot be removed");
}
