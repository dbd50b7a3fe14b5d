//! Random histories of the whole ingestor: upstreams that act between any two operations, crashes, faults, restarts.
//!
//! A failure is shrunk to the smallest history that still fails. `scripts/crash_simulation` runs them for as long as you
//! like, from a seed that it prints.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use csv_ingestor::fs::sim::{Fault, Odd, Op};
use csv_ingestor::journal::record::{DuplicateAction, Validation};
use csv_ingestor::pipeline::settle::order::Order;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::act::{self, Act, MALFORMED, PLAIN_NAMES};
use super::layouts::Layouts;
use super::play::Play;
use super::scenario::{Compacts, Failing, Scenario, Seldom};

/// How one run of the ingestor ends, and at which moment.
#[derive(Clone, Debug)]
enum End {
    AtRest,
    Killed { at: u16, happened: bool },
    Cut { at: u16, seed: u64 },
    Fails { at: u16, errno: u8, for_ever: bool, then_cut: Option<u64> },
    Short { at: u16 },
}

/// One run, and what other processes do meanwhile.
#[derive(Clone, Debug)]
struct Part {
    acts: Vec<(u16, Act)>,
    end: End,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    cross: bool,
    sidecars: bool,
    syncs: bool,
    split_renames: bool,
    torn_syncs: bool,
    leases: bool,
    quarantines: bool,
    /// 0: files are validated, 1: and malformed ones are refused; more: files are not validated.
    validates: u8,
    duplicates: u8,
    compacts: u8,
    /// 0: links replace renames, 1: link counts are stale, 2: inode numbers change; more: nothing is odd.
    odd: u8,
    /// The layout has two levels, and changes at each start.
    changes: bool,
    /// 0: by name, 1: the oldest first; more: no order is kept.
    order: u8,
    by_stem: bool,
    parts: Vec<Part>,
}

const ERRNOS: [i32; 3] = [libc::EIO, libc::ENOSPC, libc::EINTR];
/// All operations that need the disk; first those that make content durable.
const FALLIBLE: [Op; 19] = [
    Op::SyncFs,
    Op::SyncData,
    Op::SyncAll,
    Op::OpenDir,
    Op::StatDir,
    Op::CreateDir,
    Op::List,
    Op::Stat,
    Op::Rename,
    Op::Unlink,
    Op::SyncDir,
    Op::FreeBytes,
    Op::Open,
    Op::StatFile,
    Op::ReadAt,
    Op::WriteAt,
    Op::SetLen,
    Op::SetMeta,
    Op::Lease,
];
const SYNCS: usize = 3;
/// Calls that report one link too many, where link counts are stale.
const STALE_LINKS: u64 = 3;
/// Moments of a run are drawn in thousandths of an undisturbed run.
const WHOLE: u16 = 1000;

fn act() -> impl Strategy<Value = Act> {
    let (name, body) = (0..PLAIN_NAMES, prop_oneof![9 => 0..12_u8, 1 => MALFORMED..MALFORMED + 3]);
    let other = body.clone();
    let pair = move || (0..PLAIN_NAMES, other.clone());
    prop_oneof![
        8 => pair().prop_map(|(name, body)| Act::Write(name, body)),
        3 => pair().prop_map(|(name, body)| Act::Append(name, body)),
        6 => pair().prop_map(|(name, body)| Act::Replace(name, body)),
        3 => (0..PLAIN_NAMES, 0..PLAIN_NAMES).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => (0..PLAIN_NAMES, 0..PLAIN_NAMES).prop_map(|(from, to)| Act::Link(from, to)),
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
    let acts = prop::collection::vec((0..WHOLE, act()), 0..6);
    (acts, end()).prop_map(|(mut acts, end)| {
        acts.sort_by_key(|(at, _)| *at);
        Part { acts, end }
    })
}

fn history() -> impl Strategy<Value = History> {
    let often = prop::bool::weighted(0.8);
    let seldom = prop::bool::weighted(0.2);
    let flags = (any::<bool>(), seldom, often, any::<bool>(), seldom, often, any::<bool>(), 0..6_u8);
    let choices = (0..3_u8, 0..4_u8, 0..12_u8, seldom, 0..4_u8, any::<bool>());
    (flags, choices, prop::collection::vec(part(), 1..5)).prop_map(|(flags, choices, parts)| {
        let (duplicates, compacts, odd, changes, order, by_stem) = choices;
        let (cross, sidecars, syncs, split_renames, torn_syncs, leases, quarantines, validates) = flags;
        let places = History { cross, sidecars, syncs, split_renames, torn_syncs, leases, ..History::default() };
        History { quarantines, validates, duplicates, compacts, odd, changes, order, by_stem, parts, ..places }
    })
}

impl History {
    fn scenario(&self) -> Scenario {
        Scenario {
            cross: self.cross,
            sidecars: self.sidecars,
            seldom: Seldom {
                by_stem: self.by_stem,
                order: [Some(Order::Name), Some(Order::Oldest), None, None][usize::from(self.order) % 4],
                layouts: if self.changes { Layouts::Changing } else { Layouts::Days },
                ..Seldom::default()
            },
            syncs: self.syncs,
            failing: Failing { split_renames: self.split_renames, torn_syncs: self.torn_syncs, aborts: true },
            // `aborts`, since otherwise the next start would have to find out by itself which names a failed sync has lost.
            leases: self.leases,
            quarantines: self.quarantines,
            validate: (self.validates < 2)
                .then_some(Validation { refuse: self.quarantines && self.validates == 1, ..Validation::default() }),
            duplicates: [DuplicateAction::Keep, DuplicateAction::Remove, DuplicateAction::Move]
                [usize::from(self.duplicates) % 3],
            compacts: match self.compacts {
                0 => Compacts::Between,
                1 => Compacts::Meanwhile { seed: self.parts.len() as u64 },
                _ => Compacts::Never,
            },
            odd: Odd {
                links: self.odd == 0,
                stale_links: if self.odd == 1 { STALE_LINKS } else { 0 },
                renumbers: self.odd == 2,
                ..Odd::default()
            },
            ..Scenario::plain("a random history")
        }
    }

    /// Plays the history and checks its end. Returns the number of states in which the machine was left.
    pub fn check(&self) -> u64 {
        let scenario = self.scenario();
        let mut play = Play::new(&scenario);
        for part in &self.parts {
            part.play(&mut play);
        }
        if play.model().writer.is_some() {
            act::perform(&Act::Close(0), &mut play.fs.upstream(), &mut play.model.lock().unwrap());
        }
        play.end();
        self.parts.len() as u64
    }
}

impl Part {
    fn play(&self, play: &mut Play<'_>) {
        let (start, mut calm) = (play.fs.operations() + 1, play.fork());
        let _ = calm.run();
        let operations = calm.fs.operations() - start + 1;
        let moment = move |at: u16| start + operations * u64::from(at) / u64::from(WHOLE);
        let (model, mut acts) = (play.model.clone(), self.acts.clone().into_iter().peekable());
        play.fs.set_hook(Box::new(move |call, upstream| {
            while let Some((_, act)) = acts.next_if(|(at, _)| moment(*at) <= call.number) {
                act::perform(&act, upstream, &mut model.lock().unwrap());
            }
        }));
        match self.end {
            End::AtRest => {
                let ended = play.run();
                play.fs.clear_hook();
                assert!(ended.is_ok(), "{}: {:?}", play.told(), ended.err());
                play.kill();
            }
            End::Killed { at, happened } => {
                play.run_until(moment(at), happened);
                play.fs.clear_hook();
                play.kill();
            }
            End::Cut { at, seed } => {
                play.run_until(moment(at), false);
                play.fs.clear_hook();
                play.cut_power(seed);
            }
            End::Short { at } => {
                play.fs.inject(Fault::short().at(moment(at)));
                let _ = play.run();
                play.fs.clear_hook();
                play.fs.clear_faults();
                play.kill();
            }
            End::Fails { at, errno, for_ever, then_cut } => {
                self.fail(play, moment(at), ERRNOS[usize::from(errno) % ERRNOS.len()], for_ever);
                match then_cut {
                    Some(seed) => play.cut_power(seed),
                    // At least a new mount is needed, and that loses unsynced data just as a power cut does.
                    None if play.fs.upstream().is_aborted() => play.cut_power(u64::from(at)),
                    None => play.kill(),
                }
            }
        }
    }

    fn fail(&self, play: &mut Play<'_>, at: u64, errno: i32, for_ever: bool) {
        // Only the run itself determines the kind of the operation, so all kinds fail from there on. Except `DropCache`,
        // which needs no disk; and if it failed, nobody could know what a failed sync has left in the cache. Nor do syncs
        // fail for ever: if the file cannot even be opened after that, the cache shows data that exists nowhere else.
        let kinds = &FALLIBLE[if for_ever { SYNCS } else { 0 }..];
        let fault = Fault::errno(errno).only(kinds);
        let is_unsynced = !play.model().rules.syncs || play.model().writer.is_some();
        play.model().lossy |= is_unsynced;
        // A file that cannot be removed from staging stays there.
        play.model().withdrew |= for_ever;
        play.fs.inject(if for_ever { fault.from(at) } else { fault.at(at) });
        play.story.push(format!("errno {errno} at operation {at}, for ever: {for_ever}"));
        let _ = play.run();
        play.fs.clear_hook();
        play.fs.clear_faults();
        play.note_failed_sync();
    }
}

fn runner(seed: u64, cases: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Checks this many histories from this seed; a failure names the smallest one that fails.
fn check_seed(seed: u64, cases: u32) -> u64 {
    let states = AtomicU64::new(0);
    let result = runner(seed, cases).run(&history(), |history| {
        states.fetch_add(history.check(), Ordering::Relaxed);
        Ok(())
    });
    match result {
        Ok(()) => states.into_inner(),
        Err(TestError::Fail(why, history)) => panic!("seed {seed}: {why}\n{history:#?}"),
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

/// Always the same histories, so that everyone can reproduce a failure.
#[test]
fn random_histories() {
    let began = Instant::now();
    let states: u64 = (0..8).map(|seed| check_seed(seed, 250)).sum();
    println!("random histories: {states} states in {:.1} s", began.elapsed().as_secs_f64());
    assert!(states >= 4_500, "only {states} states");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{variable}: {value}")))
}

/// Runs for `CRASH_SECONDS`, from the seed `CRASH_SEED` on, on all processors.
#[test]
#[ignore = "runs as long as CRASH_SECONDS says: scripts/crash_simulation"]
fn random_histories_for_long() {
    const CASES: u32 = 200;
    let (seconds, first) = (number("CRASH_SECONDS", 60), number("CRASH_SEED", 1_000));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (next, states, failed) = (AtomicU64::new(first), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while Instant::now() < deadline && !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let checked = std::panic::catch_unwind(|| check_seed(seed, CASES));
                    states.fetch_add(*checked.as_ref().unwrap_or(&0), Ordering::Relaxed);
                    failed.fetch_or(checked.is_err(), Ordering::Relaxed);
                }
            });
        }
    });
    let seeds = next.into_inner() - first;
    println!("{seeds} seeds from {first} on, {CASES} histories each, {} states, {seconds} s", states.into_inner());
    assert!(!failed.into_inner(), "a history failed: see above");
}
