//! Several requests at once.
//!
//! Invariants:
//! - Every job is done once, and all have ended when the call returns. A job that goes on beside the caller is done at most
//!   once: not at all if nobody waits for it any more.
//! - No job waits for another one: a flight may carry them out one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Carries out jobs that wait for a store most of the time.
pub trait Flight: Send + Sync {
    /// Calls `job` with each number below `jobs`, with at most `at_once` calls at the same time, in no order.
    fn each(&self, at_once: usize, jobs: usize, job: &(dyn Fn(usize) + Sync));

    /// Begins a job that goes on beside the caller.
    fn begin(&self, job: Job) -> Box<dyn Begun> {
        Box::new(Later { job: Some(job), looks: 0 })
    }
}

/// A job that goes on beside the caller.
pub type Job = Box<dyn FnOnce() + Send>;

/// A job that was begun. Dropped, nobody waits for it any more: it may go on all the same.
pub trait Begun: Send {
    /// Waits for its end, but not longer than this. True if it has ended.
    fn wait(&mut self, most: Duration) -> bool;
}

/// A job that the waiting thread carries out: when it really waits, or has looked for the last time.
struct Later {
    job: Option<Job>,
    looks: u32,
}

/// After so many looks the job is carried out even if nobody waits.
const LOOKS_MAX: u32 = 3;

impl Begun for Later {
    fn wait(&mut self, most: Duration) -> bool {
        self.looks += 1;
        if most.is_zero() && self.looks < LOOKS_MAX && self.job.is_some() {
            return false;
        }
        if let Some(job) = self.job.take() {
            job();
        }
        true
    }
}

/// A job in a thread of its own, which says when it has ended.
struct Beside(Receiver<()>);

impl Begun for Beside {
    fn wait(&mut self, most: Duration) -> bool {
        // A thread that has ended without a word has ended as well.
        !matches!(self.0.recv_timeout(most), Err(RecvTimeoutError::Timeout))
    }
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

    fn begin(&self, job: Job) -> Box<dyn Begun> {
        let (ends, ended) = sync_channel(1);
        let job = Arc::new(Mutex::new(Some(job)));
        let take = |job: &Mutex<Option<Job>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
        let theirs = job.clone();
        let run = move || {
            if let Some(job) = take(&theirs) {
                job();
            }
            let _ = ends.send(());
        };
        match std::thread::Builder::new().name("lake-beside".to_owned()).spawn(run) {
            Ok(_) => Box::new(Beside(ended)),
            // A system that has no thread left makes it slower, and nothing else.
            Err(_) => Box::new(Later { job: take(&job), looks: 0 }),
        }
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

    #[test]
    fn a_job_beside_the_caller_is_done_once() {
        for flight in [&Threads as &dyn Flight, &OneByOne] {
            let done = Arc::new(AtomicUsize::new(0));
            let counted = done.clone();
            let mut begun = flight.begin(Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }));
            while !begun.wait(Duration::from_millis(10)) {}
            assert!(begun.wait(Duration::ZERO));
            assert_eq!(done.load(Ordering::Relaxed), 1);
        }
    }

    /// The caller goes on while the job waits for it.
    #[test]
    fn a_job_goes_on_beside_the_caller() {
        let (ask, asked) = sync_channel::<()>(0);
        let mut begun = Threads.begin(Box::new(move || asked.recv().unwrap()));
        assert!(!begun.wait(Duration::ZERO));
        ask.send(()).unwrap();
        while !begun.wait(Duration::from_millis(10)) {}
    }

    /// Where the caller carries it out, it ends although nobody waits: somebody looks again and again.
    #[test]
    fn looks_bring_a_job_to_its_end() {
        let mut begun = OneByOne.begin(Box::new(|| {}));
        assert_eq!([0; 3].map(|_| begun.wait(Duration::ZERO)), [false, false, true]);
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
