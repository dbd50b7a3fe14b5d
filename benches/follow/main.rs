//! Measures `csv-ingestor follow`, as a process: one table.
//!
//! `cargo bench --bench follow`; after `--`: `--quick` for a small run that only shows that everything works, `--dir DIR` for
//! the file system to measure, and names of rows, if not all are wanted. It never fails because of times.

// A measurement that cannot continue is best ended at once.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Of what another benchmark uses as well, this one does not need everything.
#[allow(dead_code)]
#[path = "../common/daemon.rs"]
mod daemon;
#[allow(dead_code)]
#[path = "../common/disk.rs"]
mod disk;
#[allow(dead_code)]
#[path = "../common/files.rs"]
mod files;
#[path = "../common/interrupt.rs"]
mod interrupt;
#[path = "../common/lines.rs"]
mod lines;
#[allow(dead_code)]
#[path = "../ingest/ours.rs"]
mod ours;
#[allow(dead_code)]
#[path = "../ingest/place.rs"]
mod place;
#[allow(dead_code)]
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../common/rounds.rs"]
mod rounds;
#[allow(dead_code)]
#[path = "../common/table.rs"]
mod table;

mod consumers;
mod follower;
mod latency;
mod written;

use std::path::PathBuf;

use disk::Scratch;
use table::Table;

/// The rows, by their names on the command line.
const NAMES: [&str; 4] = ["whole", "start", "latency", "consumers"];

/// How much is measured.
pub struct Scale {
    /// The numbers are meaningful.
    pub is_full: bool,
    /// Rounds, of which the median counts.
    pub rounds: usize,
    /// Lines that are read from the beginning.
    pub lines: u64,
    /// Old lines when a follower starts.
    pub old_lines: u64,
    /// Seconds in which lines come while their times are measured.
    pub seconds: u64,
    /// Files that are ingested beside consumers.
    pub files: u64,
}

const FULL: Scale =
    Scale { is_full: true, rounds: 5, lines: 1_000_000, old_lines: 10_000_000, seconds: 20, files: 20_000 };
const QUICK: Scale = Scale { is_full: false, rounds: 1, lines: 5_000, old_lines: 20_000, seconds: 2, files: 500 };

fn main() {
    let (mut scale, mut dir, mut chosen) = (FULL, None, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => scale = QUICK,
            "--dir" => dir = Some(PathBuf::from(args.next().expect("it takes a path"))),
            // Passed by cargo.
            "--bench" => {}
            name if NAMES.contains(&name) => chosen.push(name.to_owned()),
            _ => {
                eprintln!("usage: cargo bench --bench follow -- [--quick] [--dir DIR] [{}]...", NAMES.join("|"));
                std::process::exit(2);
            }
        }
    }
    process::kill_on_interrupt();
    let scratch = Scratch::new(dir);
    let mut table = Table::new(disk::describe(&scratch), scale.is_full);
    for name in NAMES.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name)) {
        match name {
            "whole" => written::measure_whole(&scale, &scratch, &mut table),
            "start" => written::measure_start(&scale, &scratch, &mut table),
            "latency" => latency::measure(&scale, &scratch, &mut table),
            _ => consumers::measure(&scale, &scratch, &mut table),
        }
    }
    print!("{table}");
}
