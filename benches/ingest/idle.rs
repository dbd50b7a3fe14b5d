//! The ingestor's activity when there is nothing to do.

use std::thread;

use crate::disk::Scratch;
use crate::files::Set;
use crate::ours;
use crate::place::Place;
use crate::scale::Scale;
use crate::table::{Line, Table, count, mib};

const PERCENT_MAX: f64 = 1.0;
/// Share of the staged bytes: more would mean that files are read again.
const READ_SHARE_MAX: f64 = 0.1;
const FILE_BYTES: u64 = 100;
const SKIPPED: &str = r#""event":"duplicate_skipped""#;

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let place = Place::within(scratch.path("idle"));
    let set = Set { count: scale.duplicates, bytes: FILE_BYTES };
    set.make(&place.staging);
    ours::run(&mut ours::once(&place), &place);
    place.check(set.count);
    set.make(&place.staging);
    let daemon = ours::start(&place, &["--stability-seconds", "0"]);
    daemon.await_lines(set.count, SKIPPED);
    thread::sleep(scale.rest);
    let before = (daemon.processor_seconds(), daemon.read_bytes());
    thread::sleep(scale.idle);
    let after = (daemon.processor_seconds(), daemon.read_bytes());
    daemon.stop();
    place.remove();
    let (percent, read) = ((after.0 - before.0) / scale.idle.as_secs_f64() * 100.0, after.1 - before.1);
    let beside = format!("{} kept duplicates, {} s", count(set.count), scale.idle.as_secs_f64());
    let line = Line::new(format!("processor time at rest, {beside}"), format!("{percent:.2} % of one"));
    table.add(line.target(format!("<= {PERCENT_MAX} %"), percent <= PERCENT_MAX));
    let share = read as f64 / set.total_bytes() as f64;
    let line = Line::new(format!("bytes read at rest, {beside}"), count(read));
    let line = line.other(format!("{} are staged", mib(set.total_bytes())));
    table.add(line.target(format!("<= {:.0} % of them", READ_SHARE_MAX * 100.0), share <= READ_SHARE_MAX));
}
