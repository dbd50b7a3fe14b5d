//! Waits for room on a full disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::Error;
use crate::fs;
use crate::heartbeat;
use crate::limits::FULL_DISK_RETRY;
use crate::metrics::Metrics;

/// Called while the disk is full: waits, and says whether to try again.
pub type OnFull = Box<dyn FnMut() -> bool + Send>;

/// The thread that has failed, for a message that no caller shows: the failure itself is shown.
const OTHER: &str = "other";

/// Repeats an effect that finds the disk full, and logs that once.
pub struct Patience {
    metrics: Arc<Metrics>,
    /// Shared by the threads: while one waits, the others need not try.
    on_full: Arc<Mutex<OnFull>>,
    gives_up: Arc<AtomicBool>,
    /// The disk was full at the last attempt.
    is_full: bool,
}

impl Patience {
    /// Calls `on_full` each time an effect finds the disk full.
    pub fn new(metrics: Arc<Metrics>, on_full: OnFull) -> Patience {
        let on_full = Arc::new(Mutex::new(on_full));
        Patience { metrics, on_full, gives_up: Arc::default(), is_full: false }
    }

    /// The same, for another thread, which waits no longer once `gives_up` is set.
    pub fn sibling(&self, gives_up: Arc<AtomicBool>) -> Patience {
        Patience { metrics: self.metrics.clone(), on_full: self.on_full.clone(), gives_up, is_full: false }
    }

    /// What another thread sets when it has failed: then this one does not go on.
    pub fn given_up(&self) -> Arc<AtomicBool> {
        self.gives_up.clone()
    }

    /// Called between two effects.
    ///
    /// # Errors
    /// The thread is to end.
    pub fn may_go_on(&self) -> Result<(), Error> {
        if self.gives_up.load(Ordering::Acquire) { Err(Error::Ended(OTHER)) } else { Ok(()) }
    }

    /// Repeats an effect while the disk is full.
    pub fn run<T>(&mut self, mut effect: impl FnMut() -> fs::Result<T>) -> Result<T, Error> {
        loop {
            match effect() {
                Err(error) if error.is_no_space() && !error.op.is_sync() => {
                    self.wait_for_room(&error.to_string())?;
                }
                result => {
                    self.has_room();
                    return Ok(result?);
                }
            }
        }
    }

    /// Called when the disk is full: waits. An error if `on_full` does not want to wait.
    pub fn wait_for_room(&mut self, error: &str) -> Result<(), Error> {
        if !self.is_full {
            self.metrics.disk_full(error, FULL_DISK_RETRY);
        }
        self.is_full = true;
        let mut on_full = heartbeat::waiting(|| self.on_full.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.gives_up.load(Ordering::Relaxed) && on_full() { Ok(()) } else { Err(Error::Full(error.to_owned())) }
    }

    /// Called when an effect has found room.
    pub fn has_room(&mut self) {
        if std::mem::take(&mut self.is_full) {
            self.metrics.disk_has_room();
        }
    }
}
