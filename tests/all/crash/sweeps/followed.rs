//! A consumer that follows the manifests, while the ingestor is killed or the power is cut at every operation.

use csv_ingestor::fs::sim::Op;

use super::{READS, Subject, is_thorough, sweep};
use crate::crash::act::Act;
use crate::crash::follower::{Go, Ways};
use crate::crash::play::Play;
use crate::crash::scenario::{Failing, MANIFESTS, Phase, Scenario};
use crate::crash::seldom::Seldom;

/// Files in a group and others, and later more of both.
fn groups() -> Scenario {
    let at = |act| ((1, Phase::Scan), act);
    let group = |number, members: &[(u8, u8)]| Act::Group(number, members.to_vec());
    Scenario {
        before: vec![Act::Write(0, 1), Act::Write(1, 3), Act::Write(2, 2), group(0, &[(0, 1), (1, 3), (2, 2)])],
        acts: vec![at(Act::Write(3, 7)), at(Act::Write(4, 6)), at(group(1, &[(3, 7), (4, 6)])), at(Act::Wait(2))],
        ..Scenario::plain("groups that are followed")
    }
}

/// Lines of many batches, of which some go to an earlier hour than those before them.
fn overlapping() -> Scenario {
    let at = |round, act| ((round, Phase::Scan), act);
    Scenario {
        acts: vec![at(1, Act::Write(3, 4)), at(1, Act::Wait(1)), at(2, Act::Write(4, 6)), at(2, Act::Write(5, 7))],
        seldom: Seldom::relay(1),
        ..Scenario::plain("batches that overlap, followed")
    }
}

fn scenarios() -> Vec<Scenario> {
    let torn = Failing { torn_syncs: true, ..Failing::default() };
    let all = [
        Scenario::plain("followed"),
        groups(),
        overlapping(),
        Scenario { failing: torn, cross: true, ..Scenario::plain("followed, across file systems") },
    ];
    all.into()
}

fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

/// With the operations that change something below the manifests: what a follower can see, and what is durable of it, depends
/// on these.
fn subjects() -> Vec<Subject> {
    let subject = |scenario: Scenario| {
        let mut play = Play::new(&scenario);
        play.end();
        let log = play.fs.log().into_iter().filter(|logged| !READS.contains(&logged.op));
        let matter = log.filter(|logged| logged.path.starts_with(MANIFESTS));
        // By a hash, since what a batch does there alternates.
        let matter = matter.filter(|logged| is_thorough() || mixed(logged.number).is_multiple_of(3));
        let operations = matter.map(|logged| (logged.number, logged.op)).collect();
        Subject { scenario, operations }
    };
    scenarios().into_iter().map(subject).collect()
}

/// What goes on with the follower in a run: it reads a little, again and again, and now and then everything.
fn goes(from: u64, to: u64, seed: u64) -> impl Iterator<Item = (u64, Go)> {
    let pace = 3 + seed % 5;
    (from..to).filter(move |number| number.is_multiple_of(pace)).map(move |number| match number / pace % 9 {
        4 => (number, Go::Everything),
        7 if seed.is_multiple_of(3) => (number, Go::Killed),
        some => (number, Go::Reads(1 + (some * 7 + seed % 11) as u8)),
    })
}

/// The order of lines, groups that stay together, what is acknowledged and what is durable, whenever the ingestor is killed or
/// the power is cut: while the follower has read a part of what was written, right after that, and in the recovery.
#[test]
fn consumers_get_every_line_wherever_the_ingestor_is_stopped() {
    sweep("consumers", subjects(), 40, |scenario, operation, _: Op| {
        let seeds = if is_thorough() { 24 } else { 1 };
        for seed in 0..seeds {
            let mixed = mixed(operation * 24 + seed);
            let mut play = Play::new(scenario);
            let first = play.fs.operations();
            let lines = 1 + (mixed % 4) as u8;
            play.follow(Ways { lines, without_index: mixed.is_multiple_of(3), refuses: (mixed % 5) as u8 });
            let follower = play.follower.as_ref().unwrap();
            // Who has looked twice finds lines that the index does not have, and gets them before they are durable.
            let last = if mixed & 16 == 0 { Go::Everything } else { Go::Reads(60) };
            follower.plan(goes(first, operation, mixed).chain([(operation, last)]));
            play.run_until(operation, mixed % 5 == 3);
            match mixed % 2 {
                0 => play.cut_power(mixed),
                _ => play.kill(),
            }
            let follower = play.follower.as_ref().unwrap();
            follower.plan(goes(operation, u64::MAX / 2, mixed / 2).take(30));
            follower.go(Go::Everything);
            play.check_follower();
            play.end();
            play.check_follower_at_the_end();
        }
        seeds
    });
}
