//! Marks a directory as used by one ingestor: a lock on the directory that no other program takes by chance.
//!
//! Scripts use flock(2) on directories (`flock DIR command`), and any user who may read the directory can hold it. A
//! lock file in the directory would have a name that upstreams could create first. So an ingestor holds a shared record
//! lock on one byte of the directory, far beyond the size of any file: its offset encodes the process, and no flock
//! conflicts with it. The kernel releases it when the process ends, however it ends.
//!
//! Invariants:
//! - Two ingestors never have the same directory. If two try at the same moment, at most one gets it.
//! - The lock belongs to the open directory, not to the process: opening and closing the directory elsewhere does not
//!   release it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::lease::{Range, held_by_others, set_shared};

/// "csv" as the high bytes; the low 32 bits are the pid.
const BASE: i64 = 0x63_73_76 << 32;
/// No pid is larger (at most 2^22, proc_sys_kernel(5)).
const PIDS: i64 = 1 << 32;
/// The wait, and the most waits, for an ingestor that tried at the same moment to remove its mark.
const RETREAT_PAUSE: Duration = Duration::from_millis(10);
const RETREAT_PAUSES_MAX: u32 = 20;

/// The pid of another ingestor that has marked the directory.
pub(super) fn holder(dir: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let held = held_by_others(dir, Range { start: BASE, len: PIDS })?;
    Ok(held.map(|start| u32::try_from(start - BASE).unwrap_or(0)))
}

/// Marks the directory for this process; false if another ingestor has marked it.
pub(super) fn take(dir: BorrowedFd<'_>) -> io::Result<bool> {
    if holder(dir)?.is_some() {
        return Ok(false);
    }
    let own = i64::from(std::process::id());
    let mine = Range { start: BASE + own, len: 1 };
    set_shared(dir, mine, true)?;
    // Another ingestor may have checked and marked at the same moment. The one with the lower pid stays, the other
    // removes its mark; an ingestor that was already done keeps its mark.
    for _ in 0..RETREAT_PAUSES_MAX {
        match holder(dir)? {
            None => return Ok(true),
            Some(_) if held_by_others(dir, Range { start: BASE, len: own + 1 })?.is_some() => break,
            Some(_) => std::thread::sleep(RETREAT_PAUSE),
        }
    }
    set_shared(dir, mine, false)?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn one_has_it_at_a_time_and_an_flock_is_no_mark() {
        let place = tempfile::tempdir().unwrap();
        let open = || std::fs::File::open(place.path()).unwrap();
        let (one, two, stranger) = (open(), open(), open());
        fs2::FileExt::lock_exclusive(&stranger).unwrap();
        assert!(take(one.as_fd()).unwrap());
        assert_eq!(holder(one.as_fd()).unwrap(), None, "its own");
        assert_eq!(holder(two.as_fd()).unwrap(), Some(std::process::id()));
        assert!(!take(two.as_fd()).unwrap());
        drop((stranger, open()));
        assert!(!take(two.as_fd()).unwrap(), "closing another one gives nothing up");
        drop(one);
        assert!(take(two.as_fd()).unwrap());
    }

    #[test]
    fn of_many_at_the_same_moment_at_most_one_gets_it() {
        let place = tempfile::tempdir().unwrap();
        let open = || std::fs::File::open(place.path()).unwrap();
        let attempts: Vec<(bool, std::fs::File)> = std::thread::scope(|scope| {
            let attempt = || {
                let dir = open();
                (take(dir.as_fd()).unwrap(), dir)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // No attempt has closed its directory until here.
        let winners = attempts.iter().filter(|(won, _)| *won).count();
        assert!(winners <= 1);
    }
}
