//! Compares the journal with its targets, and with SQLite and redb on the same file system: one table.
//!
//! `cargo bench --bench journal`; after `--`: `--quick` for a small run that only shows that everything works, `--dir
//! DIR` for the file system to measure, and names of measurements, if not all are wanted. It never fails because of
//! times.

// A measurement that cannot continue is best ended at once.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/disk.rs"]
mod disk;
#[path = "../common/interrupt.rs"]
mod interrupt;
#[path = "../common/rounds.rs"]
mod rounds;
#[path = "../common/table.rs"]
mod table;

mod column;
mod data;
mod files;
mod ours;
mod process;
mod redb_side;
mod scale;
mod side;
mod sqlite;

mod bytes;
mod compaction;
mod flushes;
mod lookup;
mod memory;
mod pause;
mod producers;
mod start;
mod transitions;

use std::path::PathBuf;
use std::time::Instant;

use disk::Scratch;
use scale::Scale;
use table::Table;

/// The measurements, by their names on the command line.
const NAMES: [&str; 9] =
    ["transitions", "producers", "flushes", "start", "memory", "lookup", "bytes", "compaction", "pause"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, what, path] = args.as_slice()
        && first == process::CHILD
    {
        return child(what, &PathBuf::from(path));
    }
    let (mut scale, mut dir, mut chosen) = (scale::FULL, None, Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => scale = scale::QUICK,
            "--dir" => dir = Some(PathBuf::from(args.next().expect("--dir takes a directory"))),
            // Passed by cargo.
            "--bench" => {}
            name if NAMES.contains(&name) => chosen.push(name.to_owned()),
            _ => {
                eprintln!("usage: cargo bench --bench journal -- [--quick] [--dir DIR] [{}]...", NAMES.join("|"));
                std::process::exit(2);
            }
        }
    }
    if chosen.is_empty() {
        chosen = NAMES.map(str::to_owned).to_vec();
    }
    let scratch = Scratch::new(dir);
    print!("{}", run(&scale, &scratch, &chosen));
}

fn child(what: &str, path: &std::path::Path) {
    match what {
        memory::CHILD => memory::child(path),
        compaction::CHILD => compaction::child(path),
        flushes::CHILD => flushes::child(path),
        _ => panic!("no child is called {what}"),
    }
}

fn run(scale: &Scale, scratch: &Scratch, chosen: &[String]) -> Table {
    let begun = Instant::now();
    let mut table = Table::new(disk::describe(scratch), scale.is_full);
    let any = |names: &[&str]| chosen.iter().any(|name| names.contains(&name.as_str()));
    let (large, database) = (scratch.path("large"), scratch.path("files.db"));
    if any(&["start", "memory", "lookup", "compaction"]) {
        table::progress(&format!("making a snapshot of {} files", table::count(scale.large)));
        ours::create(&large, scale.large);
    }
    let mut database_bytes = 0;
    if any(&["producers", "lookup", "bytes"]) {
        table::progress(&format!("making a SQLite database of {} files", table::count(scale.rows)));
        sqlite::create(&database, scale.rows);
        database_bytes = files::allocated_bytes(&database);
    }
    for name in NAMES.into_iter().filter(|name| any(&[name])) {
        match name {
            "transitions" => transitions::measure(scale, scratch, &mut table),
            "producers" => producers::measure(scale, scratch, &database, &mut table),
            "flushes" => flushes::measure(scratch, &mut table),
            "start" => start::measure(scale, &large, &mut table),
            "memory" => memory::measure(scale, &large, &mut table),
            "lookup" => lookup::measure(scale, &large, &database, &mut table),
            "bytes" => bytes::measure(scale, scratch, database_bytes, &mut table),
            "compaction" => compaction::measure(scale, scratch, &large, &mut table),
            _ => pause::measure(scale, scratch, &mut table),
        }
    }
    table::progress(&format!("done in {:.0} s", begun.elapsed().as_secs_f64()));
    table
}
