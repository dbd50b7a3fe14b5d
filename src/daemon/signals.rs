//! Signals: SIGTERM, SIGINT and SIGHUP stop the process cleanly; signals that would kill it without need are survived.
//!
//! Invariants:
//! - A second SIGTERM or SIGINT ends the process at once, whatever it waits for. SIGHUP never does: a closing terminal
//!   and systemd (`SendSIGHUP=`) send it together with another signal.
//! - A SIGHUP that was ignored at the start (`nohup`) stays ignored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{self, Receiver};
use signal_hook::consts::{SIGHUP, SIGINT, SIGIO, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::Error;
use crate::fs::inherited::is_signal_ignored;

/// Reports that the process is to stop.
pub(super) struct Stop {
    /// Set by the first signal.
    pub(super) flag: Arc<AtomicBool>,
    /// Wakes the receiver: disconnected from the first signal on.
    pub(super) wake: Receiver<()>,
}

impl Drop for Stop {
    /// Only output follows, which may wait for its reader: from now on the first signal ends the process.
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

/// The exit code of a process that a second signal ended: a shell's code for SIGINT.
const ENDED_BY_SIGNAL: i32 = 130;

/// Survives signals whose default action kills, and that need no action:
///
/// - SIGIO is sent when a lease is broken, which `F_GETLEASE` reports.
/// - SIGXFSZ comes with EFBIG, from a write beyond `RLIMIT_FSIZE`. The error names the file.
/// - SIGUSR1 and SIGUSR2 make other programs show their status, or open their logs again.
///
/// Rust's runtime ignores SIGPIPE.
pub fn survive() -> Result<(), Error> {
    for signal in [SIGIO, libc::SIGXFSZ, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// The signals that stop the process.
fn stopping() -> Vec<i32> {
    let mut signals = vec![SIGTERM, SIGINT];
    signals.extend((!is_signal_ignored(SIGHUP)).then_some(SIGHUP));
    signals
}

/// A flag that the first signal sets; the second ends the process.
pub fn flag() -> Result<Arc<AtomicBool>, Error> {
    flag_of(&stopping())
}

fn flag_of(signals: &[i32]) -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in signals.iter().copied() {
        // In this order: the first signal finds the flag unset, the second finds it set.
        if signal != SIGHUP {
            signal_hook::flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL, flag.clone())?;
        }
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

/// Installs the handlers.
pub(super) fn install() -> Result<Stop, Error> {
    // Read once: after a handler is installed, the signal is not ignored any more.
    let stopping = stopping();
    let flag = flag_of(&stopping)?;
    let mut signals = Signals::new(&stopping)?;
    let (sender, wake) = channel::bounded(0);
    let seen = flag.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let _ = signals.forever().next();
        seen.store(true, Ordering::Relaxed);
        drop::<channel::Sender<()>>(sender);
    })?;
    Ok(Stop { flag, wake })
}
