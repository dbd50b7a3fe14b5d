//! A consumer of a lake that is filled meanwhile. Its follower is killed at every request and at every operation on its
//! position, requests fail or lose their answers, the power of its own host is cut: in the end it has each line.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use csv_ingestor::follow::batch::{Batch, Most};
use csv_ingestor::follow::deliver::{Outcome, Places, Rules, Sink, run};
use csv_ingestor::follow::lake::LakeLines;
use csv_ingestor::follow::position::{Positions, Role};
use csv_ingestor::follow::{Consumer, Cursor, Error, Stream};
use csv_ingestor::fs::sim::{Fault, SimFs, Survival};
use csv_ingestor::lake;
use csv_ingestor::lake::publish::Stores;
use csv_ingestor::store::sim::{Faults, SimStore};
use csv_ingestor::store::{Kind, Store};
use serde_json::Value;

use super::door::{Answer, Door};
use super::filled::{Filled, GARBAGE, Step};
use super::model::{MANIFESTS, WAREHOUSE};
use super::turns::{Death, Dice};
use crate::common::consumed::Consumed;
use crate::crash::sweeps::is_thorough;
use crate::follow::lake::Still;

/// Where the positions are, on the consumer's own host.
const POSITIONS: &str = "/positions";
/// Followers that are started, at most, until everything that is there was delivered.
const STARTS_MAX: u32 = 200;

/// What befalls the follower.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    /// It is killed at this request.
    Killed(u64),
    /// From this request on, so many fail.
    Fails {
        from: u64,
        count: u64,
        answer: Failure,
    },
    /// Its host stops at this operation on the position: the process is killed, or with a seed, the power is cut.
    Stopped {
        at: u64,
        happened: bool,
        cut: Option<u64>,
    },
    /// The consumer refuses this batch, and the follower is told to stop.
    Refuses(u64),
    /// The store has a bad day.
    BadDay(u64),
}

/// How a request fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// 503.
    SlowDown,
    /// It arrives, and the answer is lost.
    Lost,
    /// Nobody knows.
    Away,
}

/// How a follower works.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// It runs after each so many steps, and at the end.
    every: usize,
    batch: usize,
    /// It ends at the first failure of the store, and is started again.
    once: bool,
}

/// One consumer, and the lake that is filled.
struct Rig<'a> {
    filled: &'a Filled,
    habits: Habits,
    trouble: Trouble,
    store: SimStore,
    /// The consumer's host.
    host: SimFs,
    /// Keys that were ever created, and those of objects that are there.
    created: BTreeSet<String>,
    present: BTreeSet<String>,
    consumed: Consumed,
    requests: Arc<AtomicU64>,
    batches: Cell<u64>,
}

/// The consumer.
struct Taster<'a> {
    filled: &'a Filled,
    created: &'a BTreeSet<String>,
    consumed: &'a mut Consumed,
    batches: &'a Cell<u64>,
    refuses: Option<u64>,
    stop: Arc<AtomicBool>,
    told: String,
}

impl Sink for Taster<'_> {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn deliver(&mut self, batch: &Batch, _: u32) -> Outcome {
        // The batch before this one is acknowledged, or this one would not come.
        self.consumed.is_acknowledged();
        self.batches.set(self.batches.get() + 1);
        for line in batch.lines() {
            let is_there = self.filled.is_there(line.stream, line.number, self.created);
            assert!(is_there, "{}: line {} of {} is not there yet", self.told, line.number, line.stream);
        }
        self.consumed.take(batch.lines()).unwrap_or_else(|wrong| panic!("{}: {wrong}", self.told));
        if self.refuses == Some(self.batches.get()) {
            self.stop.store(true, Ordering::Relaxed);
            return Outcome::failed("not now");
        }
        self.consumed.pending = Some(batch.cursor().clone());
        Outcome::Taken
    }
}

fn consumer() -> Consumer {
    "mailer".parse().unwrap()
}

impl<'a> Rig<'a> {
    fn new(filled: &'a Filled, habits: Habits, trouble: Trouble) -> Rig<'a> {
        let host = SimFs::new(1);
        host.upstream().mkdir_all(POSITIONS).unwrap();
        host.crash_to(Survival::Everything);
        if let Trouble::Stopped { at, happened, .. } = trouble {
            let fault = Fault::crash().at(at);
            host.inject(if happened { fault.happened() } else { fault });
        }
        let seed = if let Trouble::BadDay(seed) = trouble { seed } else { 0 };
        Rig {
            filled,
            habits,
            trouble,
            store: SimStore::new(seed, Faults::NONE),
            host,
            created: BTreeSet::new(),
            present: BTreeSet::new(),
            consumed: Consumed::after(Cursor::default(), Some(filled.lines.clone())),
            requests: Arc::default(),
            batches: Cell::new(0),
        }
    }

    fn told(&self) -> String {
        format!("{} shards, {:?}, {:?}", self.filled.lake.shards, self.habits, self.trouble)
    }

    /// The lake's stores, at whose door the trouble waits.
    fn stores(&self) -> Stores {
        let open = |prefix: &str| -> Arc<dyn Store> {
            let (requests, trouble) = (self.requests.clone(), self.trouble);
            let rule = move |_, _: &str| {
                let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
                match trouble {
                    Trouble::Killed(at) if at == number => resume_unwind(Box::new(Death)),
                    Trouble::Fails { from, count, answer } if (from..from + count).contains(&number) => match answer {
                        Failure::SlowDown => Answer::Never(Kind::SlowDown),
                        Failure::Lost => Answer::Lost(Kind::MayHaveHappened),
                        Failure::Away => Answer::Never(Kind::MayHaveHappened),
                    },
                    _ => Answer::Right,
                }
            };
            Arc::new(Door::new(self.store.below(prefix), rule))
        };
        Stores::new(open(WAREHOUSE), open(MANIFESTS))
    }

    /// One life of the follower, until there is nothing more. True if it was told to stop before.
    fn live(&mut self) -> Result<bool, Error> {
        let positions = Positions::create(&self.host, Path::new("/"), Path::new(POSITIONS))?;
        let _follows = positions.hold(&consumer(), Role::Follow)?;
        let held = positions.hold(&consumer(), Role::Store)?;
        let cursor = positions.read(&consumer())?.map(|position| position.cursor).unwrap_or_default();
        let told = self.told();
        self.consumed.begins(&cursor).unwrap_or_else(|wrong| panic!("{told}: {wrong}"));
        let stop = Arc::<AtomicBool>::default();
        let mut source = LakeLines::new(self.stores(), self.filled.lake, Box::new(Still), cursor, self.habits.once);
        let rules = Rules {
            consumer: consumer(),
            most: Most { lines: self.habits.batch, bytes: 1 << 20 },
            max_attempts: None,
            once: true,
            stop: stop.clone(),
        };
        let refuses = if let Trouble::Refuses(batch) = self.trouble { Some(batch) } else { None };
        let places = Places { fs: &self.host, positions: &positions, held: &held, dead_letters: None };
        let (filled, created, batches) = (self.filled, &self.created, &self.batches);
        let mut taster =
            Taster { filled, created, consumed: &mut self.consumed, batches, refuses, stop: stop.clone(), told };
        run(&mut source, &mut taster, &rules, &places)?;
        self.consumed.is_acknowledged();
        Ok(stop.load(Ordering::Relaxed))
    }

    /// A follower is started again and again, until it has come to the end.
    fn catch_up(&mut self) {
        self.store.set_faults(if matches!(self.trouble, Trouble::BadDay(_)) { Faults::MANY } else { Faults::NONE });
        for _ in 0..STARTS_MAX {
            let ended = catch_unwind(AssertUnwindSafe(|| self.live()));
            if let Ok(Err(Error::Lake(_))) = &ended {
                // It looked for more after its last batch was acknowledged.
                self.consumed.is_acknowledged();
            }
            match ended {
                Ok(Ok(was_stopped)) => {
                    // One that waits for a store takes a failure for an end.
                    if !was_stopped && (self.habits.once || self.is_behind().is_none()) {
                        self.check_is_up_to_date();
                        return self.store.set_faults(Faults::NONE);
                    }
                }
                Ok(Err(_)) if self.host.is_dead() => self.stop_host(),
                Ok(Err(Error::Lake(lake::Error::Store(error)))) if error.kind.may_pass() => {}
                Ok(Err(Error::Lake(lake::Error::Malformed { .. }))) if self.is_stopped() => {
                    self.check_is_up_to_date();
                    return self.store.set_faults(Faults::NONE);
                }
                Ok(Err(error)) => panic!("{}: {error}", self.told()),
                Err(payload) if payload.is::<Death>() => self.host.kill(),
                Err(payload) => resume_unwind(payload),
            }
        }
        panic!("{}: it does not come to an end", self.told());
    }

    fn stop_host(&mut self) {
        if let Trouble::Stopped { cut: Some(seed), .. } = self.trouble {
            self.host.crash(seed);
        } else {
            self.host.kill();
        }
        self.host.clear_faults();
    }

    /// True while a shard has an entry that nobody can read.
    fn is_stopped(&self) -> bool {
        let mut garbage = self.filled.steps.iter().filter_map(|step| match step {
            Step::Created { key, bytes } if bytes == GARBAGE => Some(key),
            _ => None,
        });
        garbage.any(|key| self.created.contains(key) && !self.created.contains(&key.replace("/log/", "/skip/")))
    }

    fn step(&mut self, step: &Step) {
        step.happen(&self.store);
        match step {
            Step::Created { key, .. } => {
                self.created.insert(key.clone());
                self.present.insert(key.clone());
            }
            Step::Deleted { key } => drop(self.present.remove(key)),
        }
    }

    /// Fills the lake, and follows it. Returns the requests, operations and batches that this took.
    fn play(mut self) -> (u64, u64, u64) {
        let mut since = 0;
        for step in &self.filled.steps {
            self.step(step);
            let matters = ["/log/", "/skip/"].iter().any(|part| step.key().contains(part));
            since += usize::from(matters || step.key().starts_with(MANIFESTS));
            if since == self.habits.every {
                since = 0;
                self.catch_up();
            }
        }
        self.catch_up();
        let told = self.told();
        if !self.habits.once {
            self.trouble = Trouble::Nothing;
            self.catch_up();
        }
        self.consumed.at_the_end(&self.filled.lines).unwrap_or_else(|wrong| panic!("{told}: {wrong}"));
        (self.requests.load(Ordering::Relaxed), self.host.operations(), self.batches.get())
    }

    /// A line that the consumer can have, and has not acknowledged.
    fn is_behind(&self) -> Option<(Stream, u64)> {
        let mut deliverable = self.filled.deliverable(&self.present).into_iter();
        deliverable.find(|(stream, last)| self.consumed.acknowledged.passed(stream) < *last)
    }

    /// What a consumer can have, it has.
    fn check_is_up_to_date(&self) {
        let behind = self.is_behind();
        assert_eq!(behind, None, "{}: acknowledged: {}", self.told(), self.consumed.acknowledged);
    }
}

const EACH: Habits = Habits { every: 1, batch: 3, once: true };

/// Each step of the lake, and some at once.
const ALL_HABITS: [Habits; 4] = [
    EACH,
    Habits { every: 9, batch: 2, once: false },
    Habits { every: 5, batch: 100, once: true },
    Habits { every: usize::MAX, batch: 1, once: true },
];

/// One in so many of the numbers up to `last`, unless nothing is left out. Chosen by a hash: what comes when often depends on
/// whether a number is even.
fn some_of(last: u64, one_in: u64) -> impl Iterator<Item = u64> {
    let one_in = if is_thorough() { 1 } else { one_in };
    (1..=last).filter(move |number| one_in == 1 || Dice(*number).below(one_in) == 0)
}

fn sweep(one_in: u64, troubles: impl Fn(u64, (u64, u64, u64)) -> Vec<Trouble>, last: impl Fn((u64, u64, u64)) -> u64) {
    for shards in [1, 4] {
        let filled = Filled::with_shards(shards);
        for habits in ALL_HABITS {
            let whole = Rig::new(&filled, habits, Trouble::Nothing).play();
            for at in some_of(last(whole), one_in) {
                for trouble in troubles(at, whole) {
                    Rig::new(&filled, habits, trouble).play();
                }
            }
        }
    }
}

#[test]
fn a_lake_is_followed_while_it_is_filled() {
    for shards in [1, 4] {
        let filled = Filled::with_shards(shards);
        for habits in ALL_HABITS {
            let (requests, operations, batches) = Rig::new(&filled, habits, Trouble::Nothing).play();
            println!("{shards} shards, {habits:?}: {requests} requests, {operations} operations, {batches} batches");
        }
    }
}

#[test]
fn a_follower_that_is_killed_at_any_request_gets_every_line() {
    sweep(60, |at, _| vec![Trouble::Killed(at)], |(requests, ..)| requests);
}

/// A store that is away for a while, or answers that are lost.
#[test]
fn a_follower_whose_requests_fail_gets_every_line() {
    let fails = |from, count, answer| Trouble::Fails { from, count, answer };
    let troubles = |at, _| {
        vec![fails(at, 1, Failure::SlowDown), fails(at, 1, Failure::Lost), fails(at, 2 + at % 4, Failure::Away)]
    };
    sweep(160, troubles, |(requests, ..)| requests);
}

/// The process is killed, or the power of its host is cut, at any operation on its position.
#[test]
fn a_follower_that_is_stopped_while_it_notes_its_position_gets_every_line() {
    let troubles = |at: u64, _| {
        let stopped = |happened, cut| Trouble::Stopped { at, happened, cut };
        vec![stopped(false, None), stopped(true, None), stopped(false, Some(at)), stopped(true, Some(at + 1))]
    };
    sweep(400, troubles, |(_, operations, _)| operations);
}

/// What it has refused is not acknowledged.
#[test]
fn a_batch_that_was_refused_comes_again() {
    sweep(30, |at, _| vec![Trouble::Refuses(at)], |(.., batches)| batches);
}

/// Reads fail, and listings are stale.
#[test]
fn a_follower_of_a_bad_store_gets_every_line() {
    sweep(1, |at, _| vec![Trouble::BadDay(at)], |_| if is_thorough() { 300 } else { 1 });
}

/// The lines behind each cursor, from whatever line it is, also within a group.
#[test]
fn a_cursor_that_is_given_back_leads_to_the_lines_behind_it() {
    for shards in [1, 4] {
        let filled = Filled::with_shards(shards);
        let store = filled.store();
        filled.steps.iter().for_each(|step| step.happen(&store));
        let follow = |cursor: Cursor| {
            let stores = Stores::new(Arc::new(store.below(WAREHOUSE)), Arc::new(store.below(MANIFESTS)));
            LakeLines::new(stores, filled.lake, Box::new(Still), cursor, true)
        };
        let rest = |cursor: Cursor| -> Vec<(Stream, u64, Vec<u8>, Cursor)> {
            let mut lines = follow(cursor);
            let mut batcher = csv_ingestor::follow::batch::Batcher::new(Most { lines: 100, bytes: 1 << 20 });
            let mut found = Vec::new();
            loop {
                let batch = batcher.next(&mut lines).unwrap();
                if batch.is_empty() {
                    return found;
                }
                let text = String::from_utf8(batch.spliced()).unwrap();
                for (line, text) in batch.lines().zip(text.lines()) {
                    let value: Value = serde_json::from_str(text).unwrap();
                    let cursor = value["cursor"].as_str().unwrap().parse().unwrap();
                    found.push((line.stream, line.number, line.text.to_vec(), cursor));
                }
            }
        };
        let all = rest(Cursor::default());
        assert_eq!(all.len(), filled.lines.len());
        for (stream, number, _, cursor) in &all {
            assert_eq!(cursor.passed(stream), *number);
            let found = rest(cursor.clone()).into_iter().map(|(stream, number, text, _)| ((stream, number), text));
            let mut expected = filled.lines.clone();
            expected.retain(|(stream, number), _| *number > cursor.passed(stream));
            assert_eq!(found.collect::<crate::common::consumed::Lines>(), expected, "behind {cursor}");
        }
    }
}

/// `--from now`, whenever it is said: lines that were there do not come, unless one before them was not; all others do.
#[test]
fn what_was_not_there_when_now_was_said_comes() {
    for shards in [1, 4] {
        let filled = Filled::with_shards(shards);
        let mut rig = Rig::new(&filled, EACH, Trouble::Nothing);
        let mut said: Vec<(Cursor, Vec<(Stream, u64)>)> = Vec::new();
        for step in &filled.steps {
            rig.step(step);
            let lines = LakeLines::new(rig.stores(), filled.lake, Box::new(Still), Cursor::default(), true);
            let now = match lines.newest() {
                Err(Error::Lake(lake::Error::Malformed { .. })) if rig.is_stopped() => continue,
                now => now.unwrap(),
            };
            for (stream, last) in filled.deliverable(&rig.present) {
                assert!(now.passed(&stream) >= last, "{shards} shards, at {}: {now}, and {last} was there", step.key());
            }
            let later = filled.lines.keys().filter(|(stream, number)| !filled.is_there(*stream, *number, &rig.created));
            said.push((now, later.copied().collect()));
        }
        let rig = Mutex::new(rig);
        for (now, later) in said {
            let mut rig = rig.lock().unwrap();
            rig.host = SimFs::new(1);
            let positions = Positions::create(&rig.host, Path::new("/"), Path::new(POSITIONS)).unwrap();
            let held = positions.hold(&consumer(), Role::Store).unwrap();
            positions.store(&held, &consumer(), &now).unwrap();
            drop(held);
            rig.consumed = Consumed::after(now.clone(), Some(filled.lines.clone()));
            rig.catch_up();
            rig.consumed.at_the_end(&filled.lines).unwrap();
            let missed = later.iter().find(|line| !rig.consumed.delivered.contains_key(line));
            assert_eq!(missed, None, "{shards} shards, from {now}: it was not there, and was passed over");
        }
    }
}
