//! The duplicates directory is removed, or a file takes its place, between any two operations.

use std::path::Path;

use super::{operations, sweep};
use crate::crash::ingestor::Ended;
use crate::crash::play::Play;
use crate::crash::scenario::{DUPLICATES, STAGING, Scenario};
use crate::crash::view::View;
use csv_ingestor::Error;
use csv_ingestor::fs::sim::{Op, Upstream};

/// Scenarios in which duplicates are moved, and upstreams do not use their names in staging again.
const NAMED: [&str; 2] = ["duplicates moved, in one batch", "duplicates moved, across batches"];

fn scenarios() -> impl Iterator<Item = Scenario> {
    Scenario::all().into_iter().filter(|scenario| NAMED.contains(&scenario.name))
}

fn remove(upstream: &mut Upstream<'_>) {
    for name in upstream.list(DUPLICATES).unwrap_or_default() {
        upstream.remove(Path::new(DUPLICATES).join(name)).unwrap();
    }
    let _ = upstream.remove(DUPLICATES);
}

/// A change of the directory does not end a run that has begun.
fn check_goes_on(play: &Play<'_>, ended: &Result<Ended, Error>) {
    if let Err(error) = ended {
        let has_begun = play.fs.log().iter().any(|logged| logged.op == Op::Rename && logged.path.starts_with(STAGING));
        assert!(!has_begun, "{}: {error}", play.told());
    }
}

/// The directory is created again, also in a recovery: no duplicate stays, and nothing ends the process.
#[test]
fn the_directory_for_duplicates_is_removed_at_every_operation() {
    sweep("duplicates' directory removed", operations(scenarios()), 1_100, |scenario, operation, _| {
        for killed in [false, true] {
            let mut play = Play::new(scenario);
            play.story.push(format!("the directory for duplicates is removed before operation {operation}"));
            play.fs.set_hook(Box::new(move |call, upstream| {
                if call.number == operation {
                    remove(upstream);
                }
            }));
            if killed {
                play.run_until(operation + 1, false);
                play.fs.clear_hook();
                play.kill();
            } else {
                let ended = play.run();
                check_goes_on(&play, &ended);
            }
            play.fs.clear_hook();
            play.end();
        }
        2
    });
}

/// If it cannot be created, the duplicates stay, and nothing ends the process.
#[test]
fn a_file_takes_the_place_of_the_directory_for_duplicates() {
    sweep("a file in the place of duplicates", operations(scenarios()), 590, |scenario, operation, _| {
        let mut play = Play::new(scenario);
        play.story.push(format!("a file takes the place of the directory before operation {operation}"));
        play.fs.set_hook(Box::new(move |call, upstream| {
            if call.number == operation {
                remove(upstream);
                upstream.write(DUPLICATES, b"in the way").unwrap();
            }
        }));
        let ended = play.run();
        play.fs.clear_hook();
        check_goes_on(&play, &ended);
        let view = View::of(&mut play.fs.upstream());
        let verdict = play.model().always(&view);
        verdict.unwrap_or_else(|wrong| panic!("{}: {wrong}", play.told()));
        if ended.is_ok() {
            let lost = view.staged().find(|(_, digest)| !view.warehouse.values().any(|found| found == *digest));
            assert_eq!(lost, None, "{}", play.told());
            assert_eq!(view.lines.len(), view.warehouse.len(), "{}", play.told());
        }
        1
    });
}
