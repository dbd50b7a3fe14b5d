//! Several requests at once.
//!
//! Invariants:
//! - Every job is done once, and all have ended when the call returns.
//! - No job waits for another one: a flight may carry them out one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Carries out jobs that wait for a store most of the time.
pub trait Flight: Send + Sync {
    /// Calls `job` with each number below `jobs`, with at most `at_once` calls at the same time, in no order.
    fn each(&self, at_once: usize, jobs: usize, job: &(dyn Fn(usize) + Sync));
}

/// A thread for each job that is under way.
pub struct Threads;

/// One job after the other, in the calling thread.
pub struct OneByOne;

impl Flight for Threads {
    fn each(&self, at_once: usize, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    return;
                }
                job(number);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..at_once.min(jobs) {
                // A system that has no thread left makes it slower, and nothing else.
                let _ = std::thread::Builder::new().name("lake".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
    }
}

impl Flight for OneByOne {
    fn each(&self, _at_once: usize, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).for_each(job);
    }
}

/// The results of all jobs, in the order of their numbers.
pub fn gather<T: Send>(flight: &dyn Flight, at_once: usize, jobs: usize, job: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
    let slots: Vec<Mutex<Option<T>>> = (0..jobs).map(|_| Mutex::new(None)).collect();
    flight.each(at_once, jobs, &|number| {
        let result = job(number);
        *slots[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    });
    slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_job_is_done_once_and_results_are_in_order() {
        for flight in [&Threads as &dyn Flight, &OneByOne] {
            for jobs in [0, 1, 5, 300] {
                let results = gather(flight, 64, jobs, &|number| number * 2);
                assert_eq!(results, (0..jobs).map(|number| number * 2).collect::<Vec<_>>());
            }
        }
    }

    /// Ends only if as many jobs are under way at once as there may be.
    #[test]
    fn jobs_overlap() {
        let barrier = Barrier::new(8);
        Threads.each(8, 16, &|_| {
            barrier.wait();
        });
    }
}
