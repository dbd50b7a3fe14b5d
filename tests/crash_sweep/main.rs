//! The crash sweep: kills the real program at every system call that changes something, or makes that call fail.
//! `scripts/crash_sweep` runs it; `--help` lists its options.
//!
//! - A [`case`] is one moment and one fault; the [`plan`] says which moments there are.
//! - The [`ground`] has the directories and files of a case.
//! - A [`trial`] runs the program there: into the fault ([`strike`], [`thread`]), and again. It [`judge`]s how the run
//!   ended, and [`check`]s the files then, by the same model as the simulated sweeps.
//! - A [`sweep`] tries all cases.
//!
//! `cargo test` runs this binary with arguments that are for other tests; then it only says that it does nothing.

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

/// Why the sweep failed, and whether its directories are worth keeping.
struct Failed {
    why: String,
    keeps: bool,
}

/// Prints the verdict last.
fn run(options: &Options) -> ExitCode {
    if !common::skip::has("strace") {
        return ExitCode::SUCCESS;
    }
    let ground = Arc::new(Ground::new());
    end_on_signals(ground.clone());
    let templates = Templates::new();
    let sweeper = Sweeper { ground: &ground, templates: &templates };
    let verdict = match &options.case {
        Some(case) => try_one(&sweeper, case.clone()),
        None => try_all(&sweeper, options),
    };
    match &verdict {
        Err(failed) if failed.keeps => {
            let other = ground.other.clone().unwrap_or_default();
            println!("kept: {} {}", ground.cases.display(), other.display());
        }
        _ => ground.remove(),
    }
    match verdict {
        Ok(told) => {
            println!("PASS: {told}");
            ExitCode::SUCCESS
        }
        Err(failed) => fail(&failed.why),
    }
}

fn fail(why: &str) -> ExitCode {
    println!("FAIL: {why}");
    ExitCode::FAILURE
}

/// On SIGINT or SIGTERM, ends the running processes and removes all directories.
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

fn try_one(sweeper: &Sweeper<'_>, case: Case) -> Result<String, Failed> {
    let name = case.to_string();
    let tried = sweeper.try_case(case);
    if let Some(failure) = tried.failure {
        return Err(Failed { why: failure.problems.join("; "), keeps: true });
    }
    if !tried.reached {
        println!("the call was not reached");
    }
    Ok(name)
}

fn try_all(sweeper: &Sweeper<'_>, options: &Options) -> Result<String, Failed> {
    let began = Instant::now();
    let results = sweeper.sweep(options);
    table::print(&results);
    for failure in &results.failures {
        println!("scripts/crash_sweep --case {}", failure.case);
        failure.problems.iter().for_each(|problem| println!("    {problem}"));
        println!("    its directory: {}", failure.dir.display());
    }
    let (total, failures) = (results.total(), results.failures.len());
    let told = format!("{} moments, {} cases", total.moments, total.cases);
    let seconds = began.elapsed().as_secs();
    if failures > 0 {
        return Err(Failed { why: format!("{failures} of {told} failed, {seconds} s"), keeps: true });
    }
    if total.cases == 0 {
        return Err(Failed { why: "nothing to sweep".to_owned(), keeps: false });
    }
    if results.are_few() {
        return Err(Failed { why: format!("far fewer calls were reached than were counted: {told}"), keeps: false });
    }
    Ok(format!("crash sweep: {told}, {seconds} s"))
}
