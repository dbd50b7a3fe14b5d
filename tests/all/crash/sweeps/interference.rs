//! Another process acts between any two operations.

use csv_ingestor::fs::sim::{Fault, Odd, Op};

use super::{is_thorough, operations, sweep, writes};
use crate::crash::act::{self, Act, Name, content_of};
use crate::crash::play::Play;
use crate::crash::scenario::{HALVES, Phase, Scenario};

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
        Act::Link(1, SECOND_NAME),
        Act::Remove(0),
        Act::Remove(3),
        Act::Disguise(1),
        Act::Open(0, 7),
        Act::OpenSilently(0),
        Act::OpenSilently(3),
        Act::DropCaches,
    ]
}

/// Scenarios that together have every kind of place and of duplicate.
const NAMED: [&str; 9] = [
    "same file system",
    "across file systems",
    "sidecars",
    "sidecars across file systems",
    "duplicates kept, in one batch",
    "duplicates removed, in one batch",
    "duplicates moved, in one batch",
    "names taken across file systems",
    "malformed files, with quarantine",
];
/// Scenarios in which a recovery has more to check: no leases, or unsynced sources.
const UNSYNCED: [&str; 4] = [
    "nobody synced the sources",
    "nobody synced the sources, across file systems",
    "same file system, renames in halves",
    "without leases",
];

fn scenarios(names: &[&str]) -> Vec<Scenario> {
    Scenario::all().into_iter().filter(|scenario| is_thorough() || names.contains(&scenario.name)).collect()
}

/// Performs this act before that operation of the next run.
pub(super) fn act_at(play: &mut Play<'_>, act: &Act, operation: u64) {
    play.story.push(format!("{act:?} before operation {operation}"));
    let (model, act) = (play.model.clone(), act.clone());
    play.fs.set_hook(Box::new(move |call, upstream| {
        if call.number == operation {
            act::perform(&act, upstream, &mut model.lock().unwrap());
        }
    }));
}

/// The second name that [`acts`] gives to a file.
const SECOND_NAME: Name = 5;

/// How the run ends in which another process acts.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    AtRest,
    /// At this operation.
    Cut(u64),
    Killed(u64),
}

/// Runs to the end, or until it is stopped and then to the end.
pub(super) fn go_on(mut play: Play<'_>, act: &Act, stop: Stop) {
    match stop {
        Stop::AtRest => {
            let ended = play.run();
            ended.unwrap_or_else(|error| panic!("{}: {error}", play.told()));
        }
        Stop::Cut(at) => {
            play.run_until(at, false);
            play.fs.clear_hook();
            play.cut_power(at);
        }
        Stop::Killed(at) => {
            play.run_until(at, false);
            play.fs.clear_hook();
            play.kill();
        }
    }
    play.fs.clear_hook();
    close_writer(&play);
    play.end();
    if matches!(act, Act::Link(..)) {
        // Through that name an upstream must not reach a file in the warehouse.
        let later = Act::Append(SECOND_NAME, 9);
        play.story.push(format!("{later:?}"));
        act::perform(&later, &mut play.fs.upstream(), &mut play.model());
        play.end();
    }
}

/// Performs each act before an operation, with each way to stop the run; returns how many states were checked.
fn meets_each(scenario: &Scenario, operation: u64, acts: &[Act], stops: &[Stop]) -> u64 {
    for (act, stop) in acts.iter().flat_map(|act| stops.iter().map(move |stop| (act, *stop))) {
        let mut play = Play::new(scenario);
        act_at(&mut play, act, operation);
        go_on(play, act, stop);
    }
    (acts.len() * stops.len()) as u64
}

/// Files change at every moment: before each operation, each of the acts of upstreams (unless the sweep is thorough, one in
/// four where nothing is moved or removed), and once more with a power cut soon
/// after. This matters most when a name is about to be moved or removed: there the run is also stopped right after that
/// operation.
#[test]
fn an_upstream_acts_at_every_operation() {
    sweep("upstreams", operations(scenarios(&NAMED)), 22_000, |scenario, operation, op| {
        let mut states = 0;
        let moves = matches!(op, Op::Rename | Op::Unlink);
        for (index, act) in (0..).zip(acts()) {
            if !moves && !is_thorough() && (operation + index) % 4 != 0 {
                continue;
            }
            let mut stops = vec![Stop::AtRest, Stop::Cut(operation + 1 + (operation + index * 7) % 40)];
            if moves {
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

/// Why: where a file system can only rename by replacing, a link and an unlink replace the rename, with a sync between the
/// two; a file that an upstream had renamed into place meanwhile was unlinked.
#[test]
fn an_upstream_acts_while_a_link_does_the_work_of_a_rename() {
    let names = [
        "same file system",
        "sidecars across file systems",
        "duplicates removed, in one batch",
        "duplicates moved, in one batch",
        "malformed files, with quarantine",
    ];
    let odd = Odd { links: true, ..Odd::default() };
    let scenarios = scenarios(&names).into_iter().map(|scenario| Scenario { odd: odd.clone(), ..scenario });
    sweep("upstreams, renames by link", operations(scenarios), 13_000, |scenario, operation, op| {
        let acts = [Act::Replace(0, 8), Act::Replace(1, 9), Act::Replace(3, 8), Act::Remove(0), Act::Disguise(2)];
        let stops = match op {
            Op::Rename | Op::Unlink | Op::SyncDir | Op::Stat => {
                vec![Stop::AtRest, Stop::Killed(operation + 1), Stop::Cut(operation + 2), Stop::Killed(operation + 3)]
            }
            _ => vec![Stop::AtRest],
        };
        meets_each(scenario, operation, &acts, &stops)
    });
}

/// Why: where a rename changes the inode number, a file of equal size and mtime that an upstream renames into place looks
/// like the file that was hashed. Across file systems it was removed in its place.
#[test]
fn an_upstream_swaps_files_where_a_rename_renumbers() {
    let odd = Odd { renumbers: true, ..Odd::default() };
    let both = Odd { links: true, ..odd.clone() };
    let names = [
        "same file system",
        "across file systems",
        "sidecars across file systems",
        "duplicates removed, in one batch",
        "duplicates moved, in one batch",
        "malformed files, with quarantine",
    ];
    let scenarios = scenarios(&names);
    let links =
        scenarios.iter().filter(|scenario| is_thorough() || scenario.name == names[0] || scenario.name == names[4]);
    let links = links.map(|scenario| Scenario { odd: both.clone(), ..scenario.clone() }).collect::<Vec<_>>();
    let scenarios = scenarios.into_iter().map(|scenario| Scenario { odd: odd.clone(), ..scenario });
    sweep("swapped, renumbered", operations(scenarios.chain(links)), 4_100, |scenario, operation, op| {
        let stops = match op {
            Op::Rename | Op::Unlink => {
                vec![Stop::AtRest, Stop::Killed(operation + 1), Stop::Cut(operation + 2), Stop::Killed(operation + 3)]
            }
            _ => vec![Stop::AtRest],
        };
        let acts = [Act::Disguise(0), Act::Disguise(1), Act::Disguise(3)];
        let acts = match stops.len() {
            1 if !is_thorough() => &acts[operation as usize % acts.len()..][..1],
            _ => &acts[..],
        };
        meets_each(scenario, operation, acts, &stops)
    });
}

/// Why: the ctime of a file that was moved by mistake was compared with the time at which the staged one had been found. Set
/// back in between, the clock made it look older, and the file stayed where no manifest lists it.
#[test]
fn an_upstream_acts_after_the_clock_was_set_back() {
    const YEARS: i32 = -7_300;
    let names = ["same file system", "duplicates moved, in one batch", "malformed files, with quarantine"];
    let set_back = |scenario: Scenario| Scenario {
        acts: vec![((0, Phase::Hash), Act::Jump(YEARS)), ((2, Phase::Scan), Act::Jump(-YEARS))],
        ..scenario
    };
    let scenarios = scenarios(&names).into_iter().map(set_back);
    sweep("the clock was set back", operations(scenarios), 360, |scenario, operation, op| {
        let acts = [Act::Replace(0, 8), Act::Replace(1, 9), Act::Replace(3, 8), Act::Disguise(3)];
        let acts = if op == Op::Rename { &acts[..] } else { &[] };
        meets_each(scenario, operation, acts, &[1, 2, 3, 4].map(|after| Stop::Killed(operation + after)))
    });
}

/// A file is read in pieces, and overwritten between two of them by a process that no lease delays: the bytes read are
/// neither of the two contents, and must not be ingested.
#[test]
fn a_file_is_written_over_between_two_reads() {
    let plain = Scenario { leases: false, ..Scenario::plain("written over between two reads") };
    let across = Scenario { cross: true, name: "written over between two reads, across file systems", ..plain.clone() };
    sweep("between two reads", operations([plain, across]), 50, |scenario, operation, op| {
        let acts = if op == Op::ReadAt { 0..4 } else { 0..0 };
        // The longest content, so that bytes after the old end are read, too.
        let acts = acts.map(|name| Act::Write(name, 8));
        let count = acts.len() as u64;
        for act in acts {
            let mut play = Play::new(scenario);
            play.fs.inject(Fault::short().only(&[Op::ReadAt]).at(operation));
            act_at(&mut play, &act, operation + 1);
            go_on(play, &act, Stop::AtRest);
        }
        count
    });
}

/// One file of a batch is moved back while others are moved into the warehouse. Why: where a power cut may keep half a
/// rename, one sync of each directory is wrong in either order: a random history lost the old names of other files before
/// their new ones were durable.
#[test]
fn a_file_goes_back_while_others_go_there() {
    const CUTS: u64 = 16;
    const SEEDS: u64 = 4;
    let halves = Scenario { failing: HALVES, ..Scenario::plain("a file goes back, renames in halves") };
    sweep("going back", operations([halves]), 1_500, |scenario, operation, op| {
        let acts = if op == Op::Rename { 0..3 } else { 0..0 };
        let mut states = 0;
        for (act, cut) in acts.flat_map(|name| (1..=CUTS).map(move |cut| (Act::Replace(name, 8), operation + cut))) {
            for seed in 0..SEEDS {
                let mut play = Play::new(scenario);
                act_at(&mut play, &act, operation);
                play.run_until(cut, false);
                play.fs.clear_hook();
                play.cut_power(cut * SEEDS + seed);
                play.end();
                states += 1;
            }
        }
        states
    });
}

/// The same in the recovery: one act before each of its operations, and each act while no ingestor runs, followed by a power
/// cut unless a file stays open.
#[test]
fn an_upstream_acts_at_every_operation_of_a_recovery() {
    let names = [&NAMED[..], &UNSYNCED[..]].concat();
    let step = if is_thorough() { 1 } else { 12 };
    sweep("upstreams in a recovery", writes(scenarios(&names)), 33_000, |scenario, operation, _| {
        let mut stopped = Play::new(scenario);
        stopped.run_until(operation, operation % 2 == 0);
        stopped.kill();
        let mut calm = stopped.fork();
        calm.recover();
        let (acts, mut states) = (acts(), 0);
        for at in calm.fs.log().into_iter().map(|logged| logged.number).filter(|at| (at + operation) % step == 0) {
            let mut play = stopped.fork();
            let act = &acts[(operation * 7 + at * 5) as usize % acts.len()];
            act_at(&mut play, act, at);
            let stop = if at % 2 == 0 { Stop::Cut(at + 1 + operation % 30) } else { Stop::AtRest };
            go_on(play, act, stop);
            states += 1;
        }
        for (index, act) in (0..).zip(&acts) {
            let mut play = stopped.fork();
            play.story.push(format!("{act:?}"));
            act::perform(act, &mut play.fs.upstream(), &mut play.model());
            let is_open = play.model().writer.is_some();
            // A power cut would end the program that has it open.
            if !is_open {
                play.cut_power(operation * 100 + index);
            }
            go_on(play, act, Stop::AtRest);
            states += 1;
        }
        states
    });
}

/// Closes a file that is still open for writing, so that it can be ingested.
fn close_writer(play: &Play<'_>) {
    let mut model = play.model();
    let Some(writer) = model.writer.clone() else { return };
    act::perform(&Act::Close(1), &mut play.fs.upstream(), &mut model);
    model.after_close(&mut play.fs.upstream(), &[&writer.content[..], &content_of(1)[..]].concat());
}
