//! The time to find out whether a content is known.

use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use csv_ingestor::fs::Fs as _;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::files::Files;
use csv_ingestor::journal::snapshot::Snapshot;
use csv_ingestor::types::Sha256;

use crate::column::Column;
use crate::data;
use crate::ours::Ours;
use crate::rounds::{median, ratio, turns};
use crate::scale::Scale;
use crate::sqlite::Sqlite;
use crate::table::{Line, Table, count, mib};

const MISS_MICROSECONDS_MAX: f64 = 0.3;
const HIT_MICROSECONDS_MAX: f64 = 20.0;
/// Numbers from here on were not used by an earlier measurement.
const UNKNOWN_FROM: u64 = 2 * data::UNKNOWN_FROM;
/// Hits cost about ten times as much as misses.
const HITS_SHARE: u64 = 10;

/// The number of files that a contender remembers, and its look-up.
type Contender<'a> = (u64, &'a dyn Fn(&Sha256) -> bool);

/// Microseconds of one look-up, for each contender in each round; all look-ups must return `expected`.
fn microseconds(scale: &Scale, expected: bool, contenders: [Contender<'_>; 2]) -> [Vec<f64>; 2] {
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..scale.rounds {
        for turn in turns(round, contenders.len()) {
            let (known, is_known) = contenders[turn];
            let hashes: Vec<Sha256> = numbers(scale, expected, known, round as u64).map(data::sha256).collect();
            let begun = Instant::now();
            let found = hashes.iter().filter(|hash| is_known(black_box(hash))).count();
            let seconds = begun.elapsed().as_secs_f64();
            assert_eq!(found, if expected { hashes.len() } else { 0 });
            times[turn].push(seconds * 1e6 / hashes.len() as f64);
        }
    }
    times
}

/// Other files in each round: digests of neighbouring numbers are scattered.
fn numbers(scale: &Scale, expected: bool, known: u64, round: u64) -> Range<u64> {
    let count = if expected { (scale.lookups / HITS_SHARE).min(known) } else { scale.lookups };
    let begin = if expected { round * count % (known - count + 1) } else { UNKNOWN_FROM + round * count };
    begin..begin + count
}

pub fn measure(scale: &Scale, large: &Path, database: &Path, table: &mut Table) {
    let ours = Ours::open(large);
    let is_known = |hash: &Sha256| ours.state.original(&(*hash).into()).unwrap().is_some();
    let sqlite = Sqlite::open(database);
    let in_sqlite = |hash: &Sha256| sqlite.find(hash).is_some();
    for (what, expected, max) in [("unknown", false, MISS_MICROSECONDS_MAX), ("known", true, HIT_MICROSECONDS_MAX)] {
        let [time, other] = microseconds(scale, expected, [(scale.large, &is_known), (scale.rows, &in_sqlite)]);
        let (time, sqlite_time, ratio) = (median(&time), median(&other), ratio(&time, &other));
        let what = format!("look-up, {what} hash, {} remembered", count(scale.large));
        let other = format!("SQLite {sqlite_time:.2} us, of {}", count(scale.rows));
        let line = Line::new(what, format!("{time:.3} us")).other(other).ratio(ratio);
        table.add(line.target(format!("<= {max} us"), time <= max));
    }
    ours.shut_down();
    against_column(scale, large, table);
}

/// Compares the index alone with the simpler one.
fn against_column(scale: &Scale, large: &Path, table: &mut Table) {
    let fs = RealFs::default();
    let dir = fs.open_dir(large).unwrap();
    let (newest, _) = Files::list(&fs, &dir).unwrap().generation(None);
    let snapshot = Snapshot::open(&fs, &dir, newest.unwrap()).unwrap();
    let column = Column::new(scale.large);
    let in_column = |hash: &Sha256| column.has(u64::from_be_bytes(*hash.0.first_chunk().unwrap()));
    assert!(
        (0..scale.large.min(1000)).all(|number| column.has(data::prefix(number))),
        "the column finds what is there"
    );
    let in_index = |hash: &Sha256| snapshot.find(&(*hash).into()).unwrap().is_some();
    let [times, others] = microseconds(scale, false, [(scale.large, &in_index), (scale.large, &in_column)]);
    let (time, column_time) = (median(&times), median(&others));
    let (bytes, column_bytes) = (snapshot.memory_bytes() as u64, column.bytes());
    let line = Line::new("  the index alone: an unknown hash", format!("{time:.3} us"));
    table.add(line.other(format!("column of prefixes {column_time:.3} us")).ratio(ratio(&times, &others)));
    let line = Line::new("  the index alone: memory", mib(bytes));
    table
        .add(line.other(format!("column of prefixes {}", mib(column_bytes))).ratio(bytes as f64 / column_bytes as f64));
}
