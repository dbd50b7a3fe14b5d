//! Sidecars and crashes: orphans release nothing, and a recovery checks checksums, too.

use super::{operations, sweep, writes};
use crate::crash::act::Act;
use crate::crash::play::Play;
use crate::crash::scenario::{Phase, Scenario};
use crate::crash::watch::Watch;
use csv_ingestor::fs::sim::Fault;

fn scenarios() -> Vec<Scenario> {
    let at = |round, act| ((round, Phase::Scan), act);
    let orphans = Scenario {
        sidecars: true,
        before: vec![Act::Orphan(0), Act::Orphan(1), Act::Half(1, 3), Act::Write(2, 2)],
        // Halves of files arrive beside them, and later the whole files, with checksums.
        acts: vec![at(1, Act::Half(0, 1)), at(2, Act::Write(3, 4)), at(2, Act::Write(0, 1)), at(3, Act::Write(1, 3))],
        ..Scenario::plain("orphaned sidecars, and halves of files")
    };
    let across = Scenario { cross: true, name: "orphaned sidecars, across file systems", ..orphans.clone() };
    vec![orphans, across]
}

/// The scenarios end correctly when nothing goes wrong. Each operation is checked.
#[test]
fn orphans_without_a_crash() {
    for scenario in scenarios() {
        let mut play = Play::new(&scenario);
        let (ended, _) = play.run_watched(Watch::default());
        play.check_ended(ended);
        play.end();
    }
}

/// Half a file that an orphan seems to release is never in the warehouse, wherever the power is cut or the process is
/// killed; and the whole file that comes later is.
#[test]
fn orphans_release_nothing_after_a_crash() {
    sweep("orphaned sidecars", writes(scenarios()), 1_000, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, true);
        for seed in 0..4 {
            let mut play = stopped.fork();
            match seed {
                0 => play.kill(),
                seed => play.cut_power(operation.wrapping_mul(1_000) + seed),
            }
            play.end();
        }
        4
    });
}

/// The same when `stat` of a file or a sidecar fails.
#[test]
fn orphans_release_nothing_when_a_look_fails() {
    sweep("orphaned sidecars, looks that fail", operations(scenarios()), 130, |scenario, operation, op| {
        if op != csv_ingestor::fs::sim::Op::Stat {
            return 0;
        }
        let mut play = Play::new(scenario);
        play.fs.inject(Fault::errno(libc::EIO).at(operation));
        if play.run().is_err() {
            play.kill();
        }
        play.fs.clear_faults();
        play.end();
        1
    });
}
