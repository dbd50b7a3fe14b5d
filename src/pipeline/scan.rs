//! What lies in the staging directory: listing it in slices, and looking at single names.
//!
//! Invariants: only regular files are shown to anybody; nothing is opened; a name is never followed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;

use super::settle::{Settle, Sighting};
use super::sidecar::{data_name, sidecar_name};
use crate::fs::{self, FileKind, Fs};
use crate::limits::{SCAN_REST_FACTOR, SCAN_REST_MAX};

/// Names looked at before the scan lets others go on.
pub const SCAN_SLICE_NAMES: usize = 512;

/// Endings of files that are still being written.
const TEMPORARY_SUFFIXES: [&[u8]; 3] = [b".tmp", b".part", b".swp"];

/// Which names are for us.
#[derive(Clone, Debug)]
pub struct NameRules {
    /// What `--include` allows; None allows all.
    pub include: Option<GlobSet>,
    /// In sidecar mode, the ending of sidecars.
    pub sidecar_suffix: Option<OsString>,
}

impl NameRules {
    /// True for the name of a data file.
    pub fn wants(&self, name: &OsStr) -> bool {
        let bytes = name.as_bytes();
        let is_sidecar = self.sidecar_suffix.as_ref().is_some_and(|suffix| data_name(name, suffix).is_some());
        !bytes.starts_with(b".")
            && !TEMPORARY_SUFFIXES.iter().any(|suffix| bytes.ends_with(suffix))
            && !is_sidecar
            && self.include.as_ref().is_none_or(|include| include.is_match(name))
    }

    /// The data file that an event on `name` is about.
    pub fn subject(&self, name: &OsStr) -> Option<OsString> {
        let data = self.sidecar_suffix.as_ref().and_then(|suffix| data_name(name, suffix));
        let name = data.unwrap_or_else(|| name.to_owned());
        self.wants(&name).then_some(name)
    }
}

/// The eyes on the staging directory.
pub struct Scanner<F: Fs> {
    fs: F,
    staging: Arc<F::Dir>,
    rules: NameRules,
    listing: Option<F::Listing>,
}

impl<F: Fs> Scanner<F> {
    /// Looks at `staging` by `rules`.
    pub fn new(fs: F, staging: Arc<F::Dir>, rules: NameRules) -> Scanner<F> {
        Scanner { fs, staging, rules, listing: None }
    }

    /// Begins a scan of the whole directory, unless one is under way.
    pub fn begin(&mut self, settle: &mut Settle) -> fs::Result<()> {
        if self.listing.is_none() {
            self.listing = Some(self.fs.list(&self.staging)?);
            settle.begin_scan();
        }
        Ok(())
    }

    /// True while a scan is under way.
    pub fn is_scanning(&self) -> bool {
        self.listing.is_some()
    }

    /// Looks at the next names of the scan under way.
    pub fn slice(&mut self, settle: &mut Settle, now: Duration) -> fs::Result<()> {
        for _ in 0..SCAN_SLICE_NAMES {
            let Some(listing) = &mut self.listing else { return Ok(()) };
            let Some(entry) = listing.next() else {
                self.listing = None;
                settle.end_scan();
                return Ok(());
            };
            let entry = entry?;
            if entry.kind.is_some_and(|kind| kind != FileKind::Regular) {
                continue;
            }
            if self.rules.wants(&entry.name) {
                self.look_at(settle, &Arc::from(entry.name), false, now)?;
            } else if settle.searches() {
                match self.fs.stat(&self.staging, &entry.name) {
                    Ok(stat) => stat.iter().for_each(|stat| settle.found_elsewhere(&stat.identity)),
                    Err(_) => settle.could_not_look(),
                }
            }
        }
        Ok(())
    }

    /// Looks at what an event was about.
    pub fn look(&self, settle: &mut Settle, name: &OsStr, now: Duration) -> fs::Result<()> {
        match self.rules.subject(name) {
            Some(name) => self.look_at(settle, &Arc::from(name), true, now),
            None => Ok(()),
        }
    }

    /// Looks at a data file by its name.
    pub fn look_at(&self, settle: &mut Settle, name: &Arc<OsStr>, nudged: bool, now: Duration) -> fs::Result<()> {
        let stat = self.fs.stat(&self.staging, name).unwrap_or_else(|error| {
            // One bad inode is no reason to stop; it is seen again at the next scan.
            tracing::warn!(event = "stat_failed", path = %error.path.display(), error = %error);
            settle.could_not_look();
            None
        });
        let stat = stat.filter(|stat| stat.kind == FileKind::Regular);
        let sighting = match (stat, &self.rules.sidecar_suffix) {
            (None, _) => None,
            (Some(stat), None) => Some(Sighting { stat, sidecar: None }),
            (Some(stat), Some(suffix)) => {
                let name = sidecar_name(name, suffix);
                // A sidecar whose name would be too long cannot exist.
                let found = self.fs.stat(&self.staging, &name).unwrap_or(None);
                let sidecar = found.filter(|stat| stat.kind == FileKind::Regular).map(|stat| stat.identity);
                Some(Sighting { stat, sidecar })
            }
        };
        settle.see(name, sighting.as_ref(), nudged, now);
        Ok(())
    }
}

/// How long to wait for the next scan, behind one that took so long. Where nothing can have been missed, scans take a small
/// part of the time only: each looks at every kept duplicate, and there may be a great many.
pub fn scan_pause(interval: Duration, took: Duration, hears_all: bool) -> Duration {
    if !hears_all {
        return interval;
    }
    let rest = took.saturating_mul(SCAN_REST_FACTOR).min(SCAN_REST_MAX);
    interval.max(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_take_a_small_part_of_the_time_where_nothing_is_missed() {
        let [interval, short, long] = [5, 1, 4].map(Duration::from_secs);
        assert_eq!(scan_pause(interval, short / 1000, true), interval);
        assert_eq!(scan_pause(interval, short, true), short * SCAN_REST_FACTOR);
        assert_eq!(scan_pause(interval, long, true), SCAN_REST_MAX);
        assert_eq!(scan_pause(interval, long, false), interval);
        assert_eq!(scan_pause(SCAN_REST_MAX * 2, long, true), SCAN_REST_MAX * 2);
    }
}
