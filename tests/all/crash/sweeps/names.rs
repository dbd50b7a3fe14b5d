//! Somebody removes the directory for duplicates, or puts a file in its place, between any two operations.

use std::path::Path;

use super::{operations, sweep};
use crate::crash::play::Play;
use crate::crash::scenario::{DUPLICATES, STAGING, Scenario};
use csv_ingestor::fs::sim::Upstream;

/// Scenarios in which duplicates are moved, without upstreams that take their names in staging again.
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

/// It is made again, in a recovery too: no duplicate stays, and nothing ends the process.
#[test]
fn the_directory_for_duplicates_is_removed_at_every_operation() {
    sweep("duplicates' directory removed", operations(scenarios()), 200, |scenario, operation, _| {
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
                ended.unwrap_or_else(|error| panic!("{}: {error}", play.told()));
            }
            play.fs.clear_hook();
            play.end();
            let left = play.fs.upstream().list(STAGING).unwrap();
            assert!(left.is_empty(), "{}: {left:?} are left", play.told());
        }
        2
    });
}

/// Where it cannot be made the duplicates stay, and nothing ends the process.
#[test]
fn a_file_takes_the_place_of_the_directory_for_duplicates() {
    sweep("a file in the place of duplicates", operations(scenarios()), 100, |scenario, operation, _| {
        let mut play = Play::new(scenario);
        play.story.push(format!("a file takes the place of the directory before operation {operation}"));
        play.fs.set_hook(Box::new(move |call, upstream| {
            if call.number == operation {
                remove(upstream);
                if !upstream.exists(DUPLICATES) {
                    upstream.write(DUPLICATES, b"in the way").unwrap();
                }
            }
        }));
        // Before it is running, a place that cannot be used is refused.
        let ended = play.run();
        play.fs.clear_hook();
        if let Err(error) = ended {
            assert!(error.to_string().contains(DUPLICATES), "{}: {error}", play.told());
            assert!(play.fs.upstream().list(DUPLICATES).is_err(), "{}: {error}", play.told());
            let began =
                play.fs.log().iter().any(|logged| logged.number > operation && logged.path.starts_with(STAGING));
            assert!(!began, "{}: {error}", play.told());
        }
        let _ = play.fs.upstream().remove(DUPLICATES);
        play.end();
        1
    });
}
