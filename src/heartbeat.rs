//! Signs of life of the threads that the work depends on: a watchdog uses them to distinguish a hang from a slow disk,
//! and a probe to find out whether anything moves at all.
//!
//! A thread with a heartbeat takes a *step* whenever it turns its loop, makes progress with a large file, or makes a
//! file call. It sets a mark while it *waits* in a call, and while it *rests*, having nothing to do. There are two
//! questions:
//!
//! - Is a thread *stuck*? It neither waits in a call nor takes a step: it waits for a lock or a channel, or loops. How
//!   long a call to the kernel takes does not concern a watchdog: a restart does not make a disk faster.
//! - Is a thread *stalled*? It does not rest, and has not turned for long, for whatever reason.
//!
//! Invariants: only the thread itself writes its heartbeat, except [`Heartbeats::restart`]. For a thread without a
//! heartbeat, all of this costs one read of a thread-local variable. Only a turn reads the clock; a file call does not.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

thread_local! {
    static OWN: RefCell<Option<Arc<Heartbeat>>> = const { RefCell::new(None) };
}

/// One thread's sign of life.
#[derive(Debug)]
struct Heartbeat {
    thread: Arc<str>,
    steps: AtomicU64,
    waits: AtomicBool,
    origin: Instant,
    /// Milliseconds since `origin`, plus one, at its last turn; 0 while it rests.
    turned_at: AtomicU64,
}

impl Heartbeat {
    fn step(&self) {
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps.store(steps.wrapping_add(1), Ordering::Release);
    }

    fn turn(&self) {
        self.turned_at.store(self.now(), Ordering::Relaxed);
    }

    /// Unless the thread rests: it may have begun to since the caller looked.
    fn turn_if_at_work(&self) {
        let now = self.now();
        let _ = self.turned_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |then| (then != 0).then_some(now));
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// None while it rests.
    fn since_turn(&self) -> Option<Duration> {
        let turned_at = self.turned_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.origin.elapsed().saturating_sub(Duration::from_millis(turned_at)))
    }
}

/// A thread that makes no progress.
#[derive(Debug, PartialEq, Eq)]
pub struct Stall {
    /// Its name.
    pub thread: Arc<str>,
    /// How long it has been busy with the same thing.
    pub lasts: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} has not moved for {} s", self.thread, self.lasts.as_secs())
    }
}

/// The heartbeats of all threads that are watched together.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats {
    all: Arc<Mutex<Vec<Arc<Heartbeat>>>>,
}

/// While this exists, the thread that made it is watched.
#[must_use]
pub struct Beating {
    heartbeat: Arc<Heartbeat>,
    heartbeats: Heartbeats,
}

impl Heartbeats {
    /// Gives the calling thread a heartbeat with this name. It rests until its first step.
    pub fn begin(&self, thread: &str) -> Beating {
        let heartbeat = Arc::new(Heartbeat {
            thread: thread.into(),
            steps: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            origin: Instant::now(),
            turned_at: AtomicU64::new(0),
        });
        self.with(|all| all.push(heartbeat.clone()));
        OWN.set(Some(heartbeat.clone()));
        Beating { heartbeat, heartbeats: self.clone() }
    }

    /// The thread that has been busy with one thing for the longest time, if that is longer than `longer_than`.
    pub fn stalled(&self, longer_than: Duration) -> Option<Stall> {
        self.with(|all| {
            let at_work = all.iter().filter_map(|heartbeat| Some((heartbeat.since_turn()?, heartbeat)));
            let (lasts, heartbeat) = at_work.max_by_key(|(lasts, _)| *lasts)?;
            (lasts > longer_than).then(|| Stall { thread: heartbeat.thread.clone(), lasts })
        })
    }

    /// Restarts the time of all busy threads: something has ended for which all of them may have waited.
    pub fn restart(&self) {
        self.with(|all| all.iter().for_each(|heartbeat| heartbeat.turn_if_at_work()));
    }

    fn with<T>(&self, use_them: impl FnOnce(&mut Vec<Arc<Heartbeat>>) -> T) -> T {
        // The list of heartbeats is valid whenever its lock is free, even after a panic.
        use_them(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        OWN.set(None);
        self.heartbeats.with(|all| all.retain(|heartbeat| !Arc::ptr_eq(heartbeat, &self.heartbeat)));
    }
}

fn with_own(use_it: impl FnOnce(&Heartbeat)) {
    OWN.with_borrow(|own| {
        if let Some(heartbeat) = own {
            use_it(heartbeat);
        }
    });
}

/// The calling thread has made progress: it has turned its loop, or done a part of something that takes long.
pub fn step() {
    with_own(|heartbeat| {
        heartbeat.step();
        heartbeat.turn();
    });
}

/// The calling thread has nothing to do, until its next step.
pub fn rest() {
    with_own(|heartbeat| {
        heartbeat.step();
        heartbeat.turned_at.store(0, Ordering::Relaxed);
    });
}

/// Makes a call that may take as long as the kernel needs.
pub fn waiting<T>(call: impl FnOnce() -> T) -> T {
    let set = |waits| {
        with_own(|heartbeat| {
            // The step first: a reader that sees the end of the wait must see the step, too.
            heartbeat.step();
            heartbeat.waits.store(waits, Ordering::Release);
        });
    };
    set(true);
    let result = call();
    set(false);
    result
}

/// Checks the heartbeats repeatedly, and compares each with its state at the check before.
#[derive(Debug, Default)]
pub struct Examiner {
    heartbeats: Heartbeats,
    /// The steps at the last check.
    before: Vec<(Arc<Heartbeat>, u64)>,
}

impl Examiner {
    /// One that has not checked anything yet.
    pub fn new(heartbeats: &Heartbeats) -> Examiner {
        Examiner { heartbeats: heartbeats.clone(), before: Vec::new() }
    }

    /// The threads that have not taken a step since the last check, and do not wait in a call to the kernel.
    pub fn stuck(&mut self) -> Vec<String> {
        let feel = |heartbeat: &Arc<Heartbeat>| {
            let waits = heartbeat.waits.load(Ordering::Acquire);
            (heartbeat.clone(), waits, heartbeat.steps.load(Ordering::Acquire))
        };
        let now: Vec<_> = self.heartbeats.with(|all| all.iter().map(feel).collect());
        let is_stuck = |heartbeat: &Arc<Heartbeat>, waits: bool, steps: u64| {
            !waits && self.before.iter().any(|(known, then)| Arc::ptr_eq(known, heartbeat) && *then == steps)
        };
        let stuck = now.iter().filter(|(heartbeat, waits, steps)| is_stuck(heartbeat, *waits, *steps));
        let stuck = stuck.map(|(heartbeat, ..)| heartbeat.thread.to_string()).collect();
        self.before = now.into_iter().map(|(heartbeat, _, steps)| (heartbeat, steps)).collect();
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_no_step_is_stuck_unless_it_waits_for_the_kernel_or_has_ended() {
        let heartbeats = Heartbeats::default();
        let mut examiner = Examiner::new(&heartbeats);
        let beating = heartbeats.begin("a");
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
        assert_eq!(waiting(|| 1), 1, "without a heartbeat nothing happens");
    }

    #[test]
    fn who_is_at_one_thing_for_long_is_stalled_and_who_rests_is_not() {
        const LONG: Duration = Duration::from_millis(30);
        let heartbeats = Heartbeats::default();
        let _beating = heartbeats.begin("one");
        std::thread::sleep(LONG);
        assert_eq!(heartbeats.stalled(Duration::ZERO), None, "it has not begun anything yet");
        step();
        assert_eq!(heartbeats.stalled(Duration::from_secs(300)), None);
        waiting(|| std::thread::sleep(2 * LONG));
        let stall = heartbeats.stalled(LONG).expect("it does not matter that this was a call");
        assert_eq!(&*stall.thread, "one");
        assert!(stall.lasts >= 2 * LONG);
        heartbeats.restart();
        let lasts = heartbeats.stalled(Duration::ZERO).map_or(Duration::ZERO, |stall| stall.lasts);
        assert!(lasts < stall.lasts);
        rest();
        std::thread::sleep(LONG);
        assert_eq!(heartbeats.stalled(Duration::ZERO), None);
        heartbeats.restart();
        std::thread::sleep(LONG);
        assert_eq!(heartbeats.stalled(Duration::ZERO), None, "it still rests");
        step();
        std::thread::sleep(LONG);
        assert!(heartbeats.stalled(Duration::ZERO).is_some());
    }
}
