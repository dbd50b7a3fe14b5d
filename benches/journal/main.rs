//! The journal against its targets, and against SQLite and redb, side by side on one file system: one table.
//!
//! `cargo bench --bench journal`; behind `--`: `--quick` for a small run that only shows that all of it works, and
//! `--dir DIR` for the file system to measure. Times never make it fail.

// A measurement that cannot go on is best ended where it stands.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod column;
mod data;
mod disk;
mod ours;
mod redb_side;
mod scale;
mod sqlite;
mod table;

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

/// The first argument of a process that measures itself for us.
const CHILD: &str = "--child";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, what, path] = args.as_slice()
        && first == CHILD
    {
        return child(what, &PathBuf::from(path));
    }
    let (mut scale, mut dir) = (scale::FULL, None);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => scale = scale::QUICK,
            "--dir" => dir = Some(PathBuf::from(args.next().expect("--dir takes a directory"))),
            // From cargo.
            "--bench" => {}
            _ => {
                eprintln!("usage: cargo bench --bench journal -- [--quick] [--dir DIR]");
                std::process::exit(2);
            }
        }
    }
    let scratch = Scratch::new(dir);
    print!("{}", run(&scale, &scratch));
}

fn child(what: &str, path: &std::path::Path) {
    match what {
        memory::CHILD => memory::child(path),
        compaction::CHILD => compaction::child(path),
        flushes::CHILD => flushes::child(path),
        _ => panic!("no child is called {what}"),
    }
}

fn run(scale: &Scale, scratch: &Scratch) -> Table {
    let begun = Instant::now();
    let mut table = Table::new(disk::describe(scratch), scale);
    let large = scratch.path("large");
    table.progress(&format!("a snapshot of {} files", table::count(scale.large)));
    ours::create(&large, scale.large);
    table.progress(&format!("a SQLite database of {} files", table::count(scale.rows)));
    let database = scratch.path("files.db");
    sqlite::create(&database, scale.rows);
    let database_bytes = disk::allocated_bytes(&database);

    transitions::measure(scale, scratch, &mut table);
    producers::measure(scale, scratch, &database, &mut table);
    flushes::measure(scratch, &mut table);
    start::measure(scale, &large, &mut table);
    memory::measure(scale, &large, &mut table);
    lookup::measure(scale, &large, &database, &mut table);
    bytes::measure(scale, scratch, database_bytes, &mut table);
    compaction::measure(scale, scratch, &large, &mut table);
    pause::measure(scale, scratch, &mut table);
    table.progress(&format!("done in {:.0} s", begun.elapsed().as_secs_f64()));
    table
}
