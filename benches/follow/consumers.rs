//! Ingestion beside consumers, and without them.

use std::process::Stdio;

use crate::Scale;
use crate::disk::Scratch;
use crate::files::Set;
use crate::place::Place;
use crate::process::Process;
use crate::rounds::{median, ratios, turns};
use crate::table::{Line, Table, count, per_second, progress};
use crate::{follower, ours};

const RATIO_MIN: f64 = 0.97;
const CONSUMERS: usize = 3;
const FILE_BYTES: u64 = 1 << 10;

/// Files a second.
fn ingest(place: &Place, files: u64, consumers: usize) -> f64 {
    place.renew();
    Set { count: files, bytes: FILE_BYTES }.make(&place.staging);
    place.settle();
    let start = |_| Process::start(follower::command(&place.manifests(), &[]).stdout(Stdio::null())).unwrap();
    let followers: Vec<Process> = (0..consumers).map(start).collect();
    let ended = ours::run(&mut ours::once(place), place);
    for follower in followers {
        follower.stop();
    }
    place.check(files);
    files as f64 / ended.seconds
}

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let place = Place::within(scratch.path("consumers"));
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..scale.rounds {
        for which in turns(round, 2) {
            let rate = ingest(&place, scale.files, [CONSUMERS, 0][which]);
            progress(&format!("round {round}, {} consumers: {}", [CONSUMERS, 0][which], per_second(rate)));
            rates[which].push(rate);
        }
    }
    place.remove();
    let ratio = median(&ratios(&rates[0], &rates[1]));
    let what = format!("{} x 1 KiB beside {CONSUMERS} consumers", count(scale.files));
    let line =
        Line::new(what, per_second(median(&rates[0]))).other(format!("without {}", per_second(median(&rates[1]))));
    table.add(line.ratio(ratio).target(format!(">= {RATIO_MIN}x"), ratio >= RATIO_MIN));
}
