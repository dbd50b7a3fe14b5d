//! Waits for room on a full disk.

use std::sync::Arc;

use super::error::Error;
use crate::fs;
use crate::limits::FULL_DISK_RETRY;
use crate::metrics::Metrics;

/// Called while the disk is full: waits, and says whether to try again.
pub type OnFull = Box<dyn FnMut() -> bool + Send>;

/// Repeats an effect that finds the disk full, and logs that once.
pub struct Patience {
    metrics: Arc<Metrics>,
    on_full: OnFull,
    /// The disk was full at the last attempt.
    is_full: bool,
}

impl Patience {
    /// Calls `on_full` each time an effect finds the disk full.
    pub fn new(metrics: Arc<Metrics>, on_full: OnFull) -> Patience {
        Patience { metrics, on_full, is_full: false }
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
        if (self.on_full)() { Ok(()) } else { Err(Error::Full(error.to_owned())) }
    }

    /// Called when an effect has found room.
    pub fn has_room(&mut self) {
        if std::mem::take(&mut self.is_full) {
            self.metrics.disk_has_room();
        }
    }
}
