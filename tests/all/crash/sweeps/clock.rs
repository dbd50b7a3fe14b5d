//! The clock jumps, with a compaction that forgets in each round; and kept duplicates are deleted.

use std::path::Path;

use csv_ingestor::engine;
use csv_ingestor::journal::record::DuplicateAction;

use super::{sweep, writes};
use crate::crash::act::Act;
use crate::crash::play::Play;
use crate::crash::scenario::{Compacts, Crashed, Phase, STATE, Scenario};

/// Years, in days.
const AHEAD: i32 = 7_300;
/// Back to the seventies.
const BEHIND: i32 = -19_000;
/// Longer than anything is remembered.
const LONG: u16 = 400;

fn at(round: u32, acts: &[Act]) -> Vec<((u32, Phase), Act)> {
    acts.iter().map(|act| ((round, Phase::Scan), act.clone())).collect()
}

fn scenarios() -> Vec<Scenario> {
    let jumps = Scenario {
        duplicates: DuplicateAction::Remove,
        compacts: Compacts::Between,
        acts: [
            at(1, &[Act::Jump(AHEAD), Act::Write(3, 4)]),
            at(2, &[Act::Write(4, 1)]),
            at(3, &[Act::Jump(-AHEAD), Act::Write(5, 6)]),
            at(4, &[Act::Write(0, 3), Act::Write(1, 4), Act::Write(2, 6)]),
            at(5, &[Act::Jump(BEHIND), Act::Write(3, 7)]),
            at(6, &[Act::Jump(-BEHIND), Act::Write(4, 7), Act::Write(5, 1)]),
            at(7, &[Act::Write(0, 7), Act::Write(1, 6)]),
            // After a compaction by a process that knows the jumps from a snapshot only.
            at(8, &[Act::Write(2, 7), Act::Write(3, 6)]),
        ]
        .concat(),
        crashed: Crashed::one_in(2),
        ..Scenario::plain("the clock jumps, and nothing is forgotten")
    };
    let meanwhile = Scenario {
        compacts: Compacts::Meanwhile { seed: 5 },
        crashed: Crashed::one_in(5),
        name: "the clock jumps while a compaction goes on",
        ..jumps.clone()
    };
    // Old contents are forgotten, except those whose duplicate is still in staging, even as another file by now.
    let deleted = Scenario {
        before: vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2)],
        compacts: Compacts::Between,
        acts: [
            at(1, &[Act::Write(3, 1)]),
            at(2, &[Act::Sleep(LONG), Act::Write(4, 7)]),
            at(3, &[Act::Replace(3, 1), Act::Write(5, 8)]),
            at(5, &[Act::Write(4, 9)]),
            at(6, &[Act::DeleteDuplicates]),
            at(7, &[Act::Write(5, 10)]),
        ]
        .concat(),
        crashed: Crashed::one_in(2),
        ..Scenario::plain("kept duplicates are replaced, and deleted")
    };
    vec![jumps, meanwhile, deleted]
}

/// The age of contents that were written under a wrong clock is known only as long as the jumps are, and compactions keep
/// them.
fn end(play: &mut Play<'_>) {
    play.end();
    let jumps = play.scenario.acts.iter().filter(|(_, act)| matches!(act, Act::Jump(_))).count();
    let state = engine::read_state(&play.fs, Path::new(STATE)).unwrap();
    assert!(jumps == 0 || !state.clock().is_empty(), "{}: the clock's jumps are forgotten", play.told());
}

/// P1: no ingested content is listed twice because of a jump, wherever the power is cut or the process is killed; and all
/// jumps are known at the end.
#[test]
fn clocks_that_jump_with_power_cuts() {
    for scenario in &scenarios() {
        end(&mut Play::new(scenario));
    }
    sweep("power cuts while the clock jumps", writes(scenarios()), 1_800, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 2 == 0);
        let mut killed = stopped.fork();
        killed.kill();
        end(&mut killed);
        for seed in 0..2 {
            let mut play = stopped.fork();
            play.cut_power(operation.wrapping_mul(1_000) + seed);
            end(&mut play);
        }
        3
    });
}
