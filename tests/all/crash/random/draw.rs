//! What a seed draws.

use proptest::prelude::*;

use super::history::{End, History, Part, WHOLE, Way};
use crate::crash::act::{Act, BAG, Body, DIRS, DirAct, IN_DIR, IN_TREE, MALFORMED, NAMES_IN_TREE, Name, PLAIN_NAMES};
use crate::crash::follower::{Go, Ways};

const NAMES_BELOW: u8 = NAMES_IN_TREE.len() as u8;
/// The first of the names that belong to a bag.
const OF_THE_BAG: Name = IN_TREE + 6;
/// Groups have few contents, so that some of them are in the warehouse already.
const BODIES_OF_GROUPS: Body = 6;
/// Runs of a history, at most.
const PARTS_MAX: usize = 4;

fn act() -> impl Strategy<Value = Act> {
    let name = prop_oneof![3 => 0..PLAIN_NAMES, 2 => IN_TREE..IN_TREE + NAMES_BELOW];
    let body = prop_oneof![9 => 0..12_u8, 1 => MALFORMED..MALFORMED + 3];
    let (named, other) = (name.clone(), body.clone());
    let pair = move || (named.clone(), other.clone());
    prop_oneof![
        8 => pair().prop_map(|(name, body)| Act::Write(name, body)),
        3 => pair().prop_map(|(name, body)| Act::Append(name, body)),
        6 => pair().prop_map(|(name, body)| Act::Replace(name, body)),
        3 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Act::Link(from, to)),
        3 => name.clone().prop_map(Act::Remove),
        2 => name.clone().prop_map(Act::Disguise),
        2 => pair().prop_map(|(name, body)| Act::Open(name, body)),
        1 => name.clone().prop_map(Act::OpenSilently),
        2 => body.prop_map(Act::Close),
        1 => name.prop_map(Act::WrongSidecar),
        1 => (0..30_u8).prop_map(Act::Wait),
        1 => any::<bool>().prop_map(|whole| Act::Foreign { whole }),
        1 => Just(Act::DropCaches),
        2 => prop_oneof![Just(7_300), Just(-7_300), Just(400), Just(-400), Just(2), Just(-20_000)].prop_map(Act::Jump),
        1 => Just(Act::DeleteDuplicates),
        5 => dir_act().prop_map(Act::Dir),
        1 => (0..=BAG).prop_map(Act::Ungroup),
    ]
}

fn end() -> impl Strategy<Value = End> {
    let at = 0..WHOLE;
    prop_oneof![
        1 => Just(End::AtRest),
        3 => (at.clone(), any::<bool>()).prop_map(|(at, happened)| End::Killed { at, happened }),
        5 => (at.clone(), any::<u64>()).prop_map(|(at, seed)| End::Cut { at, seed }),
        3 => (at.clone(), 0..3_u8, any::<bool>(), any::<Option<u64>>()).prop_map(|(at, errno, for_ever, then_cut)| {
            End::Fails { at, errno, for_ever, then_cut }
        }),
        1 => at.prop_map(|at| End::Short { at }),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let some = prop_oneof![5 => act().prop_map(|act| vec![act]), 1 => group()];
    let acts = prop::collection::vec((0..WHOLE, some), 0..6);
    (acts, end()).prop_map(|(mut acts, end)| {
        acts.sort_by_key(|(at, _)| *at);
        let acts = acts.into_iter().flat_map(|(at, acts)| acts.into_iter().map(move |act| (at, act)));
        Part { acts: acts.collect(), end, goes: Vec::new(), then: Vec::new() }
    })
}

fn go() -> impl Strategy<Value = Go> {
    prop_oneof![
        8 => (1..60_u8).prop_map(Go::Reads),
        3 => Just(Go::Everything),
        1 => Just(Go::Killed),
        1 => (0..24_u8, any::<Option<u64>>()).prop_map(|(at, cut)| Go::Stopped { at, cut }),
    ]
}

/// What happens to a consumer's follower in a part, and after it.
type Goes = (Vec<(u16, Go)>, Vec<Go>);

fn goes() -> impl Strategy<Value = Goes> {
    let during = prop::collection::vec((0..WHOLE, go()), 0..12);
    (during, prop::collection::vec(go(), 0..3)).prop_map(|(mut during, then)| {
        during.sort_by_key(|(at, _)| *at);
        (during, then)
    })
}

/// A consumer, and what happens to it in each part.
fn consumer() -> impl Strategy<Value = (Ways, Vec<Goes>)> {
    let ways = (1..5_u8, prop::bool::weighted(0.4), 0..8_u8);
    let ways = ways.prop_map(|(lines, without_index, refuses)| Ways { lines, without_index, refuses });
    (ways, prop::collection::vec(goes(), PARTS_MAX))
}

/// The members that a group may name.
fn members_of(group: u8) -> Vec<Name> {
    match group {
        IN_DIR => vec![IN_TREE, IN_TREE + 5],
        BAG => (OF_THE_BAG..IN_TREE + NAMES_BELOW).collect(),
        _ => (0..PLAIN_NAMES).collect(),
    }
}

/// A group is sent: its members, of which some may be missing or have another content, and before or after them its file.
fn group() -> impl Strategy<Value = Vec<Act>> {
    let members = prop::collection::vec((any::<u8>(), 0..BODIES_OF_GROUPS, 0..10_u8), 1..4);
    (0..=BAG, members, any::<bool>()).prop_map(|(group, drawn, first)| {
        let (names, mut members, mut acts) = (members_of(group), Vec::new(), Vec::new());
        for (name, body, fate) in drawn {
            let name = names[usize::from(name) % names.len()];
            if members.iter().any(|(other, _)| *other == name) {
                continue;
            }
            members.push((name, body));
            match fate {
                8 => {}
                9 => acts.push(Act::Write(name, body + 1)),
                _ => acts.push(Act::Write(name, body)),
            }
        }
        acts.insert(if first { 0 } else { acts.len() }, Act::Group(group, members));
        acts
    })
}

fn dir_act() -> impl Strategy<Value = DirAct> {
    let dir = || 0..DIRS.len() as u8;
    prop_oneof![
        3 => (dir(), dir()).prop_map(|(from, to)| DirAct::Rename(from, to)),
        2 => dir().prop_map(DirAct::TakeOut),
        2 => dir().prop_map(DirAct::BringIn),
        1 => dir().prop_map(DirAct::Link),
        1 => dir().prop_map(DirAct::Remove),
    ]
}

/// The act, as far as it can happen here: without directories their files are directly in staging.
fn suited(act: Act, way: &Way) -> Option<Act> {
    if matches!(act, Act::Dir(_)) && !way.recursive || matches!(act, Act::Group(..) | Act::Ungroup(_)) && !way.groups {
        return None;
    }
    let here = |name: Name| if way.recursive || name < IN_TREE { name } else { (name - IN_TREE) % PLAIN_NAMES };
    Some(match act {
        Act::Write(name, body) => Act::Write(here(name), body),
        Act::Append(name, body) => Act::Append(here(name), body),
        Act::Replace(name, body) => Act::Replace(here(name), body),
        Act::Rename(from, to) => Act::Rename(here(from), here(to)),
        Act::Link(from, to) => Act::Link(here(from), here(to)),
        Act::Remove(name) => Act::Remove(here(name)),
        Act::Disguise(name) => Act::Disguise(here(name)),
        Act::Open(name, body) => Act::Open(here(name), body),
        Act::OpenSilently(name) => Act::OpenSilently(here(name)),
        Act::WrongSidecar(name) => Act::WrongSidecar(here(name)),
        Act::Group(group, members) if !way.recursive => {
            Act::Group(group % IN_DIR, members.into_iter().map(|(name, body)| (here(name), body)).collect())
        }
        Act::Ungroup(group) if !way.recursive => Act::Ungroup(group % IN_DIR),
        act => act,
    })
}

fn way() -> impl Strategy<Value = Way> {
    let quarter = || prop::bool::weighted(0.25);
    let flags = (prop::bool::weighted(0.2), any::<bool>(), quarter(), prop::bool::weighted(0.4), quarter());
    (flags, 0..4_u8, 0..6_u8).prop_map(|(flags, order, layout)| {
        let (sidecars, by_stem, groups, recursive, by_name) = flags;
        Way { sidecars, by_stem, groups, recursive, by_name, order, layout }
    })
}

pub fn history() -> impl Strategy<Value = History> {
    let often = prop::bool::weighted(0.8);
    let seldom = prop::bool::weighted(0.2);
    let flags = (any::<bool>(), often, any::<bool>(), seldom, often, any::<bool>(), 0..6_u8);
    let choices = (0..3_u8, 0..4_u8, 0..12_u8, prop::bool::weighted(0.1));
    // They cost more than all else: there are more of them in long runs.
    let consumers = if std::env::var_os("CRASH_SECONDS").is_some() { 0.3 } else { 0.08 };
    let parts = (prop::collection::vec(part(), 1..=PARTS_MAX), prop::option::weighted(consumers, consumer()));
    (flags, choices, way(), parts).prop_map(|(flags, choices, way, (mut parts, consumer))| {
        let (duplicates, compacts, odd, watched) = choices;
        let (cross, syncs, split_renames, torn_syncs, leases, quarantines, validates) = flags;
        for part in &mut parts {
            let acts = std::mem::take(&mut part.acts).into_iter();
            part.acts = acts.filter_map(|(at, act)| Some((at, suited(act, &way)?))).collect();
        }
        let consumer = consumer.map(|(ways, goes)| {
            for (part, (during, then)) in parts.iter_mut().zip(goes) {
                (part.goes, part.then) = (during, then);
            }
            ways
        });
        let places = History { way, consumer, cross, syncs, split_renames, torn_syncs, leases, ..History::default() };
        History { quarantines, validates, duplicates, compacts, odd, watched, parts, ..places }
    })
}
