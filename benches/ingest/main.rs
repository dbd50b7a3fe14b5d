//! Compares the real program with its targets, with the least work that the task needs, and with other programs that
//! do it: one table.
//!
//! `cargo bench --bench ingest`; after `--`: `--quick` for a small run that only shows that everything works, `--dir
//! DIR` for the file system to measure, `--other DIR` for a second one, from which files are ingested into the first,
//! `--plot FILE` for a picture of the speeds, and names of rows, if not all are wanted. It never fails because of
//! times.

// A measurement that cannot continue is best ended at once.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/disk.rs"]
mod disk;
#[path = "../common/files.rs"]
mod files;
#[path = "../common/interrupt.rs"]
mod interrupt;
#[path = "../common/lines.rs"]
mod lines;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/rounds.rs"]
mod rounds;
#[path = "../common/table.rs"]
mod table;

mod arrivals;
mod contender;
mod floor;
mod groups;
mod manifest;
mod ours;
mod place;
mod plot;
mod scale;
mod upstream;

mod big;
mod idle;
mod latency;
mod million;
mod peers;
mod start;
mod syncs;
mod throughput;
mod tree;
mod wide;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use disk::Scratch;
use plot::Bar;
use scale::Scale;
use table::Table;

/// The rows, by their names on the command line.
const NAMES: [&str; 17] = [
    "small",
    "peers",
    "medium",
    "large",
    "cross-small",
    "cross-medium",
    "cross-large",
    "validate",
    "groups",
    "tree",
    "wide",
    "syncs",
    "million",
    "latency",
    "idle",
    "start",
    "big",
];

/// A file system that in most cases is not on the disk.
const OTHER: &str = "/dev/shm";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, what, staging, warehouse, manifest] = args.as_slice()
        && first == floor::CHILD_FLAG
        && what == floor::CHILD
    {
        return floor::child(Path::new(staging), Path::new(warehouse), Path::new(manifest));
    }
    let (mut scale, mut dir, mut other, mut plot) = (scale::FULL, None, PathBuf::from(OTHER), None);
    let mut chosen = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut path = || PathBuf::from(args.next().expect("it takes a path"));
        match arg.as_str() {
            "--quick" => scale = scale::QUICK,
            "--dir" => dir = Some(path()),
            "--other" => other = path(),
            "--plot" => plot = Some(path()),
            // Passed by cargo.
            "--bench" => {}
            name if NAMES.contains(&name) => chosen.push(name.to_owned()),
            _ => {
                let options = "[--quick] [--dir DIR] [--other DIR] [--plot FILE]";
                eprintln!("usage: cargo bench --bench ingest -- {options} [{}]...", NAMES.join("|"));
                std::process::exit(2);
            }
        }
    }
    if chosen.is_empty() {
        chosen = NAMES.map(str::to_owned).to_vec();
    }
    process::kill_on_interrupt();
    let scratch = Scratch::new(dir);
    let other = other_scratch(&other, &scratch);
    let (table, bars) = run(&scale, &scratch, other.as_ref().map_err(String::as_str), &chosen);
    print!("{table}");
    if let Some(plot) = plot {
        plot::draw(&plot, &bars);
    }
}

/// A directory on the other file system, or the reason why there is none.
fn other_scratch(dir: &Path, scratch: &Scratch) -> Result<Scratch, String> {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
    match device(dir) {
        Err(error) => Err(format!("{}: {error}", dir.display())),
        Ok(other) if other == device(&scratch.path(".")).unwrap() => {
            Err(format!("{} is on the same file system", dir.display()))
        }
        Ok(_) => Ok(Scratch::within(dir)),
    }
}

fn run(scale: &Scale, scratch: &Scratch, other: Result<&Scratch, &str>, chosen: &[String]) -> (Table, Vec<Bar>) {
    let begun = Instant::now();
    let mut table = Table::new(disk::describe(scratch), scale.is_full);
    let mut bars: Vec<Bar> = Vec::new();
    for name in NAMES.into_iter().filter(|name| chosen.iter().any(|chosen| chosen == name)) {
        match name {
            "small" | "medium" | "large" => bars.extend(throughput::measure(name, scale, scratch, &mut table)),
            "peers" => {
                let ratio = peers::measure(scale, scratch, &mut table);
                // The SQLite design's ratio is to the small files: it was measured with the same ones.
                let small = bars.iter().find(|bar| bar.label == "small").map(|bar| bar.share);
                let share = small.zip(ratio).map(|(small, ratio)| small / ratio);
                bars.extend(share.map(|share| Bar { label: "SQLite design".into(), share, target: None }));
            }
            "validate" => throughput::measure_validation(scale, scratch, &mut table),
            "groups" => throughput::measure_groups(scale, scratch, &mut table),
            "tree" => tree::measure(scale, scratch, &mut table),
            "wide" => wide::measure(scale, scratch, &mut table),
            "syncs" => syncs::measure(scale, scratch, &mut table),
            "million" => million::measure(scale, scratch, &mut table),
            "latency" => latency::measure(scale, scratch, &mut table),
            "idle" => idle::measure(scale, scratch, &mut table),
            "start" => start::measure(scale, scratch, &mut table),
            "big" => big::measure(scale, scratch, &mut table),
            _ => bars.extend(throughput::measure_across(name, scale, scratch, other, &mut table)),
        }
    }
    table::progress(&format!("done in {:.0} s", begun.elapsed().as_secs_f64()));
    (table, bars)
}
