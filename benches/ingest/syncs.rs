//! The number of waits for the disk.

use std::fs;
use std::process::{Command, Stdio};

use crate::disk::Scratch;
use crate::ours;
use crate::place::Place;
use crate::scale::Scale;
use crate::table::{Line, Table, count};

const CALLS_MAX: u64 = 200;
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];
/// The column of calls in the table of `strace -c`; the last column is the name.
const CALLS_COLUMN: usize = 3;

pub fn measure(scale: &Scale, scratch: &Scratch, table: &mut Table) {
    let what = format!("waits for the disk, {} files", count(scale.small.count));
    let has_strace = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !has_strace.is_ok_and(|status| status.success()) {
        return table.add(Line::skipped(what, "there is no strace"));
    }
    let (place, report) = (Place::within(scratch.path("syncs")), scratch.path("syncs.strace"));
    scale.small.make(&place.staging);
    let program = ours::once(&place);
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-e", &format!("trace={}", SYNCS.join(",")), "-o"]).arg(&report);
    command.arg(program.get_program()).args(program.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(place.log()).unwrap());
    ours::run(&mut command, &place);
    place.check(scale.small.count);
    place.remove();
    let calls = calls(&fs::read_to_string(&report).unwrap());
    let all: u64 = calls.iter().sum();
    let each: Vec<String> = calls.iter().zip(SYNCS).map(|(calls, name)| format!("{calls} {name}")).collect();
    let line = Line::new(what, count(all)).other(each.join(", "));
    table.add(line.target(format!("<= {CALLS_MAX}"), all <= CALLS_MAX));
}

/// The number of calls, by name.
fn calls(report: &str) -> [u64; 3] {
    SYNCS.map(|name| {
        let rows = report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut calls =
            rows.filter(|row| row.last() == Some(&name)).map(|row| row[CALLS_COLUMN].parse::<u64>().unwrap());
        calls.next().unwrap_or(0)
    })
}
