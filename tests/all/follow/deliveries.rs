//! The loop that delivers batches, on a simulated disk: what is acknowledged when, and what comes again after a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csv_ingestor::follow::batch::{Batch, Most};
use csv_ingestor::follow::dead_letter::DeadLetters;
use csv_ingestor::follow::deliver::{Outcome, Places, Rules, Sink, run};
use csv_ingestor::follow::position::{Positions, Role};
use csv_ingestor::follow::{Consumer, Error, Stream};
use csv_ingestor::fs::sim::{Fault, SimFs, Survival};
use serde_json::Value;

use super::memory::MemorySource;

const STREAM: Stream = Stream { id: [7; 16], shard: None };
const LETTERS: &str = "/mf/dead.jsonl";
const LINES: u64 = 7;

/// Takes what it is given, except certain lines.
#[derive(Default)]
struct Receiver {
    /// How often each line was taken.
    taken: BTreeMap<u64, u32>,
    /// Batches with these lines are refused.
    refuses: Vec<u64>,
    /// Set when so many batches were tried.
    stops: Option<(u32, Arc<AtomicBool>)>,
    attempts: Vec<u32>,
}

impl Sink for Receiver {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn deliver(&mut self, batch: &Batch, attempt: u32) -> Outcome {
        self.attempts.push(attempt);
        if let Some((after, stop)) = &self.stops
            && self.attempts.len() as u32 >= *after
        {
            stop.store(true, Ordering::Relaxed);
        }
        if batch.lines().any(|line| self.refuses.contains(&line.number)) {
            return Outcome::failed("not that one");
        }
        batch.lines().for_each(|line| *self.taken.entry(line.number).or_default() += 1);
        Outcome::Taken
    }
}

fn consumer() -> Consumer {
    "mailer".parse().unwrap()
}

fn machine() -> SimFs {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all("/mf").unwrap();
    fs.crash_to(Survival::Everything);
    fs
}

fn rules(max_attempts: Option<u32>) -> Rules {
    Rules {
        consumer: consumer(),
        most: Most { lines: 2, bytes: 1 << 20 },
        max_attempts,
        once: true,
        stop: Arc::new(AtomicBool::new(false)),
    }
}

/// Begins at the stored position, as a new process does.
fn follow(fs: &SimFs, receiver: &mut Receiver, rules: &Rules) -> Result<(), Error> {
    let positions = Positions::create(fs, Path::new("/mf"), Path::new("/mf/consumers"))?;
    let held = positions.hold(&consumer(), Role::Store)?;
    let letters = DeadLetters::open(fs, Path::new(LETTERS))?;
    let cursor = positions.read(&consumer())?.map(|position| position.cursor).unwrap_or_default();
    let mut source = MemorySource::default();
    let first = cursor.passed(&STREAM) + 1;
    for number in first..=LINES {
        source.push(vec![(STREAM, number, format!("{{\"seq\":{number}}}").into_bytes())]);
    }
    source.set_cursor(cursor);
    let places = Places { fs, positions: &positions, held: &held, dead_letters: Some(&letters) };
    run(&mut source, receiver, rules, &places)
}

fn acknowledged(fs: &SimFs) -> u64 {
    let positions = Positions::open(fs, Path::new("/mf/consumers")).unwrap();
    let position = positions.and_then(|positions| positions.read(&consumer()).unwrap());
    position.map_or(0, |position| position.cursor.passed(&STREAM))
}

/// The numbers of the dead letters; a line that does not parse was torn.
fn letters(fs: &SimFs) -> Vec<u64> {
    let text = fs.upstream().read(LETTERS).unwrap_or_default();
    let lines = String::from_utf8_lossy(&text).into_owned();
    let whole = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.map(|line| line["line"]["seq"].as_u64().unwrap()).collect()
}

#[test]
fn every_line_is_taken_once_and_acknowledged() {
    let fs = machine();
    let mut receiver = Receiver::default();
    follow(&fs, &mut receiver, &rules(None)).unwrap();
    assert_eq!(receiver.taken, (1..=LINES).map(|number| (number, 1)).collect());
    assert_eq!((acknowledged(&fs), letters(&fs)), (LINES, vec![]));
}

/// Whatever operation a crash interrupts: each line that is acknowledged was taken or is a durable dead letter, and after the
/// next start every line was taken or is a dead letter.
#[test]
fn a_crash_at_any_operation_loses_no_line() {
    let begin = machine();
    let refuses = vec![3];
    let whole = begin.fork();
    let first = whole.operations();
    follow(&whole, &mut Receiver { refuses: refuses.clone(), ..Receiver::default() }, &rules(Some(1))).unwrap();
    let last = whole.operations();
    assert!(last - first > 40, "{}", last - first);
    assert_eq!(letters(&whole), [3, 4]);
    for at in first + 1..=last {
        for seed in 0..8 {
            let fs = begin.fork();
            let fault = Fault::crash().at(at);
            fs.inject(if seed % 2 == 0 { fault } else { fault.happened() });
            let mut receiver = Receiver { refuses: refuses.clone(), ..Receiver::default() };
            assert!(follow(&fs, &mut receiver, &rules(Some(1))).is_err());
            fs.crash(seed);
            let (durable, dead) = (acknowledged(&fs), letters(&fs));
            let is_kept = |number: u64, receiver: &Receiver, dead: &[u64]| {
                receiver.taken.contains_key(&number) || dead.contains(&number)
            };
            for number in 1..=durable {
                assert!(
                    is_kept(number, &receiver, &dead),
                    "{number} is acknowledged and lost: operation {at}, seed {seed}"
                );
            }
            follow(&fs, &mut receiver, &rules(Some(1))).unwrap();
            let dead = letters(&fs);
            for number in 1..=LINES {
                assert!(is_kept(number, &receiver, &dead), "{number} is lost: operation {at}, seed {seed}");
                assert!(receiver.taken.get(&number).is_none_or(|times| *times <= 2), "{number}: {:?}", receiver.taken);
            }
            assert_eq!(acknowledged(&fs), LINES);
        }
    }
}

/// A batch that is not taken is tried again, and nothing after it comes before it.
#[test]
fn a_batch_is_tried_until_it_is_taken() {
    let fs = machine();
    let mut receiver = Receiver { refuses: vec![3], ..Receiver::default() };
    let rules = rules(None);
    receiver.stops = Some((3, Arc::clone(&rules.stop)));
    follow(&fs, &mut receiver, &rules).unwrap();
    assert_eq!(receiver.attempts, [1, 1, 2]);
    assert_eq!((acknowledged(&fs), receiver.taken.len()), (2, 2), "what was not taken is acknowledged, or passed over");
}

#[test]
fn after_the_last_attempt_lines_are_dead_letters() {
    let fs = machine();
    fs.upstream().write(LETTERS, b"{\"torn").unwrap();
    let mut receiver = Receiver { refuses: vec![3], ..Receiver::default() };
    follow(&fs, &mut receiver, &rules(Some(2))).unwrap();
    assert_eq!(receiver.attempts, [1, 1, 2, 1, 1]);
    let text = String::from_utf8(fs.upstream().read(LETTERS).unwrap()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "{\"torn"), "what a crash has torn stays on a line of its own");
    let letter: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(
        (&letter["consumer"], &letter["attempts"], &letter["error"]),
        (&"mailer".into(), &2.into(), &"not that one".into())
    );
    assert!(letter["failed_at"].is_string());
    assert_eq!(letter["line"]["cursor"], format!("{STREAM}:3"));
    assert_eq!((letters(&fs), acknowledged(&fs)), (vec![3, 4], LINES));
}

/// A full disk, say: what is not durable as a dead letter is not acknowledged.
#[test]
fn a_batch_stays_if_its_dead_letters_cannot_be_written() {
    let fs = machine();
    let mut receiver = Receiver { refuses: vec![3], ..Receiver::default() };
    fs.inject(Fault::errno(libc::EIO).only(&[csv_ingestor::fs::sim::Op::SyncAll]).under(LETTERS));
    assert!(follow(&fs, &mut receiver, &rules(Some(1))).is_err());
    fs.clear_faults();
    assert_eq!(acknowledged(&fs), 2);
}

#[test]
fn one_process_writes_dead_letters() {
    let fs = machine();
    let first = DeadLetters::open(&fs, Path::new(LETTERS)).unwrap();
    let error = DeadLetters::open(&fs, Path::new(LETTERS)).map(drop).unwrap_err().to_string();
    assert!(error.contains("another process appends to it"), "{error}");
    drop(first);
    DeadLetters::open(&fs, Path::new(LETTERS)).unwrap();
    assert!(DeadLetters::open(&fs, Path::new("/mf")).is_err());
}
