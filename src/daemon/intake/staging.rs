//! The staging directory as a whole: is it still there, and can it be looked at?
//!
//! Invariant: only what proves that the path stands for nothing, or for another directory, ends the process. Anything else (no
//! permission for a moment, a server that is away, no descriptors left) says nothing of the files: it is said once, and tried
//! again with the next scan.

use std::sync::Arc;
use std::time::Duration;

use super::Intake;
use crate::Error;
use crate::config::Config;
use crate::fs::real::RealFs;
use crate::fs::{self, Fs as _};
use crate::limits::{FULL_DISK_RETRY, ONCE_STAGING_TRIES};
use crate::pipeline::hash::Shared;
use crate::pipeline::scan::SCAN_SLICE_NAMES;

/// What is known of it.
pub(super) struct Staging {
    /// Device and inode of what we have open and locked.
    key: Option<(u64, u64)>,
    /// It could not be looked at the last time.
    is_failing: bool,
    /// Scans that came to nothing, one behind the other.
    scans_failed: u32,
    /// After so long it is tried again.
    retry_in: Duration,
}

impl Staging {
    pub(super) fn new(shared: &Arc<Shared<RealFs>>, config: Option<&Config>) -> Staging {
        let key = shared.fs.stat_dir(&shared.staging).ok().map(|stat| stat.identity.key());
        let retry_in = config.map_or(FULL_DISK_RETRY, |config| config.scan_interval);
        Staging { key, is_failing: false, scans_failed: 0, retry_in }
    }

    /// It could not be looked at the last time.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }
}

impl Intake {
    /// Looks at the files whose time has come.
    pub(super) fn look_at_due(&mut self, until: Duration, now: Duration) -> Result<(), Error> {
        // The next scan finds out whether anything can be seen again; until then they are due still.
        if self.staging.is_failing() {
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

    /// The staging path still stands for the directory that we have open and locked; or it cannot be told.
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

    /// Hears whether a part of a scan succeeded. `--once` gives up when it has failed too often.
    pub(super) fn is_scanned(&mut self, seen: fs::Result<()>, now: Duration) -> Result<(), Error> {
        let Err(error) = seen else { return Ok(()) };
        self.staging.scans_failed = self.staging.scans_failed.saturating_add(1);
        if self.window.is_some() && self.staging.scans_failed >= ONCE_STAGING_TRIES {
            return Err(error.into());
        }
        self.is_seen(Err(error), now)
    }

    /// Hears whether a look at staging succeeded. If not, the next scan comes soon.
    pub(super) fn is_seen(&mut self, seen: fs::Result<()>, now: Duration) -> Result<(), Error> {
        let (Err(error), Some(input)) = (seen, &self.input) else { return Ok(()) };
        if !std::mem::replace(&mut self.staging.is_failing, true) {
            self.metrics.staging_unavailable(input, &error.to_string(), self.staging.retry_in);
        }
        self.scanner.abandon(&mut self.settle);
        let retry = now + self.staging.retry_in;
        self.next_scan = Some(self.next_scan.map_or(retry, |next| next.min(retry)));
        if self.window.is_some() {
            // Nothing is through before a scan is.
            self.deadline = None;
        }
        Ok(())
    }

    /// A scan came to its end.
    pub(super) fn staging_was_seen(&mut self) {
        if let Some(input) = self.input.as_ref().filter(|_| self.staging.is_failing) {
            self.metrics.staging_available(input);
        }
        (self.staging.is_failing, self.staging.scans_failed) = (false, 0);
    }
}

/// ENOENT and ENOTDIR: the path stands for no directory any more.
fn proves_absence(error: &fs::Error) -> bool {
    error.is_not_found() || error.source.raw_os_error() == Some(libc::ENOTDIR)
}
