//! Somebody else acts between any two operations.

use std::sync::Arc;

use super::{is_thorough, operations, sweep};
use crate::crash::act::{self, Act};
use crate::crash::play::Play;
use crate::crash::scenario::Scenario;

fn acts() -> Vec<Act> {
    vec![
        Act::Write(0, 5),
        Act::Append(0, 6),
        Act::Append(1, 6),
        Act::Replace(0, 8),
        Act::Replace(2, 3),
        Act::Replace(3, 8),
        Act::Rename(1, 5),
        Act::Rename(0, 2),
        Act::Link(1, 5),
        Act::Remove(0),
        Act::Remove(3),
        Act::Disguise(1),
        Act::Open(0, 7),
        Act::DropCaches,
    ]
}

/// The pipeline meets files that are not what they were a moment ago: at every moment, each of the things that upstreams do,
/// and once more with a power cut soon after.
#[test]
fn an_upstream_acts_at_every_operation() {
    let named = [
        "same file system",
        "across file systems",
        "sidecars",
        "sidecars across file systems",
        "duplicates kept, in one batch",
        "duplicates removed, in one batch",
        "duplicates moved, in one batch",
        "names taken across file systems",
    ];
    let wanted = |scenario: &Scenario| is_thorough() || named.contains(&scenario.name);
    let subjects = operations(Scenario::all().into_iter().filter(wanted));
    sweep("upstreams", subjects, 35_000, |scenario, operation, _| {
        for (index, act) in (0..).zip(acts()) {
            for then_cut in [None, Some(operation + 1 + (operation + index * 7) % 40)] {
                let mut play = Play::new(scenario);
                play.story.push(format!("{act:?} before operation {operation}"));
                let (model, act) = (play.model.clone(), act.clone());
                play.fs.set_hook(Box::new(move |call, upstream| {
                    if call.number == operation {
                        act::perform(&act, upstream, &mut model.lock().unwrap());
                    }
                }));
                if let Some(cut) = then_cut {
                    play.run_until(cut, false);
                    play.fs.clear_hook();
                    play.cut_power(operation);
                } else if let Err(error) = play.run() {
                    panic!("{}: {error}", play.told());
                }
                play.fs.clear_hook();
                close_writer(&play);
                play.end();
            }
        }
        2 * acts().len() as u64
    });
}

/// What is still open for writing is closed, so that it can be ingested.
fn close_writer(play: &Play<'_>) {
    let model = Arc::clone(&play.model);
    let mut model = model.lock().unwrap();
    if model.writer.is_some() {
        act::perform(&Act::Close(1), &mut play.fs.upstream(), &mut model);
    }
}
