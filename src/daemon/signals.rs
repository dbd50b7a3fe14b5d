//! SIGTERM and SIGINT: the first stops cleanly, the second ends at once. SIGIO, which a broken lease sends, is
//! survived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{self, Receiver};
use signal_hook::consts::{SIGINT, SIGIO, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Error;

/// Tells that the process is to stop.
pub(super) struct Stop {
    /// Set by the first signal.
    pub(super) flag: Arc<AtomicBool>,
    /// Wakes whoever waits; disconnected from the first signal on.
    pub(super) wake: Receiver<()>,
}

/// The exit code of a process that a second signal ended: as a shell counts it, for SIGINT.
const ENDED_BY_SIGNAL: i32 = 130;

/// The lease is asked by F_GETLEASE; the signal itself tells nothing, but its default would kill us.
pub fn survive_broken_leases() -> Result<(), Error> {
    signal_hook::flag::register(SIGIO, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// A flag that the first signal sets; the second ends the process.
pub fn flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag unset, the second finds it set.
        signal_hook::flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

/// Installs the handlers.
pub(super) fn install() -> Result<Stop, Error> {
    let flag = flag()?;
    survive_broken_leases()?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, wake) = channel::bounded(0);
    let seen = flag.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let _ = signals.forever().next();
        seen.store(true, Ordering::Relaxed);
        drop::<channel::Sender<()>>(sender);
    })?;
    Ok(Stop { flag, wake })
}
