//! Groups and crashes: wherever the power is cut, the process is killed, an operation fails, or an upstream acts, all files
//! of a group are ingested and listed together, or none.

use std::path::Path;

use csv_ingestor::fs::sim::{Fault, Op};
use csv_ingestor::journal::record::DuplicateAction;

use super::fault::{How, fails, recoveries_fail};
use super::interference::{Stop, act_at, go_on};
use super::{READS, is_thorough, operations, sweep, writes};
use crate::crash::act::{self, Act, DirAct, IN_TREE};
use crate::crash::play::Play;
use crate::crash::scenario::{Compacts, Crashed, HALVES, Phase, STAGING, Scenario};
use crate::crash::view::{View, is_hidden};
use crate::crash::watch::Watch;

fn group(number: u8, members: &[(u8, u8)]) -> Act {
    Act::Group(number, members.to_vec())
}

/// Three files in one group, and one in none.
fn one() -> Vec<Act> {
    let files = [Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2), Act::Write(5, 8)];
    files.into_iter().chain([group(0, &[(0, 1), (1, 3), (2, 2)])]).collect()
}

/// Quick runs take a third of the operations.
fn thin(name: &'static str) -> Scenario {
    Scenario { crashed: Crashed::one_in(3), ..Scenario::plain(name) }
}

fn plain() -> Scenario {
    Scenario { before: one(), failing: HALVES, ..thin("a group") }
}

fn across() -> Scenario {
    Scenario { before: one(), cross: true, ..thin("a group, across file systems") }
}

/// One file of a group changes after it was hashed, so that the others are put back; then it is as it was.
fn changing() -> Scenario {
    let at = |round, phase, act| ((round, phase), act);
    Scenario {
        before: one(),
        acts: vec![at(0, Phase::Commit, Act::Replace(2, 9)), at(2, Phase::Scan, Act::Replace(2, 2))],
        ..thin("a group, of which a file changes")
    }
}

/// Another group has contents that the first one has brought: of a file in staging, and of one that is not there.
fn again(duplicates: DuplicateAction, name: &'static str) -> Scenario {
    let at = |act| ((1, Phase::Scan), act);
    Scenario {
        before: one(),
        acts: vec![at(Act::Write(3, 1)), at(Act::Write(4, 6)), at(group(1, &[(3, 1), (4, 6), (1, 3)]))],
        duplicates,
        ..thin(name)
    }
}

/// Two groups in one batch that share a content, one of which has a content twice; then the second one comes again.
fn several() -> Scenario {
    let files = [Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 1), Act::Write(3, 4), Act::Write(4, 3)];
    let groups = [group(0, &[(0, 1), (1, 3), (2, 1)]), group(1, &[(3, 4), (4, 3)])];
    Scenario {
        before: files.into_iter().chain(groups).collect(),
        acts: vec![((2, Phase::Scan), group(2, &[(3, 4), (4, 3)]))],
        duplicates: DuplicateAction::Remove,
        compacts: Compacts::Between,
        ..thin("several groups")
    }
}

/// Groups in two directories, of which one is in the other, and a file in none.
fn in_directories() -> Scenario {
    let bodies = [(IN_TREE, 1), (IN_TREE + 5, 3), (IN_TREE + 1, 2), (IN_TREE + 2, 4)];
    let files = bodies.map(|(name, body)| Act::Write(name, body));
    let groups =
        [group(IN_TREE, &[bodies[0], bodies[1]]), group(IN_TREE + 1, &[bodies[2], bodies[3]]), Act::Write(0, 7)];
    Scenario { before: files.into_iter().chain(groups).collect(), ..thin("groups in directories") }
}

/// Two groups name one file, with different sums. Why: the first of them took the file each time, and failed; a random
/// history found that the other one, which was complete, was never tried.
fn contradicting() -> Scenario {
    let groups = [group(0, &[(0, 1), (1, 3)]), group(1, &[(1, 4), (2, 2)])];
    let files = [Act::Write(0, 1), Act::Write(1, 4), Act::Write(2, 2)];
    Scenario { before: files.into_iter().chain(groups).collect(), ..thin("groups that contradict each other") }
}

/// The second group is ingested, and the first one waits.
#[test]
fn a_group_that_fails_does_not_keep_a_file_from_another_group() {
    for sent_again in [false, true] {
        let scenario = Scenario {
            // The first group's content after all, when the file is free for it.
            acts: if sent_again { vec![((4, Phase::Scan), Act::Write(1, 3))] } else { Vec::new() },
            ..contradicting()
        };
        let mut play = Play::new(&scenario);
        play.end();
        let lines = play.view().lines;
        let of = |name: &str| lines.iter().filter(|line| line.group.as_ref().unwrap().name == name).count();
        assert_eq!((of("g0.group"), of("g1.group")), (if sent_again { 2 } else { 0 }, 2), "{lines:?}");
    }
}

fn scenarios() -> Vec<Scenario> {
    let kept = again(DuplicateAction::Keep, "a group of known contents, which are kept");
    let removed = again(DuplicateAction::Remove, "a group of known contents, which are removed");
    vec![plain(), across(), changing(), kept, removed, several(), in_directories(), contradicting()]
}

/// The scenarios end correctly when nothing goes wrong. Each operation is checked.
#[test]
fn groups_without_a_crash() {
    for scenario in scenarios() {
        let mut play = Play::new(&scenario);
        let (ended, _) = play.run_watched(Watch::default());
        play.check_ended(ended);
        let lines = play.view().lines;
        assert!(lines.len() >= 2 && lines.iter().all(|line| line.group.is_some()), "{}: {lines:?}", play.told());
        play.end();
    }
}

/// All or none, wherever the power is cut or the process is killed; and recovering twice is as recovering once.
#[test]
fn groups_are_whole_after_a_crash() {
    let seeds = if is_thorough() { 32 } else { 3 };
    sweep("groups", writes(scenarios()), 1_000, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 2 == 0);
        for seed in 0..seeds {
            let mut play = stopped.fork();
            match seed {
                0 => play.kill(),
                seed => play.cut_power(operation.wrapping_mul(1_000) + seed),
            }
            if seed <= 1 {
                play.check_recovery_is_repeatable();
            }
            play.end();
        }
        seeds
    });
}

/// A second crash at every operation of the recovery, also while it puts a group back.
#[test]
fn groups_are_whole_after_a_crash_of_the_recovery() {
    let step = if is_thorough() { 1 } else { 7 };
    sweep("groups, crashes of a recovery", writes([plain(), across(), changing()]), 810, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 4 == 0);
        match operation % 2 == 0 {
            true => stopped.kill(),
            false => stopped.cut_power(operation),
        }
        let mut calm = stopped.fork();
        calm.recover();
        let mut states = 0;
        let writes = calm.fs.log().into_iter().filter(|logged| !READS.contains(&logged.op));
        for at in writes.map(|logged| logged.number).filter(|at| (at + operation) % step == 0) {
            let mut play = stopped.fork();
            play.run_until(at, at % 5 == 0);
            play.cut_power(operation.wrapping_mul(1_000) + at);
            play.end();
            states += 1;
        }
        states
    });
}

/// Every operation fails, once and for ever, in a run and in a recovery.
#[test]
fn groups_are_whole_when_operations_fail() {
    let hows = [How::Once(libc::EIO), How::Once(libc::ENOSPC), How::ForEver(libc::EIO)];
    sweep("groups, faults", operations([plain(), across(), several()]), 2_300, |scenario, operation, op| {
        hows.iter().map(|how| fails(scenario, operation, op, *how)).sum()
    });
    sweep("groups, faults in a recovery", writes([plain(), changing()]), 1_000, |scenario, operation, _| {
        recoveries_fail(scenario, operation, if is_thorough() { 1 } else { 9 })
    });
}

fn acts() -> Vec<Act> {
    vec![
        Act::Append(0, 6),
        Act::Replace(1, 5),
        Act::Replace(2, 3),
        Act::Remove(1),
        Act::Open(0, 7),
        Act::OpenSilently(2),
        // The group file is replaced by one that demands another content, or names less; or it is withdrawn.
        group(0, &[(0, 1), (1, 4), (2, 2)]),
        group(0, &[(0, 1)]),
        Act::Ungroup(0),
    ]
}

/// A member or the group file is replaced, removed or opened at every moment; right after a name was moved, the run is also
/// stopped.
#[test]
fn an_upstream_acts_on_a_group_at_every_operation() {
    sweep("groups, upstreams", operations([plain(), across()]), 2_000, |scenario, operation, op| {
        let mut states = 0;
        for (index, act) in (0..).zip(acts()) {
            let mut stops = vec![Stop::AtRest];
            if matches!(op, Op::Rename | Op::Unlink) {
                let later = operation + 1 + (operation + index) % 7;
                stops.extend([Stop::Cut(operation + 1), Stop::Killed(operation + 1), Stop::Killed(later)]);
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

/// Why: a group file that was set aside has to be found again where its directory is by then, or it stays hidden there.
#[test]
fn a_group_file_that_was_set_aside_is_found_in_a_renamed_directory() {
    let scenario = in_directories();
    for (nth, dir) in [(1, DirAct::Rename(0, 4)), (2, DirAct::Rename(0, 4)), (2, DirAct::Rename(1, 5))] {
        for (happened, seed) in [(false, None), (true, None), (false, Some(1)), (false, Some(2)), (true, Some(3))] {
            let mut play = Play::new(&scenario);
            let aside = Fault::crash().only(&[Op::Unlink]).under(Path::new(STAGING).join("d")).nth(nth);
            play.fs.inject(if happened { aside.happened() } else { aside });
            play.run().unwrap_err();
            play.fs.clear_faults();
            let is_aside = |view: &View| view.staging.keys().filter(|path| is_hidden(path)).count();
            assert_eq!(
                is_aside(&play.view()),
                usize::from(!happened),
                "{}: the test is about a group file",
                play.told()
            );
            match seed {
                None => play.kill(),
                Some(seed) => play.cut_power(seed),
            }
            play.story.push(format!("{dir:?}"));
            act::perform(&Act::Dir(dir), &mut play.fs.upstream(), &mut play.model());
            play.end();
            let left = play.view().staging;
            assert_eq!(left.keys().collect::<Vec<_>>(), [&act::path_of(0)], "{}", play.told());
            assert_eq!(play.view().lines.len(), 4, "{}", play.told());
        }
    }
}

/// Directories with groups in them are renamed before each operation; right before and after a name is moved or removed, the
/// run is also stopped.
#[test]
fn directories_of_groups_are_renamed_at_every_operation() {
    let dirs = [DirAct::Rename(0, 4), DirAct::Rename(1, 5)];
    sweep("groups, directories", operations([in_directories()]), 250, |scenario, operation, op| {
        let mut states = 0;
        for (index, act) in (0..).zip(dirs.map(Act::Dir)) {
            let mut stops = vec![Stop::Cut(operation + 1 + (operation + index * 7) % 40)];
            if matches!(op, Op::Rename | Op::Unlink) {
                stops.extend([
                    Stop::AtRest,
                    Stop::Cut(operation + 1),
                    Stop::Killed(operation),
                    Stop::Killed(operation + 1),
                ]);
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
