//! Crashes and faults at every operation of every scenario.
//!
//! A state is one way in which a machine was left: by a power cut (with one seed for what survived), by the death of the
//! process, or by a fault. Each state is checked as it is; then the ingestor starts on it again, and must end correctly.

mod clock;
mod content;
mod disk;
mod fault;
mod files;
mod followed;
mod groups;
mod identity;
mod interference;
mod layout;
mod names;
mod order;
mod places;
mod power;
mod process;
mod relay;
mod tree;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::play::Play;
use super::scenario::{Crashed, ROTATION, Scenario};
use super::watch::Watch;
use csv_ingestor::fs::sim::Op;

/// If this environment variable is set, the sweeps leave nothing out, and draw more seeds.
pub const THOROUGH: &str = "CRASH_THOROUGH";

pub fn is_thorough() -> bool {
    std::env::var_os(THOROUGH).is_some()
}

/// Operations that change nothing on any disk: stopping before one of them leaves the same machine as stopping before the
/// next.
const READS: [Op; 12] = [
    Op::OpenDir,
    Op::StatDir,
    Op::List,
    Op::Stat,
    Op::FreeBytes,
    Op::StatFile,
    Op::ReadAt,
    Op::Lease,
    Op::LeaseBroken,
    Op::TryLockFile,
    Op::TryLockDir,
    Op::Pause,
];

/// A scenario, and the operations at which it is disturbed.
struct Subject {
    scenario: Scenario,
    operations: Vec<(u64, Op)>,
}

impl Subject {
    /// With `reads`, all operations; otherwise only those that may leave another state.
    fn new(scenario: Scenario, reads: bool) -> Subject {
        let mut play = Play::new(&scenario);
        let first = play.fs.operations() + 1;
        play.end();
        let last = play.fs.operations();
        let first = scenario.crashed.last.map_or(first, |count| last.saturating_sub(count).max(first));
        let thin = if is_thorough() { 1 } else { scenario.crashed.one_in };
        let counts =
            |number: u64, op: Op| number >= first && (reads || !READS.contains(&op)) && number.is_multiple_of(thin);
        let log = play.fs.log().into_iter().map(|logged| (logged.number, logged.op));
        let operations = log.filter(|(number, op)| counts(*number, *op)).collect();
        Subject { scenario, operations }
    }
}

/// The operations at which a crash leaves another state.
fn writes(scenarios: impl IntoIterator<Item = Scenario>) -> Vec<Subject> {
    scenarios.into_iter().map(|scenario| Subject::new(scenario, false)).collect()
}

/// All operations: each may fail, and other processes may act between any two.
fn operations(scenarios: impl IntoIterator<Item = Scenario>) -> Vec<Subject> {
    scenarios.into_iter().map(|scenario| Subject::new(scenario, true)).collect()
}

/// When one thread panics, the others stop.
struct EndsAll<'a> {
    next: &'a AtomicUsize,
    jobs: usize,
}

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.next.store(self.jobs, Ordering::Relaxed);
        }
    }
}

/// Unless nothing is left out, a sweep of more than [`SMALL`] operations takes one of this many.
const ONE_IN: u64 = 2;
const SMALL: usize = 1_000;

/// Whether a sweep takes the job at this index. Chosen by a hash: what a sweep does often depends on whether an operation's
/// number is even.
fn is_taken(index: usize) -> bool {
    let mixed = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32).is_multiple_of(ONE_IN)
}

/// Runs `job` for operations of each scenario, on all processors; each returns how many states it has checked. The sum
/// must be at least `states_min` for all operations, so that a sweep cannot shrink unnoticed.
fn sweep(name: &str, subjects: Vec<Subject>, states_min: u64, job: impl Fn(&Scenario, u64, Op) -> u64 + Sync) {
    let began = Instant::now();
    let jobs: Vec<(&Scenario, u64, Op)> = subjects
        .iter()
        .flat_map(|subject| subject.operations.iter().map(|(number, op)| (&subject.scenario, *number, *op)))
        .collect();
    let all = is_thorough() || jobs.len() <= SMALL;
    let jobs: Vec<_> =
        jobs.into_iter().enumerate().filter_map(|(at, job)| (all || is_taken(at)).then_some(job)).collect();
    let states_min = if all { states_min } else { states_min * 9 / 10 / ONE_IN };
    let (next, states) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let _ends_all = EndsAll { next: &next, jobs: jobs.len() };
                while let Some((scenario, operation, op)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    states.fetch_add(job(scenario, *operation, *op), Ordering::Relaxed);
                }
            });
        }
    });
    let states = states.into_inner();
    println!("{name}: {states} states from {} operations in {:.1} s", jobs.len(), began.elapsed().as_secs_f64());
    assert!(states >= states_min, "{name}: only {states} states");
}

/// The scenarios end correctly when nothing goes wrong; otherwise the sweeps would prove little. Each operation is checked.
#[test]
fn every_scenario_without_a_crash() {
    let mut looks = 0;
    for scenario in [Scenario::all(), Scenario::of_layouts()].concat() {
        let mut play = Play::new(&scenario);
        let (ended, watch) = play.run_watched(Watch::default());
        play.check_ended(ended);
        looks += watch.looks;
        play.end();
    }
    println!("{looks} operations were checked");
}

/// The swept part of the longest scenario includes the change of segments.
#[test]
fn the_journal_goes_on_to_another_segment() {
    let scenario = Scenario::all().into_iter().find(|scenario| scenario.name == ROTATION).unwrap();
    let subject = Subject::new(Scenario { crashed: Crashed::one_in(1), ..scenario.clone() }, true);
    let mut play = Play::new(&scenario);
    play.end();
    let made: Vec<u64> = play
        .fs
        .log()
        .into_iter()
        .filter(|logged| logged.op == Op::Open && logged.errno.is_none())
        .filter(|logged| logged.path.extension().is_some_and(|extension| extension == "log"))
        .map(|logged| logged.number)
        .collect();
    let first = subject.operations.first().unwrap().0;
    assert!(made.iter().any(|number| *number >= first), "{made:?}, {first}");
}
