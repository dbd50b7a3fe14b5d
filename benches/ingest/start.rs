//! The time to start, and to find that there is nothing to do.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::daemon::STARTED;
use crate::disk::Scratch;
use crate::ours;
use crate::place::Place;
use crate::process::Process;
use crate::rounds::median;
use crate::scale::Scale;
use crate::table::{Line, Table};

const MS_MAX: f64 = 10.0;

/// The time until the log reports the start.
fn started_ms(place: &Place) -> f64 {
    let mut process = Process::start(ours::command(place).stderr(Stdio::piped())).unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(STARTED) {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ends before the start");
    }
    let ms = process.begun().elapsed().as_secs_f64() * 1000.0;
    assert_eq!(process.stop().code, Some(0));
    ms
}

/// The time until the process has ended.
fn once_ms(place: &Place) -> f64 {
    ours::run(&mut ours::once(place), place).seconds * 1000.0
}

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let place = Place::within(scratch.path("start"));
    let first: Vec<f64> = (0..scale.starts)
        .map(|_| {
            fs::remove_dir_all(place.state()).unwrap();
            place.settle();
            once_ms(&place)
        })
        .collect();
    let again: Vec<f64> = (0..scale.starts).map(|_| once_ms(&place)).collect();
    let started: Vec<f64> = (0..scale.starts).map(|_| started_ms(&place)).collect();
    place.remove();
    let line = |what: &str, times: &[f64]| {
        let ms = median(times);
        Line::new(what, format!("{ms:.1} ms")).target(format!("<= {MS_MAX:.0} ms"), ms <= MS_MAX)
    };
    table.add(line("until the log says started, nothing in the journal", &started));
    table.add(line("--once, nothing staged, nothing in the journal", &again));
    table.add(line("--once, nothing staged, no journal yet", &first));
}
