//! The time of a start.

use std::path::Path;
use std::time::Instant;

use crate::files;
use crate::ours::Ours;
use crate::rounds::median;
use crate::scale::Scale;
use crate::table::{Line, Table, count};

const WARM_SECONDS_MAX: f64 = 0.5;
const COLD_SECONDS_MAX: f64 = 1.0;

/// The time until the journal is ready to be written to, opened like by the ingestor.
fn seconds(path: &Path) -> f64 {
    let begun = Instant::now();
    let ours = Ours::open(path);
    let seconds = begun.elapsed().as_secs_f64();
    ours.shut_down();
    seconds
}

pub fn measure(scale: &Scale, large: &Path, table: &mut Table) {
    seconds(large);
    let warm: Vec<f64> = (0..scale.runs).map(|_| seconds(large)).collect();
    let cold: Vec<f64> = (0..scale.runs)
        .map(|_| {
            files::drop_caches(large);
            seconds(large)
        })
        .collect();
    let read_rate = files::read_rate(large) / 1e6;
    let line = |how: &str, times: &[f64], max: f64| {
        let seconds = median(times);
        let what = format!("start, {} remembered, {how}", count(scale.large));
        Line::new(what, format!("{seconds:.3} s")).target(format!("<= {max} s"), seconds <= max)
    };
    table.add(line("warm", &warm, WARM_SECONDS_MAX));
    table.add(line("cold", &cold, COLD_SECONDS_MAX).other(format!("the disk reads {read_rate:.0} MB/s")));
}
