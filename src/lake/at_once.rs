//! Several requests at once.
//!
//! Invariant: when the call returns, every piece of work is done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `work` with each number below `count`, from up to `threads` threads at once.
pub fn at_once(count: usize, threads: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            work(number);
        }
    };
    let further = threads.min(count).saturating_sub(1);
    thread::scope(|scope| {
        (0..further).for_each(|_| drop(scope.spawn(run)));
        run();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use super::*;

    #[test]
    fn each_piece_is_done_once() {
        for (count, threads) in [(0, 4), (1, 4), (100, 1), (100, 7), (3, 100)] {
            let done = Mutex::new(Vec::new());
            at_once(count, threads, &|number| done.lock().unwrap().push(number));
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..count).collect::<Vec<_>>(), "{count} pieces, {threads} threads");
        }
    }

    #[test]
    fn pieces_are_done_at_once() {
        let barrier = Barrier::new(5);
        at_once(5, 5, &|_| {
            barrier.wait();
        });
    }
}
