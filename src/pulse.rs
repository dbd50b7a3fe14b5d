//! Signs of life of the threads that the work depends on, so that a watchdog can tell a hang from a slow disk.
//!
//! A thread that has a pulse takes a *step* whenever it turns its loop and at every file call, and says so while it *waits*
//! in one. One that neither waits in a call nor takes a step for long is stuck: on a lock, on a channel, in a loop. How
//! long a call to the kernel takes is no business of a watchdog: a restart does not make a disk faster.
//!
//! Invariants: only the thread itself writes its pulse. A thread without one pays a look at a thread-local variable.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

thread_local! {
    static OWN: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// One thread's sign of life.
#[derive(Debug)]
struct Pulse {
    thread: String,
    steps: AtomicU64,
    waits: AtomicBool,
}

impl Pulse {
    fn step(&self) {
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps.store(steps.wrapping_add(1), Ordering::Release);
    }
}

/// The pulses of all threads that are watched together.
#[derive(Clone, Debug, Default)]
pub struct Pulses {
    all: Arc<Mutex<Vec<Arc<Pulse>>>>,
}

/// While this lives, the thread that made it is watched.
#[must_use]
pub struct Beating {
    pulse: Arc<Pulse>,
    pulses: Pulses,
}

impl Pulses {
    /// Gives the calling thread a pulse, under this name.
    pub fn begin(&self, thread: &str) -> Beating {
        let pulse =
            Arc::new(Pulse { thread: thread.to_owned(), steps: AtomicU64::new(0), waits: AtomicBool::new(false) });
        self.with(|all| all.push(pulse.clone()));
        OWN.set(Some(pulse.clone()));
        Beating { pulse, pulses: self.clone() }
    }

    fn with<T>(&self, use_them: impl FnOnce(&mut Vec<Arc<Pulse>>) -> T) -> T {
        // A list of pulses is whole whenever its lock is free, whoever panicked.
        use_them(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        OWN.set(None);
        self.pulses.with(|all| all.retain(|pulse| !Arc::ptr_eq(pulse, &self.pulse)));
    }
}

/// The calling thread has gone on.
pub fn step() {
    OWN.with_borrow(|own| {
        if let Some(pulse) = own {
            pulse.step();
        }
    });
}

/// Does what may take as long as the kernel likes.
pub fn waiting<T>(call: impl FnOnce() -> T) -> T {
    let set = |waits| {
        OWN.with_borrow(|own| {
            if let Some(pulse) = own {
                // The step first: whoever sees that the wait is over sees the step, too.
                pulse.step();
                pulse.waits.store(waits, Ordering::Release);
            }
        });
    };
    set(true);
    let result = call();
    set(false);
    result
}

/// Feels the pulses, again and again.
#[derive(Debug, Default)]
pub struct Examiner {
    pulses: Pulses,
    /// What was felt the last time.
    before: Vec<(Arc<Pulse>, u64)>,
}

impl Examiner {
    /// One that has not felt anything yet.
    pub fn new(pulses: &Pulses) -> Examiner {
        Examiner { pulses: pulses.clone(), before: Vec::new() }
    }

    /// The threads that have not taken a step since the last time, and wait for no call to the kernel.
    pub fn stuck(&mut self) -> Vec<String> {
        let feel = |pulse: &Arc<Pulse>| {
            let waits = pulse.waits.load(Ordering::Acquire);
            (pulse.clone(), waits, pulse.steps.load(Ordering::Acquire))
        };
        let now: Vec<_> = self.pulses.with(|all| all.iter().map(feel).collect());
        let is_stuck = |pulse: &Arc<Pulse>, waits: bool, steps: u64| {
            !waits && self.before.iter().any(|(known, then)| Arc::ptr_eq(known, pulse) && *then == steps)
        };
        let stuck = now.iter().filter(|(pulse, waits, steps)| is_stuck(pulse, *waits, *steps));
        let stuck = stuck.map(|(pulse, ..)| pulse.thread.clone()).collect();
        self.before = now.into_iter().map(|(pulse, _, steps)| (pulse, steps)).collect();
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_no_step_is_stuck_unless_it_waits_for_the_kernel_or_has_ended() {
        let pulses = Pulses::default();
        let mut examiner = Examiner::new(&pulses);
        let beating = pulses.begin("a");
        assert_eq!(examiner.stuck(), [""; 0], "nothing to compare with yet");
        assert_eq!(examiner.stuck(), ["a"]);
        step();
        assert_eq!(examiner.stuck(), [""; 0]);
        waiting(|| {
            assert_eq!(examiner.stuck(), [""; 0]);
            assert_eq!(examiner.stuck(), [""; 0], "however long it takes");
        });
        assert_eq!(examiner.stuck(), [""; 0], "the call has ended: that is a step");
        assert_eq!(examiner.stuck(), ["a"]);
        drop(beating);
        assert_eq!(examiner.stuck(), [""; 0]);
        step();
        assert_eq!(waiting(|| 1), 1, "without a pulse nothing happens");
    }
}
