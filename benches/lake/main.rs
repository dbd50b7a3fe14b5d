//! Compares a lake with its targets, and with the least work that an object store's client can do: one table.
//!
//! `cargo bench --bench lake`; after `--`: `--quick` for a small run that only shows that everything works, `--kind
//! seaweedfs` or `--kind ceph` for the store to start (both, one after the other, if neither is given and the environment
//! names none), `--dir DIR` for the file system on which everything lies, and names of rows, if not all are wanted. The
//! environment is what `scripts/object_store start` prints. It never fails because of times.

// A measurement that cannot continue is best ended at once.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Of what another benchmark uses as well, this one does not need everything.
#[allow(dead_code)]
#[path = "../common/daemon.rs"]
mod daemon;
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
#[path = "../common/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../common/rounds.rs"]
mod rounds;
#[path = "../common/table.rs"]
mod table;

mod bench;
mod crypto;
mod floor;
mod lake;
mod relay;
mod scale;
mod server;

mod contents;
mod duplicates;
mod hosts;
mod idle;
mod latency;
mod throughput;

use std::path::PathBuf;
use std::time::Instant;

use bench::Bench;
use disk::Scratch;
use scale::Scale;
use server::Server;
use table::{Line, Table};

/// The rows, by their names on the command line.
const NAMES: [&str; 8] = ["requests", "small", "large", "duplicates", "hosts", "idle", "latency", "contents"];

/// The stores that are started without further words.
const KINDS: [&str; 2] = ["ceph", "seaweedfs"];

fn main() {
    let (mut scale, mut dir, mut kinds, mut chosen) = (scale::FULL, None, Vec::new(), Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => scale = scale::QUICK,
            "--dir" => dir = Some(PathBuf::from(args.next().expect("it takes a path"))),
            "--kind" => kinds.push(args.next().expect("it takes a kind of store")),
            // Passed by cargo.
            "--bench" => {}
            name if NAMES.contains(&name) => chosen.push(name.to_owned()),
            _ => {
                let options = "[--quick] [--kind seaweedfs|ceph]... [--dir DIR]";
                eprintln!("usage: cargo bench --bench lake -- {options} [{}]...", NAMES.join("|"));
                std::process::exit(2);
            }
        }
    }
    if chosen.is_empty() {
        chosen = NAMES.map(str::to_owned).to_vec();
    }
    process::kill_on_interrupt();
    let scratch = Scratch::new(dir);
    let begun = Instant::now();
    let mut table = Table::new(disk::describe(&scratch), scale.is_full);
    match Server::of_environment().filter(|_| kinds.is_empty()) {
        Some(server) => measure(&scale, &scratch, &server, &mut table, &chosen),
        None => {
            if kinds.is_empty() {
                kinds = KINDS.map(str::to_owned).to_vec();
            }
            for kind in kinds {
                match Server::start(&kind, &scratch) {
                    Ok(server) => measure(&scale, &scratch, &server, &mut table, &chosen),
                    Err(why) => table.add(Line::skipped(kind, &why)),
                }
            }
        }
    }
    table::progress(&format!("done in {:.0} s", begun.elapsed().as_secs_f64()));
    print!("{table}");
}

fn measure(scale: &Scale, scratch: &Scratch, server: &Server, table: &mut Table, chosen: &[String]) {
    let mut bench = Bench { scale, scratch, server, table };
    for name in NAMES.into_iter().filter(|name| chosen.iter().any(|chosen| chosen == name)) {
        match name {
            "requests" => throughput::measure_requests(&mut bench),
            "small" => throughput::measure_small(&mut bench),
            "large" => throughput::measure_large(&mut bench),
            "duplicates" => duplicates::measure(&mut bench),
            "hosts" => hosts::measure(&mut bench),
            "idle" => idle::measure(&mut bench),
            "latency" => latency::measure(&mut bench),
            _ => contents::measure(&mut bench),
        }
    }
}
