//! The memory in use after a start.

use std::path::Path;
use std::process::Command;

use crate::ours::Ours;
use crate::process::{child_numbers, status_bytes};
use crate::scale::Scale;
use crate::table::{Line, Table, count, mib};

/// This program's argument.
pub const CHILD: &str = "memory";

const RESIDENT_BYTES_MAX: u64 = 160 << 20;

pub fn measure(scale: &Scale, large: &Path, table: &mut Table) {
    let numbers = child_numbers(&mut Command::new(std::env::current_exe().unwrap()), CHILD, large).unwrap();
    let [resident, peak] = numbers[..] else { panic!("two numbers") };
    let what = format!("resident memory after that start, {} remembered", count(scale.large));
    let line = Line::new(what, mib(resident)).other(format!("at most {} before", mib(peak)));
    table.add(line.target(format!("<= {}", mib(RESIDENT_BYTES_MAX)), resident <= RESIDENT_BYTES_MAX));
}

/// Opens the journal and prints the memory in use.
pub fn child(path: &Path) {
    let ours = Ours::open(path);
    println!("{} {}", status_bytes("VmRSS"), status_bytes("VmHWM"));
    ours.shut_down();
}
