//! A consumer that follows the manifests while the ingestor is at work, is killed, or loses its power.
//!
//! It runs on another host: its follower reads the machine's manifests, and has its positions on a disk of its own. It is
//! killed as well, and stopped at operations on its position.
//!
//! What the index of lines names is durable: no power cut takes it from the manifests. What a follower finds without the index
//! may be on its way to the disk; a power cut may take it from the manifests until the next start, and then it is there again,
//! byte for byte, with its number.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use csv_ingestor::follow::batch::{Batch, Most};
use csv_ingestor::follow::deliver::{Outcome, Places, Rules, Sink, run};
use csv_ingestor::follow::dir::Dir;
use csv_ingestor::follow::position::{Positions, Role};
use csv_ingestor::follow::wake::Wake;
use csv_ingestor::follow::{Consumer, Cursor, Error, Stream};
use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::sim::{Fault, SimFs, Survival, Upstream};
use csv_ingestor::limits::FOLLOW_GAP_PATIENCE;
use csv_ingestor::pipeline::manifest::number_of;
use csv_ingestor::pipeline::manifest::numbers::Finder;

use super::reins::{Death, Reins};
use super::scenario::MANIFESTS;
use super::view::files;
use crate::common::consumed::{Consumed, Lines};
use crate::common::promises::{Verdict, ensure};

const POSITIONS: &str = "/positions";
/// The index of lines, which anybody may remove at any time.
const INDEX: &str = "/manifests/.csv-ingestor/lines";
/// More than the follower waits from one look for lines that the index does not have to the next.
const LOOK: Duration = Duration::from_secs(3);
/// Looks of a new follower until everything that is there must have come.
const LOOKS: u32 = 2;
/// Lives of a follower at the end until everything must have come, though batches are refused.
const LIVES: u32 = 200;
/// What is said of lines that are missing between others, and that no index names.
const TAKEN: &str = "they are in no manifest";
/// Bytes of a batch.
const BATCH_BYTES: usize = 1 << 20;

/// How the consumer works.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// Lines of a batch, at most.
    pub lines: u8,
    /// It has no index: it is removed each time before the follower goes on.
    pub without_index: bool,
    /// One in so many batches is refused, from 2 on; fewer: none is.
    pub refuses: u8,
}

/// What happens to the follower at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// It carries out so many reads, fewer if it finds nothing more.
    Reads(u8),
    /// It reads and delivers everything that it finds, after some time.
    Everything,
    /// It is killed.
    Killed,
    /// The same as `Everything`, but its host stops at this operation on its position; with a seed, its power is cut.
    Stopped { at: u8, cut: Option<u64> },
}

/// What the two threads share.
struct Shared {
    ways: Ways,
    /// The machine, for reading beside the ingestor; its operations wait for nobody.
    machine: SimFs,
    /// The follower's host.
    host: SimFs,
    reins: Reins,
    consumed: Mutex<Consumed>,
    wrong: Mutex<Option<String>>,
    batches: Mutex<u64>,
    /// When the present follower has begun.
    begun: Mutex<Duration>,
}

/// When the follower goes on, while the ingestor is at work.
type Schedule = Mutex<VecDeque<(u64, Go)>>;

pub struct Follower {
    shared: Arc<Shared>,
    schedule: Arc<Schedule>,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn consumer() -> Consumer {
    "mailer".parse().unwrap()
}

/// All lines of journals that are in the manifests.
fn lines(upstream: &mut Upstream<'_>) -> Lines {
    let mut found = Lines::new();
    for (path, content) in files(upstream, Path::new(MANIFESTS)) {
        if path.to_string_lossy().contains("/.csv-ingestor/") {
            continue;
        }
        for text in content.split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = text.strip_suffix(b"\n") else { continue };
            let is_json = serde_json::from_slice::<serde_json::Value>(text).is_ok();
            if let Some((journal, number)) = number_of(text).filter(|_| is_json) {
                found.insert((Stream::of_journal(journal), number), text.to_vec());
            }
        }
    }
    found
}

/// The follower has nothing to do until it is let go on.
struct Rests(Arc<Shared>);

impl Wake for Rests {
    fn watch(&mut self, _: &Path) {}

    fn wait(&mut self, _: Duration) {
        // It looked for more after its last batch was acknowledged.
        lock(&self.0.consumed).is_acknowledged();
        self.0.reins.rest();
    }
}

/// The consumer, as the follower sees it.
struct Taster {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
}

impl Taster {
    /// Lines that the index names are on the disk.
    fn are_durable(&self, batch: &Batch) -> Verdict {
        let machine = &self.shared.machine;
        let floor = machine.fork();
        floor.clear_faults();
        floor.crash_to(Survival::Nothing);
        let durable = lines(&mut floor.upstream());
        let mut named: BTreeMap<Stream, u64> = BTreeMap::new();
        for line in batch.lines() {
            let named = named.entry(line.stream).or_insert_with(|| {
                let mut index = Finder::open(machine, Path::new(MANIFESTS), &line.stream.id);
                index.behind(0).ok().flatten().map_or(0, |(last, _)| last)
            });
            let on_disk = durable.get(&(line.stream, line.number));
            ensure!(
                line.number > *named || on_disk.is_some_and(|text| text == line.text),
                "line {} is in the index, and not on the disk: {on_disk:?}",
                line.number
            );
        }
        Ok(())
    }
}

impl Sink for Taster {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn deliver(&mut self, batch: &Batch, _: u32) -> Outcome {
        let shared = &self.shared;
        let mut consumed = lock(&shared.consumed);
        // The batch before this one is acknowledged, or this one would not come.
        consumed.is_acknowledged();
        let verdict = consumed.take(batch.lines()).and_then(|()| self.are_durable(batch));
        let mut batches = lock(&shared.batches);
        *batches += 1;
        let refuses = shared.ways.refuses > 1 && batches.is_multiple_of(u64::from(shared.ways.refuses));
        if let Err(wrong) = verdict {
            *lock(&shared.wrong) = Some(wrong);
        } else if !refuses {
            consumed.pending = Some(batch.cursor().clone());
            return Outcome::Taken;
        }
        self.stop.store(true, Ordering::Relaxed);
        Outcome::failed("not now")
    }
}

/// One life of the follower. It ends with an error, or when the consumer refuses a batch.
fn live(shared: &Arc<Shared>) -> Result<(), Error> {
    let positions = Positions::create(&shared.host, Path::new("/"), Path::new(POSITIONS))?;
    let _follows = positions.hold(&consumer(), Role::Follow)?;
    let held = positions.hold(&consumer(), Role::Store)?;
    let cursor = positions.read(&consumer())?.map(|position| position.cursor).unwrap_or_default();
    if let Err(wrong) = lock(&shared.consumed).begins(&cursor) {
        *lock(&shared.wrong) = Some(wrong);
    }
    *lock(&shared.begun) = shared.machine.steady();
    let waits = shared.clone();
    let machine = shared.machine.gated(Arc::new(move || waits.reins.pass()));
    let mut source = Dir::open(&machine, Path::new(MANIFESTS), cursor, Box::new(Rests(shared.clone())))?;
    let stop = Arc::<AtomicBool>::default();
    let mut taster = Taster { shared: shared.clone(), stop: stop.clone() };
    let most = Most { lines: usize::from(shared.ways.lines).max(1), bytes: BATCH_BYTES };
    let rules = Rules { consumer: consumer(), most, max_attempts: None, once: false, stop };
    let places = Places { fs: &shared.host, positions: &positions, held: &held, dead_letters: None };
    run(&mut source, &mut taster, &rules, &places)
}

/// Lives one after the other, until the history is over.
fn lives(shared: &Arc<Shared>) {
    let is_over = |ended: Result<(), Box<dyn std::any::Any + Send>>| ended.is_err();
    while lock(&shared.wrong).is_none() {
        match catch_unwind(AssertUnwindSafe(|| live(shared))) {
            // Nothing is removed, so nothing is gone. But where no index says what was durable, lines that a power cut has taken
            // count as gone if the ingestor is not started for long.
            Ok(Err(Error::Gone(gone))) => {
                let is_long = shared.machine.steady().saturating_sub(*lock(&shared.begun)) >= FOLLOW_GAP_PATIENCE;
                if gone.why != TAKEN || !is_long {
                    *lock(&shared.wrong) = Some(Error::Gone(gone).to_string());
                }
            }
            // The machine, or the follower's host, has lost its power, or there is nothing yet.
            Ok(_) => {}
            Err(payload) if payload.is::<Death>() => {}
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned();
                *lock(&shared.wrong) = Some(text.unwrap_or_else(|| "the follower has panicked".to_owned()));
            }
        }
        if is_over(catch_unwind(AssertUnwindSafe(|| shared.reins.rest()))) {
            // A follower that is killed while it rests is the next one.
            if shared.reins.is_over() {
                break;
            }
        }
    }
    shared.reins.end();
}

impl Follower {
    /// A consumer of this machine's manifests, and the machine for an ingestor between whose operations it goes on.
    pub fn of(machine: &SimFs, ways: Ways) -> (Follower, SimFs) {
        let host = SimFs::new(3);
        host.upstream().mkdir_all(POSITIONS).unwrap();
        host.crash_to(Survival::Everything);
        let shared = Arc::new(Shared {
            ways,
            machine: machine.beside(),
            host,
            reins: Reins::default(),
            consumed: Mutex::new(Consumed::after(Cursor::default(), None)),
            wrong: Mutex::default(),
            batches: Mutex::default(),
            begun: Mutex::default(),
        });
        let (of_thread, schedule) = (shared.clone(), Arc::<Schedule>::default());
        let thread = std::thread::Builder::new().name("follower".to_owned());
        let thread = thread.spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| of_thread.reins.rest())).is_ok() || !of_thread.reins.is_over() {
                lives(&of_thread);
            }
        });
        let follower = Follower { shared: shared.clone(), schedule: schedule.clone(), thread: Some(thread.unwrap()) };
        let counted = machine.clone();
        let gated = machine.gated(Arc::new(move || {
            let number = counted.operations() + 1;
            let mut schedule = lock(&schedule);
            while let Some((_, go)) = schedule.front().copied().filter(|(at, _)| *at <= number) {
                schedule.pop_front();
                happen(&shared, go);
            }
        }));
        (follower, gated)
    }

    /// While the ingestor runs, the follower goes on at these operations.
    pub fn plan(&self, goes: impl Iterator<Item = (u64, Go)>) {
        *lock(&self.schedule) = goes.collect();
    }

    /// It goes on now.
    pub fn go(&self, go: Go) {
        happen(&self.shared, go);
    }

    /// What was wrong so far.
    pub fn verdict(&self) -> Verdict {
        lock(&self.shared.wrong).clone().map_or(Ok(()), Err)
    }

    /// The ingestor has nothing to do any more: everything must come, and a follower that begins anew gets the same, from
    /// some lines on, with and without the index.
    pub fn end(&self) -> Verdict {
        self.plan(std::iter::empty());
        let machine = &self.shared.machine;
        let all = lines(&mut machine.upstream());
        let is_behind = || {
            let consumed = lock(&self.shared.consumed);
            all.keys().any(|(stream, number)| consumed.acknowledged.passed(stream) < *number)
        };
        for _ in 0..LIVES {
            self.go(Go::Everything);
            if !is_behind() {
                break;
            }
        }
        self.verdict()?;
        lock(&self.shared.consumed).at_the_end(&all)?;
        if all.is_empty() {
            return Ok(());
        }
        let mut cursors = vec![Cursor::default()];
        cursors.extend(all.keys().step_by(all.len() / 2 + 1).map(|(stream, number)| {
            let mut cursor = Cursor::default();
            cursor.pass(*stream, *number);
            cursor
        }));
        for has_index in [true, false] {
            if !has_index {
                remove_index(machine);
            }
            let mut source = open(machine, Cursor::default())?;
            let now = source.newest().map_err(|error| error.to_string())?;
            let last = all.keys().next_back();
            ensure!(last.is_none_or(|(stream, number)| now.passed(stream) == *number), "now is {now}, not {last:?}");
            // With the index, the follower has just done that.
            for cursor in cursors.iter().skip(usize::from(has_index)) {
                follows_all(machine, cursor, &all)?;
            }
        }
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.reins.end();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn open(machine: &SimFs, cursor: Cursor) -> Result<Dir<SimFs>, String> {
    let opened = Dir::open(machine, Path::new(MANIFESTS), cursor, Box::new(Never));
    opened.map_err(|error| error.to_string())
}

/// Nothing wakes it.
struct Never;

impl Wake for Never {
    fn watch(&mut self, _: &Path) {}

    fn wait(&mut self, _: Duration) {}
}

/// All lines behind the cursor come, in their order.
fn follows_all(machine: &SimFs, cursor: &Cursor, all: &Lines) -> Verdict {
    use csv_ingestor::follow::Source as _;
    let mut consumed = Consumed::after(cursor.clone(), None);
    let mut source = open(machine, cursor.clone())?;
    for _ in 0..LOOKS {
        loop {
            let mut found: Vec<(Stream, u64, Vec<u8>)> = Vec::new();
            let read = source.read(2, &mut |line| {
                found.push((line.stream, line.number, line.text.to_vec()));
                Ok(())
            });
            read.map_err(|error| format!("from {cursor}: {error}"))?;
            if found.is_empty() {
                break;
            }
            for (stream, number, text) in found {
                consumed.take_one(stream, number, &text)?;
            }
        }
        machine.advance(LOOK);
    }
    consumed.pending = Some(source.cursor().clone());
    consumed.is_acknowledged();
    consumed.at_the_end(all).map_err(|wrong| format!("from {cursor}: {wrong}"))
}

fn remove_index(machine: &SimFs) {
    let mut upstream = machine.upstream();
    let all = files(&mut upstream, Path::new(INDEX));
    all.into_keys().for_each(|path| drop(upstream.remove(path)));
}

/// What happens to the follower now.
fn happen(shared: &Arc<Shared>, go: Go) {
    if lock(&shared.wrong).is_some() {
        return;
    }
    if shared.ways.without_index {
        remove_index(&shared.machine);
    }
    match go {
        Go::Reads(count) => shared.reins.go(u64::from(count)),
        Go::Everything => {
            shared.machine.advance(LOOK);
            shared.reins.go(u64::MAX);
        }
        Go::Killed => {
            shared.reins.kill();
            shared.host.kill();
        }
        Go::Stopped { at, cut } => {
            shared.host.inject(Fault::crash().at(shared.host.operations() + 1 + u64::from(at)));
            shared.machine.advance(LOOK);
            shared.reins.go(u64::MAX);
            shared.host.clear_faults();
            if shared.host.is_dead() {
                match cut {
                    Some(seed) => shared.host.crash(seed),
                    None => shared.host.kill(),
                }
            }
        }
    }
}
