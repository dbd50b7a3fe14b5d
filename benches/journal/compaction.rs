//! The speed of a compaction, with all of its work: reading, merging, writing, syncs, reading back.

use std::path::Path;
use std::process::Command;

use crate::data::UNKNOWN_FROM;
use crate::disk::Scratch;
use crate::ours::{self, Ours, compact_until};
use crate::process::{child_numbers, processor_seconds, status_bytes};
use crate::rounds::median;
use crate::scale::Scale;
use crate::table::{Line, Table, count, mib, per_second};

/// This program's argument.
pub const CHILD: &str = "compact";

const ROWS_A_SECOND_MIN: f64 = 1_000_000.0;

/// Rows of the new snapshot per second, and per second of processor time.
type Rates = [f64; 2];

/// Adds files to a journal, which is created if it does not exist, and compacts it.
fn rates(path: &Path, files: std::ops::Range<u64>) -> Rates {
    let mut ours = Ours::open(path);
    ours.add(files);
    ours.journal.seal().unwrap();
    let until = ours.journal.active_first_lsn();
    ours.shut_down();
    let processor_before = processor_seconds();
    let (compacted, time) = compact_until(path, until);
    let processor = processor_seconds() - processor_before;
    [time.as_secs_f64(), processor].map(|seconds| compacted.snapshot.header().rows as f64 / seconds)
}

pub fn measure(scale: &Scale, scratch: &Scratch, large: &Path, table: &mut Table) {
    let path = scratch.path("compaction");
    let new = UNKNOWN_FROM..UNKNOWN_FROM + scale.new;
    let (mut folded, mut first) = (Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        ours::create(&path, scale.rows);
        folded.push(rates(&path, new.clone()));
        std::fs::remove_dir_all(&path).unwrap();
        first.push(rates(&path, 0..scale.rows));
        std::fs::remove_dir_all(&path).unwrap();
    }
    let line = |what: String, rates: &[Rates]| {
        let [rows, processor] = [0, 1].map(|which| median(&rates.iter().map(|rate| rate[which]).collect::<Vec<_>>()));
        let target = format!(">= {}", per_second(ROWS_A_SECOND_MIN));
        let other = format!("{} of processor time", per_second(processor));
        Line::new(what, per_second(rows)).other(other).target(target, rows >= ROWS_A_SECOND_MIN)
    };
    let (rows, new_rows) = (count(scale.rows), count(scale.new));
    table.add(line(format!("compaction, {rows} rows and {new_rows} new files"), &folded));
    table.add(line(format!("compaction, the first, {rows} new files"), &first));
    large_one(scale, large, new, table);
}

fn large_one(scale: &Scale, large: &Path, new: std::ops::Range<u64>, table: &mut Table) {
    let mut ours = Ours::open(large);
    ours.add(new);
    ours.journal.seal().unwrap();
    ours.shut_down();
    let numbers = child_numbers(&mut Command::new(std::env::current_exe().unwrap()), CHILD, large).unwrap();
    let [rows, milliseconds, before, peak] = numbers[..] else { panic!("four numbers") };
    let what = format!("compaction, {} rows and {} new files", count(scale.large), count(scale.new));
    table.add(Line::new(what, per_second(rows as f64 * 1000.0 / milliseconds.max(1) as f64)));
    let line = Line::new("  its peak of memory, with all that the ingestor remembers", mib(peak));
    table.add(line.other(format!("{} before", mib(before))));
}

/// Opens a journal, compacts it while it is open, and prints rows, time and memory.
pub fn child(path: &Path) {
    let ours = Ours::open(path);
    let before = status_bytes("VmRSS");
    let (compacted, time) = compact_until(path, ours.journal.active_first_lsn());
    println!("{} {} {before} {}", compacted.snapshot.header().rows, time.as_millis(), status_bytes("VmHWM"));
    ours.shut_down();
}
