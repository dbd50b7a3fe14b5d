//! How often in a row a file was on its way and had to start again.
//!
//! Invariant: it holds at most [`ABANDONED_REMEMBERED_MAX`] names; when it is full, it forgets all and starts counting
//! again.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::limits::{ABANDONED_REMEMBERED_MAX, ABANDONED_TIMES_MAX};

/// The first delay before a file that failed is tried again; each further one is twice as long.
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
/// The longest such delay.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(300);
/// The counts.
#[derive(Debug, Default)]
pub(super) struct Abandonments(HashMap<Arc<OsStr>, u32>);

impl Abandonments {
    /// Counts one abandonment. Once there were [`ABANDONED_TIMES_MAX`], returns their number and how long to wait: twice
    /// as long each time.
    pub(super) fn add(&mut self, name: &Arc<OsStr>) -> Option<(u32, Duration)> {
        if self.0.len() >= ABANDONED_REMEMBERED_MAX && !self.0.contains_key(name) {
            self.0.clear();
        }
        let times = self.0.entry(name.clone()).or_default();
        *times = times.saturating_add(1);
        let over = times.checked_sub(ABANDONED_TIMES_MAX)?;
        Some((*times, RETRY_DELAY_MIN.saturating_mul(1 << over.min(16)).min(RETRY_DELAY_MAX)))
    }

    /// The file came to an end, or is gone.
    pub(super) fn end(&mut self, name: &OsStr) {
        self.0.remove(name);
    }
}
