//! Somebody else acts between any two operations.

use super::{is_thorough, operations, sweep, writes};
use crate::crash::act::{self, Act, content_of};
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

/// Scenarios that between them have every kind of place and of duplicate.
const NAMED: [&str; 8] = [
    "same file system",
    "across file systems",
    "sidecars",
    "sidecars across file systems",
    "duplicates kept, in one batch",
    "duplicates removed, in one batch",
    "duplicates moved, in one batch",
    "names taken across file systems",
];
/// Where a recovery has more to look at: nothing is held, and nobody has synced anything.
const UNSYNCED: [&str; 4] = [
    "nobody synced the sources",
    "nobody synced the sources, across file systems",
    "same file system, renames in halves",
    "without leases",
];

fn scenarios(names: &[&str]) -> Vec<Scenario> {
    Scenario::all().into_iter().filter(|scenario| is_thorough() || names.contains(&scenario.name)).collect()
}

/// The next run meets this act before that operation.
fn act_at(play: &mut Play<'_>, act: &Act, operation: u64) {
    play.story.push(format!("{act:?} before operation {operation}"));
    let (model, act) = (play.model.clone(), act.clone());
    play.fs.set_hook(Box::new(move |call, upstream| {
        if call.number == operation {
            act::perform(&act, upstream, &mut model.lock().unwrap());
        }
    }));
}

/// Goes on: to the end, or to a power cut at this operation and then to the end.
fn go_on(mut play: Play<'_>, cut: Option<u64>) {
    if let Some(cut) = cut {
        play.run_until(cut, false);
        play.fs.clear_hook();
        play.cut_power(cut);
    } else if let Err(error) = play.run() {
        panic!("{}: {error}", play.told());
    }
    play.fs.clear_hook();
    close_writer(&play);
    play.end();
}

/// The pipeline meets files that are not what they were a moment ago: at every moment, each of the things that upstreams do,
/// and once more with a power cut soon after.
#[test]
fn an_upstream_acts_at_every_operation() {
    sweep("upstreams", operations(scenarios(&NAMED)), 35_000, |scenario, operation, _| {
        for (index, act) in (0..).zip(acts()) {
            for cut in [None, Some(operation + 1 + (operation + index * 7) % 40)] {
                let mut play = Play::new(scenario);
                act_at(&mut play, &act, operation);
                go_on(play, cut);
            }
        }
        2 * acts().len() as u64
    });
}

/// So does the recovery: one of them before each of its operations, and each of them while nobody runs, with a power cut
/// behind it.
#[test]
fn an_upstream_acts_at_every_operation_of_a_recovery() {
    let names = [&NAMED[..], &UNSYNCED[..]].concat();
    let step = if is_thorough() { 1 } else { 3 };
    sweep("upstreams in a recovery", writes(scenarios(&names)), 20_000, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 2 == 0);
        stopped.kill();
        let mut calm = stopped.fork();
        calm.recover();
        let (acts, mut states) = (acts(), 0);
        for at in calm.fs.log().into_iter().map(|logged| logged.number).filter(|at| (at + operation) % step == 0) {
            let mut play = stopped.fork();
            act_at(&mut play, &acts[(operation * 7 + at * 5) as usize % acts.len()], at);
            go_on(play, (at % 2 == 0).then_some(at + 1 + operation % 30));
            states += 1;
        }
        for (index, act) in (0..).zip(&acts) {
            let mut play = stopped.fork();
            play.story.push(format!("{act:?}"));
            act::perform(act, &mut play.fs.upstream(), &mut play.model());
            play.cut_power(operation * 100 + index);
            go_on(play, None);
            states += 1;
        }
        states
    });
}

/// What is still open for writing is closed, so that it can be ingested.
fn close_writer(play: &Play<'_>) {
    let mut model = play.model();
    let Some(writer) = model.writer.clone() else { return };
    act::perform(&Act::Close(1), &mut play.fs.upstream(), &mut model);
    model.after_close(&mut play.fs.upstream(), &[&writer.content[..], &content_of(1)[..]].concat());
}
