//! Random histories of the whole ingestor: upstreams that act between any two operations, crashes, faults, restarts.
//!
//! A failure is shrunk to the smallest history that still fails. `scripts/crash_simulation` runs them for as long as you
//! like, from a seed that it prints.

mod draw;
mod history;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

fn runner(seed: u64, cases: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Checks this many histories from this seed; a failure names the smallest one that fails.
fn check_seed(seed: u64, cases: u32) -> u64 {
    let states = AtomicU64::new(0);
    let result = runner(seed, cases).run(&draw::history(), |history| {
        states.fetch_add(history.check(), Ordering::Relaxed);
        Ok(())
    });
    match result {
        Ok(()) => states.into_inner(),
        Err(TestError::Fail(why, history)) => panic!("seed {seed}: {why}\n{history:#?}"),
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

/// Always the same histories, so that everyone can reproduce a failure.
#[test]
fn random_histories() {
    let began = Instant::now();
    let states: u64 = (0..8).map(|seed| check_seed(seed, 110)).sum();
    println!("random histories: {states} states in {:.1} s", began.elapsed().as_secs_f64());
    assert!(states >= 1_500, "only {states} states");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{variable}: {value}")))
}

/// Runs for `CRASH_SECONDS`, from the seed `CRASH_SEED` on, on all processors.
#[test]
#[ignore = "runs as long as CRASH_SECONDS says: scripts/crash_simulation"]
fn random_histories_for_long() {
    const CASES: u32 = 200;
    let (seconds, first) = (number("CRASH_SECONDS", 60), number("CRASH_SEED", 1_000));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (next, states, failed) = (AtomicU64::new(first), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while Instant::now() < deadline && !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let checked = std::panic::catch_unwind(|| check_seed(seed, CASES));
                    states.fetch_add(*checked.as_ref().unwrap_or(&0), Ordering::Relaxed);
                    failed.fetch_or(checked.is_err(), Ordering::Relaxed);
                }
            });
        }
    });
    let seeds = next.into_inner() - first;
    println!("{seeds} seeds from {first} on, {CASES} histories each, {} states, {seconds} s", states.into_inner());
    assert!(!failed.into_inner(), "a history failed: see above");
}
