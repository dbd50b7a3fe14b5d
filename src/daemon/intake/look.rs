//! Reads staging, and handles errors of that.
//!
//! Invariants:
//! - Only a proof that the path leads to nothing, or to another directory, ends the process. Any other error (missing
//!   permission for a moment, an unreachable server, no descriptors left) proves nothing about the files: it is logged
//!   once, and the next scan tries again.
//! - With `--once`, scans that fail again and again end the process as well.

use std::time::Duration;

use super::Intake;
use crate::Error;
use crate::fs::{self, Fs as _};
use crate::limits::ONCE_STAGING_TRIES;
use crate::pipeline::scan::SCAN_SLICE_NAMES;

impl Intake {
    /// Checks the files that are due.
    pub(super) fn look_at_due(&mut self, until: Duration, now: Duration) -> Result<(), Error> {
        // The next scan finds out whether staging can be read again; until then they stay due.
        if self.staging.is_failing {
            return Ok(());
        }
        let mut names = self.settle.take_due(until, SCAN_SLICE_NAMES).into_iter();
        while let Some(name) = names.next() {
            if let Err(error) = self.scanner.look_at(&mut self.settle, &name, false, now) {
                std::iter::once(name).chain(names).for_each(|name| self.settle.remind(&name));
                return self.is_seen(Err(error), now);
            }
        }
        Ok(())
    }

    /// Checks that the staging path still leads to the directory that is open and locked. Returns an error that does
    /// not answer the question.
    ///
    /// # Errors
    /// The path leads to another directory, or to none.
    pub(super) fn check_input(&self) -> Result<Option<fs::Error>, Error> {
        let Some(input) = &self.input else { return Ok(None) };
        let fs = &self.shared.fs;
        match fs.open_dir(input).and_then(|dir| fs.stat_dir(&dir)) {
            Ok(stat) if self.staging.key.is_none_or(|key| key == stat.identity.key()) => Ok(None),
            Ok(_) => Err(Error::InputReplaced(input.clone())),
            Err(error) if proves_absence(&error) => Err(Error::InputReplaced(input.clone())),
            Err(error) => Ok(Some(error)),
        }
    }

    /// Handles the result of a part of a scan. `--once` gives up after too many failures.
    pub(super) fn is_scanned(&mut self, seen: fs::Result<()>, now: Duration) -> Result<(), Error> {
        let Err(error) = seen else { return Ok(()) };
        self.staging.scans_failed = self.staging.scans_failed.saturating_add(1);
        if self.schedule.window.is_some() && self.staging.scans_failed >= ONCE_STAGING_TRIES {
            return Err(error.into());
        }
        self.is_seen(Err(error), now)
    }

    /// Handles the result of reading staging. After an error, the next scan comes soon.
    pub(super) fn is_seen(&mut self, seen: fs::Result<()>, now: Duration) -> Result<(), Error> {
        let (Err(error), Some(input)) = (seen, &self.input) else { return Ok(()) };
        if !std::mem::replace(&mut self.staging.is_failing, true) {
            self.metrics.staging_unavailable(input, &error.to_string(), self.staging.retry_in);
        }
        self.scanner.abandon(&mut self.settle);
        let retry = now + self.staging.retry_in;
        self.schedule.next_scan = Some(self.schedule.next_scan.map_or(retry, |next| next.min(retry)));
        if self.schedule.window.is_some() {
            // `--once` cannot finish before a scan has.
            self.schedule.deadline = None;
        }
        Ok(())
    }

    /// A scan has finished.
    pub(super) fn staging_was_seen(&mut self) {
        if let Some(input) = self.input.as_ref().filter(|_| self.staging.is_failing) {
            self.metrics.staging_available(input);
        }
        (self.staging.is_failing, self.staging.scans_failed) = (false, 0);
    }
}

/// ENOENT and ENOTDIR: the path does not lead to a directory any more.
fn proves_absence(error: &fs::Error) -> bool {
    error.is_not_found() || error.source.raw_os_error() == Some(libc::ENOTDIR)
}
