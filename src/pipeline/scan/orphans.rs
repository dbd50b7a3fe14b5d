//! Sidecars that are there without their files.
//!
//! Invariant: a sidecar that was seen so, and has not changed since, is an orphan, whatever comes under its file's name; unless
//! the file itself is older than the sidecar, which a rename shows, and no clock was set back in between.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::limits::{CLOCK_SLACK, ORPHANS_REMEMBERED_MAX};
use crate::pipeline::sidecar::is_older;
use crate::types::{FileIdentity, FileTime, UnixMillis};

/// One that was seen without its file.
#[derive(Clone, Copy, Debug)]
struct Alone {
    sidecar: FileIdentity,
    /// The wall clock then, and the monotonic one.
    seen_at: (UnixMillis, Duration),
    /// Its file is not there still, as the last look showed.
    is_alone: bool,
    scan: u32,
}

/// By their files' names.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    seen: HashMap<Arc<OsStr>, Alone>,
    scan: u32,
}

impl Orphans {
    pub(super) fn begin_scan(&mut self) {
        self.scan = self.scan.wrapping_add(1);
    }

    /// What the scan has not shown is gone.
    pub(super) fn end_scan(&mut self) {
        let scan = self.scan;
        self.seen.retain(|_, alone| alone.scan == scan);
    }

    /// A sidecar is there, and its file is not.
    pub(super) fn note(&mut self, name: &Arc<OsStr>, sidecar: FileIdentity, clocks: (UnixMillis, Duration)) {
        let scan = self.scan;
        if let Some(alone) = self.seen.get_mut(name).filter(|alone| alone.sidecar == sidecar) {
            (alone.is_alone, alone.scan) = (true, scan);
        } else if self.seen.contains_key(name) || self.seen.len() < ORPHANS_REMEMBERED_MAX {
            self.seen.insert(name.clone(), Alone { sidecar, seen_at: clocks, is_alone: true, scan });
        }
    }

    /// Nothing is known of that name's sidecar any more.
    pub(super) fn forget(&mut self, name: &OsStr) {
        self.seen.remove(name);
    }

    /// Both are there: was the sidecar first?
    pub(super) fn is_orphan(
        &mut self,
        name: &OsStr,
        born: Option<FileTime>,
        sidecar: &FileIdentity,
        clocks: impl FnOnce() -> (UnixMillis, Duration),
    ) -> bool {
        let Some(alone) = self.seen.get_mut(name) else { return is_older(sidecar, born) };
        if alone.sidecar != *sidecar {
            self.seen.remove(name);
            return is_older(sidecar, born);
        }
        (alone.is_alone, alone.scan) = (false, self.scan);
        let (wall, mono) = clocks();
        let passed = mono.saturating_sub(alone.seen_at.1).saturating_sub(CLOCK_SLACK);
        let was_set_back = u128::from(wall.0) < u128::from(alone.seen_at.0.0) + passed.as_millis();
        is_older(sidecar, born) || born.is_none() || was_set_back && passed > Duration::ZERO
    }

    /// The names whose sidecars are there without them.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<OsStr>> {
        self.seen.iter().filter(|(_, alone)| alone.is_alone).map(|(name, _)| name)
    }
}
