//! Many producers, each of which waits for its own transition.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use csv_ingestor::journal::record::Record;
use csv_ingestor::types::IngestId;

use crate::data::{self, File, STEPS, Step, UNKNOWN_FROM};
use crate::disk::Scratch;
use crate::ours::{self, Ours};
use crate::rounds::{median, ratio, turns};
use crate::scale::Scale;
use crate::sqlite::Sqlite;
use crate::table::{Line, Table, count, per_second};

const PRODUCERS: usize = 64;
const OVER_SQLITE_MIN: f64 = 10.0;

/// Makes one transition durable, for one producer.
type Transition<'a> = Box<dyn FnMut(&File, Step) + 'a>;

/// A producer's request, and the channel for its answer.
struct Request<T> {
    wish: T,
    done: Sender<u64>,
}

/// Transitions per second of all producers together; `connect` gives each a function that makes one.
fn rate<'a>(next: &AtomicU64, time: Duration, connect: impl Fn() -> Transition<'a> + Sync) -> f64 {
    let (stop, begin, transitions) = (AtomicBool::new(false), Barrier::new(PRODUCERS + 1), AtomicU64::new(0));
    let mut begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..PRODUCERS {
            scope.spawn(|| {
                let mut transition = connect();
                begin.wait();
                while !stop.load(Ordering::Relaxed) {
                    let file = data::file(next.fetch_add(1, Ordering::Relaxed));
                    STEPS.into_iter().for_each(|step| transition(&file, step));
                    transitions.fetch_add(STEPS.len() as u64, Ordering::Relaxed);
                }
            });
        }
        begin.wait();
        begun = Instant::now();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    transitions.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// The committing thread: takes all waiting requests as one group. `commit` returns the first one's number.
fn commit_loop<T>(requests: &Receiver<Request<T>>, mut commit: impl FnMut(&[T]) -> u64) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        group.extend(requests.try_iter().take(PRODUCERS));
        let (wishes, waiting): (Vec<T>, Vec<Sender<u64>>) =
            group.into_iter().map(|request| (request.wish, request.done)).unzip();
        let number = commit(&wishes);
        (number..).zip(waiting).for_each(|(number, done)| done.send(number).unwrap());
    }
}

/// Returns a function that sends a request to the committing thread and waits.
fn ask<T>(requests: Sender<Request<T>>) -> impl FnMut(T) -> u64 {
    let (done, answers) = channel::bounded(1);
    move |wish| {
        requests.send(Request { wish, done: done.clone() }).unwrap();
        answers.recv().unwrap()
    }
}

fn ours_rate(ours: &mut Ours, next: &AtomicU64, time: Duration) -> f64 {
    let (sender, requests) = channel::bounded::<Request<Record>>(PRODUCERS);
    thread::scope(|scope| {
        scope.spawn(move || commit_loop(&requests, |records| ours.commit(records).0));
        let connect = move || -> Transition<'_> {
            let (mut ask, mut id) = (ask(sender.clone()), IngestId(0));
            Box::new(move |file, step| {
                let lsn = ask(file.record(id, step));
                if step == Step::Discovered {
                    id = IngestId(lsn);
                }
            })
        };
        rate(next, time, connect)
    })
}

fn group_rate(sqlite: &Mutex<Sqlite>, next: &AtomicU64, time: Duration) -> f64 {
    let (sender, requests) = channel::bounded::<Request<(File, Step)>>(PRODUCERS);
    thread::scope(|scope| {
        scope.spawn(move || {
            let sqlite = sqlite.lock().unwrap();
            commit_loop(&requests, |wishes| {
                sqlite.commit(wishes.iter().map(|(file, step)| (file, *step)));
                0
            });
        });
        let connect = move || -> Transition<'_> {
            let mut ask = ask(sender.clone());
            Box::new(move |file, step| {
                ask((file.clone(), step));
            })
        };
        rate(next, time, connect)
    })
}

fn mutex_rate(sqlite: &Mutex<Sqlite>, next: &AtomicU64, time: Duration) -> f64 {
    let commit = |file: &File, step| sqlite.lock().unwrap().commit(std::iter::once((file, step)));
    rate(next, time, || Box::new(commit))
}

fn connections_rate(database: &Path, next: &AtomicU64, time: Duration) -> f64 {
    let connect = || -> Transition<'_> {
        let sqlite = Sqlite::open_small(database);
        Box::new(move |file, step| sqlite.commit(std::iter::once((file, step))))
    };
    rate(next, time, connect)
}

pub fn measure(scale: &Scale, scratch: &Scratch, database: &Path, table: &mut Table) {
    let path = scratch.path("many");
    ours::create(&path, scale.rows);
    let mut ours = Ours::open(&path);
    let sqlite = Mutex::new(Sqlite::open(database));
    let next = [const { AtomicU64::new(UNKNOWN_FROM) }; 2];
    let mut rates: [Vec<f64>; 4] = Default::default();
    for round in 0..scale.rounds {
        for turn in turns(round, rates.len()) {
            rates[turn].push(match turn {
                0 => ours_rate(&mut ours, &next[0], scale.round),
                1 => mutex_rate(&sqlite, &next[1], scale.round),
                2 => connections_rate(database, &next[1], scale.round),
                _ => group_rate(&sqlite, &next[1], scale.round),
            });
        }
    }
    let [ours, mutex, connections, group] = &rates;
    let what = format!("{PRODUCERS} producers, {} remembered", count(scale.rows));
    let line = |name: &str, other: &[f64]| {
        let other_rate = format!("SQLite, {name} {}", per_second(median(other)));
        Line::new(&what, per_second(median(ours))).other(other_rate).ratio(ratio(ours, other))
    };
    let (best, worse) = (("1 connection", mutex), ("1 connection a thread", connections));
    let (best, worse) = if median(mutex) >= median(connections) { (best, worse) } else { (worse, best) };
    table.add(line(best.0, best.1).target(format!(">= {OVER_SQLITE_MIN:.0}x"), ratio(ours, best.1) >= OVER_SQLITE_MIN));
    table.add(line(worse.0, worse.1));
    table.add(line("committed in groups", group));
}
