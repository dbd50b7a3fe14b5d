//! One producer that waits for each transition.

use std::time::{Duration, Instant};

use crate::data::{self, STEPS};
use crate::disk::Scratch;
use crate::ours::Ours;
use crate::redb_side::Redb;
use crate::rounds::{median, ratio, turns};
use crate::scale::Scale;
use crate::side::Side;
use crate::sqlite::Sqlite;
use crate::table::{Line, Table, per_second};

const OVER_SQLITE_MIN: f64 = 1.2;
const OVER_REDB_MIN: f64 = 1.0;

/// Transitions per second.
fn rate(side: &mut dyn Side, next: &mut u64, time: Duration) -> f64 {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let file = data::file(*next);
        STEPS.into_iter().for_each(|step| side.transition(&file, step));
        *next += 1;
        count += STEPS.len();
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let mut ours = Ours::open(&scratch.path("one"));
    let mut sqlite = Sqlite::open(&scratch.path("one.db"));
    let mut redb = Redb::create(&scratch.path("one.redb"));
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut next = [0; 3];
    for round in 0..scale.rounds {
        for turn in turns(round, rates.len()) {
            let sides: [&mut dyn Side; 3] = [&mut ours, &mut sqlite, &mut redb];
            let side = sides.into_iter().nth(turn).unwrap();
            rates[turn].push(rate(side, &mut next[turn], scale.round));
        }
    }
    let [ours, sqlite, redb] = &rates;
    let what = "durable transitions, 1 producer";
    for (name, other, target) in [("SQLite", sqlite, OVER_SQLITE_MIN), ("redb", redb, OVER_REDB_MIN)] {
        let line = Line::new(what, per_second(median(ours)))
            .other(format!("{name} {}", per_second(median(other))))
            .ratio(ratio(ours, other));
        table.add(line.target(format!(">= {target:.1}x"), ratio(ours, other) >= target));
    }
}
