//! Tries all cases, several at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::case::{Case, Combination, Fault, Layout};
use super::ground::{Ground, Templates};
use super::options::Options;
use super::plan::{Counts, Sequence, count_calls, sequences};
use super::trial::{Trial, read};

/// The sweep stops after this many failures.
const FAILURES_MAX: usize = 10;

/// Percentage of the expected moments that must be reached. The number of calls differs a little from run to run, but a
/// sweep that tries hardly anything must not pass.
const REACHED_PERCENT: usize = 80;

pub struct Failure {
    pub case: Case,
    pub problems: Vec<String>,
    pub dir: PathBuf,
}

/// The result of a sequence, or of many.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    /// Cases in which the fault struck.
    pub moments: usize,
    pub cases: usize,
    pub expected: usize,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.moments += other.moments;
        self.cases += other.cases;
        self.expected += other.expected;
    }
}

#[derive(Default)]
pub struct Results {
    pub counts: Counts,
    /// By layout, call and fault.
    pub tallies: BTreeMap<(Layout, String, Fault), Tally>,
    pub failures: Vec<Failure>,
}

impl Results {
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.values().for_each(|tally| total.add(*tally));
        total
    }

    /// True if far fewer calls were reached than were counted.
    pub fn are_few(&self) -> bool {
        let mut by_fault: BTreeMap<Fault, Tally> = BTreeMap::new();
        self.tallies.iter().for_each(|((_, _, fault), tally)| by_fault.entry(*fault).or_default().add(*tally));
        by_fault.values().any(|tally| tally.moments * 100 < tally.expected * REACHED_PERCENT)
    }
}

/// Where cases run, and with which files.
pub struct Sweeper<'a> {
    pub ground: &'a Ground,
    pub templates: &'a Templates,
}

/// The result of one case.
pub struct Tried {
    /// The fault struck.
    pub reached: bool,
    pub failure: Option<Failure>,
}

impl Sweeper<'_> {
    /// Removes the directories of a case without problems.
    pub fn try_case(&self, case: Case) -> Tried {
        let mut trial = Trial::new(self.ground, self.templates, case);
        trial.run_into_fault();
        let reached = trial.judge_ending();
        trial.check_after_fault();
        trial.recover_and_check();
        let Trial { case, site, problems, .. } = trial;
        if problems.is_empty() {
            site.remove();
            return Tried { reached, failure: None };
        }
        Tried { reached, failure: Some(Failure { case, problems, dir: site.dir }) }
    }

    /// Counts the calls of one undisturbed run.
    fn count(&self, combination: Combination) -> BTreeMap<String, usize> {
        let mut trial = Trial::new(self.ground, self.templates, combination.case(Fault::Count, "none", 0));
        trial.run_into_fault();
        let (is_through, problems) = (trial.is_through(), &trial.problems);
        let well = is_through && problems.is_empty();
        assert!(well, "{combination} without any fault: exit code {}, {problems:?}", trial.status);
        let counts = count_calls(&read(&trial.trace()));
        trial.site.remove();
        counts
    }

    fn count_all(&self, jobs: usize) -> Counts {
        let mut combinations = Combination::all();
        combinations.retain(|combination| combination.layout == Layout::Same || self.ground.other.is_some());
        let counts = Mutex::new(Counts::new());
        in_parallel(jobs, &combinations, |combination| {
            let found = self.count(*combination).into_iter().map(|(call, count)| ((*combination, call), count));
            counts.lock().unwrap().extend(found);
        });
        counts.into_inner().unwrap()
    }

    pub fn sweep(&self, options: &Options) -> Results {
        let counts = self.count_all(options.jobs);
        let sequences = sequences(&counts, options);
        let results = Mutex::new(Results { counts, ..Results::default() });
        in_parallel(options.jobs, &sequences, |sequence| self.sweep_sequence(sequence, &results));
        results.into_inner().unwrap()
    }

    fn sweep_sequence(&self, sequence: &Sequence, results: &Mutex<Results>) {
        let Sequence { combination, fault, call, moments, expected } = sequence;
        let mut tally = Tally { expected: *expected, ..Tally::default() };
        for n in moments {
            if results.lock().unwrap().failures.len() >= FAILURES_MAX {
                break;
            }
            let tried = self.try_case(combination.case(*fault, call, *n));
            tally.cases += 1;
            results.lock().unwrap().failures.extend(tried.failure);
            if !tried.reached {
                break;
            }
            tally.moments += 1;
        }
        let key = (combination.layout, call.clone(), *fault);
        results.lock().unwrap().tallies.entry(key).or_default().add(tally);
    }
}

/// Does the work for each item, `jobs` at a time. Panics if one of them panics.
fn in_parallel<T: Sync>(jobs: usize, items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}
