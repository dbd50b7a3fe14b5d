//! The crash sweep: the real program is hurt at every system call with which it changes something. `--help` says how to
//! ask for it; `scripts/crash_sweep` does.
//!
//! - A [`case`] is one moment and one fault; the [`plan`] says which moments there are.
//! - The [`ground`] has the directories and files of a case.
//! - A [`trial`] runs the program there: into the fault ([`strike`], [`thread`]), and on. It [`judge`]s how that ended, and
//!   [`check`]s what is there then, by the model that the simulated sweeps have, too.
//! - A [`sweep`] tries all cases.
//!
//! `cargo test` runs this binary with words that are for other tests; then it does nothing, and says so.

// Clippy's exception for tests covers test functions only.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod case;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod ground;
mod judge;
mod options;
mod plan;
mod process;
mod strike;
mod sweep;
mod table;
mod thread;
mod trial;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use case::Case;
use ground::{Ground, Templates};
use options::{Asked, HELP, Options};
use sweep::Sweeper;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match Asked::parse(&words) {
        Ok(Asked::Nothing) => {
            eprintln!("no crash sweep here: scripts/crash_sweep does it, with --quick in a minute");
            ExitCode::SUCCESS
        }
        Ok(Asked::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Asked::Sweep(options)) => run(&options),
        Err(wrong) => fail(&wrong),
    }
}

fn fail(why: &str) -> ExitCode {
    println!("FAIL: {why}");
    ExitCode::FAILURE
}

fn run(options: &Options) -> ExitCode {
    if !common::skip::has("strace") {
        return ExitCode::SUCCESS;
    }
    let ground = Arc::new(Ground::new());
    end_on_signals(ground.clone());
    let templates = Templates::new();
    let sweeper = Sweeper { ground: &ground, templates: &templates };
    let (verdict, keeps) = match &options.case {
        Some(case) => try_one(&sweeper, case.clone()),
        None => try_all(&sweeper, options),
    };
    if !keeps {
        ground.remove();
    }
    verdict
}

/// Ends what runs, and leaves nothing.
fn end_on_signals(ground: Arc<Ground>) {
    let mut signals = Signals::new([SIGINT, SIGTERM]).unwrap();
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _guard = process::end_all();
            ground.remove();
            std::process::exit(128 + signal);
        }
    });
}

/// The verdict, and whether the directories are kept.
fn try_one(sweeper: &Sweeper<'_>, case: Case) -> (ExitCode, bool) {
    let name = case.to_string();
    let tried = sweeper.try_case(case);
    if let Some(failure) = tried.failure {
        println!("its directory: {}", failure.dir.display());
        return (fail(&failure.problems.join("; ")), true);
    }
    if !tried.reached {
        println!("the call was not reached");
    }
    println!("PASS: {name}");
    (ExitCode::SUCCESS, false)
}

fn try_all(sweeper: &Sweeper<'_>, options: &Options) -> (ExitCode, bool) {
    let began = Instant::now();
    let results = sweeper.sweep(options);
    table::print(&results);
    let total = results.total();
    let seconds = began.elapsed().as_secs();
    let told = format!("{} moments, {} cases", total.moments, total.cases);
    if !results.failures.is_empty() {
        for failure in &results.failures {
            println!("scripts/crash_sweep --case {}", failure.case);
            failure.problems.iter().for_each(|problem| println!("    {problem}"));
            println!("    its directory: {}", failure.dir.display());
        }
        return (fail(&format!("{} of {told} failed, {seconds} s", results.failures.len())), true);
    }
    if total.cases == 0 {
        return (fail("nothing to sweep"), false);
    }
    if results.are_few() {
        return (fail(&format!("far fewer calls were reached than were counted: {told}")), false);
    }
    println!("PASS: crash sweep: {told}, {seconds} s");
    (ExitCode::SUCCESS, false)
}
