//! A thread that runs only while another one lets it: a follower, whose reads come between any two operations of the ingestor.
//!
//! Invariant: one of the two runs at a time, so what happens does not depend on the machine that the test runs on.

use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What unwinds a follower that is killed, or whose history is over.
pub struct Death;

#[derive(Default)]
struct State {
    /// Operations that the thread may still carry out.
    may: u64,
    /// It waits to be let go on.
    waits: bool,
    dies: bool,
    is_over: bool,
}

#[derive(Default)]
pub struct Reins {
    state: Mutex<State>,
    changed: Condvar,
}

impl Reins {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waits = true;
        self.changed.notify_all();
        while state.may == 0 && !state.dies && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waits = false;
        if std::mem::take(&mut state.dies) || state.is_over {
            drop(state);
            resume_unwind(Box::new(Death));
        }
        state
    }

    /// The thread, before an operation.
    pub fn pass(&self) {
        let mut state = self.state();
        if state.may == 0 || state.is_over {
            state = self.wait(state);
        }
        state.may = state.may.saturating_sub(1);
    }

    /// The thread has nothing to do until it is let go on.
    pub fn rest(&self) {
        let mut state = self.state();
        state.may = 0;
        drop(self.wait(state));
    }

    /// Lets the thread carry out so many operations, fewer if it has nothing to do.
    pub fn go(&self, operations: u64) {
        let mut state = self.state();
        state.may = operations;
        // One that waits goes on first.
        state.waits &= state.is_over;
        self.changed.notify_all();
        while !state.waits && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread unwinds, and then rests.
    pub fn kill(&self) {
        let mut state = self.state();
        if state.is_over {
            return;
        }
        (state.dies, state.waits, state.may) = (true, false, 0);
        self.changed.notify_all();
        while !state.waits && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// True if the thread is to end.
    pub fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// The thread ends at its next operation, or has ended.
    pub fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }
}
