//! Sidecars without their data files.
//!
//! Invariant: a sidecar that was seen without its file, and has not changed since, is an orphan, whatever file later gets
//! the name; unless that file is itself older than the sidecar (it was renamed into place) and the clock was not set back
//! in between. One that files may share is known to be without a file at the end of a whole scan.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::limits::{CLOCK_SLACK, ORPHANS_REMEMBERED_MAX};
use crate::pipeline::sidecar::is_older;
use crate::types::{FileIdentity, FileTime, UnixMillis};

/// A sidecar that was seen without its file.
#[derive(Clone, Copy, Debug)]
struct Alone {
    sidecar: FileIdentity,
    /// When: by the wall clock, and by the monotonic clock.
    seen_at: (UnixMillis, Duration),
    /// Its file is still missing, as of the last check.
    is_alone: bool,
    /// False until a whole scan has shown none of the files that may share it.
    is_sure: bool,
    scan: u32,
}

/// The sidecars, by their own names.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    seen: HashMap<Arc<OsStr>, Alone>,
    scan: u32,
}

impl Orphans {
    pub(super) fn begin_scan(&mut self) {
        self.scan = self.scan.wrapping_add(1);
    }

    /// Sidecars that the scan has not shown are gone.
    pub(super) fn end_scan(&mut self) {
        let scan = self.scan;
        self.seen.retain(|_, alone| alone.scan == scan);
        self.seen.values_mut().for_each(|alone| alone.is_sure |= alone.is_alone);
    }

    /// A sidecar exists, and its file does not; unless `is_sure`, the scan may still show one.
    pub(super) fn note(&mut self, name: &OsStr, sidecar: FileIdentity, clocks: (UnixMillis, Duration), is_sure: bool) {
        let scan = self.scan;
        if let Some(alone) = self.seen.get_mut(name).filter(|alone| alone.sidecar == sidecar) {
            (alone.is_alone, alone.scan) = (true, scan);
        } else if self.seen.contains_key(name) || self.seen.len() < ORPHANS_REMEMBERED_MAX {
            self.seen.insert(Arc::from(name), Alone { sidecar, seen_at: clocks, is_alone: true, is_sure, scan });
        }
    }

    /// Forgets the sidecar.
    pub(super) fn forget(&mut self, name: &OsStr) {
        self.seen.remove(name);
    }

    /// Both exist: true if the sidecar came first.
    pub(super) fn is_orphan(
        &mut self,
        name: &OsStr,
        born: Option<FileTime>,
        sidecar: &FileIdentity,
        clocks: impl FnOnce() -> (UnixMillis, Duration),
    ) -> bool {
        let Some(alone) = self.seen.get_mut(name) else { return is_older(sidecar, born) };
        if alone.sidecar != *sidecar || !alone.is_sure {
            self.seen.remove(name);
            return is_older(sidecar, born);
        }
        (alone.is_alone, alone.scan) = (false, self.scan);
        let (wall, mono) = clocks();
        let due = u128::from(alone.seen_at.0.0) + mono.saturating_sub(alone.seen_at.1).as_millis();
        let was_set_back = u128::from(wall.0) + CLOCK_SLACK.as_millis() < due;
        is_older(sidecar, born) || born.is_none() || was_set_back
    }

    /// The sidecars whose files are missing.
    pub(super) fn alone(&self) -> impl Iterator<Item = (&Arc<OsStr>, &FileIdentity)> {
        let alone = self.seen.iter().filter(|(_, alone)| alone.is_alone && alone.is_sure);
        alone.map(|(name, alone)| (name, &alone.sidecar))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn time(sec: i64) -> FileTime {
        FileTime { sec, nsec: 0 }
    }

    fn sidecar(ctime: i64) -> FileIdentity {
        FileIdentity { inode: 7, ctime: time(ctime), ..FileIdentity::default() }
    }

    fn clocks(seconds: u64) -> (UnixMillis, Duration) {
        (UnixMillis(seconds * 1000), SECOND * u32::try_from(seconds).unwrap())
    }

    /// A file whose sidecar was seen alone at second 10.
    fn seen_alone() -> (Arc<OsStr>, Orphans) {
        let (name, mut orphans) = (Arc::from(OsStr::new("a.csv")), Orphans::default());
        orphans.begin_scan();
        orphans.note(&name, sidecar(5), clocks(10), true);
        (name, orphans)
    }

    #[test]
    fn times_tell_which_was_first() {
        let (name, mut orphans) = seen_alone();
        assert!(orphans.is_orphan(&name, Some(time(20)), &sidecar(5), || clocks(30)));
        // Renamed into place, and older than its sidecar.
        assert!(!orphans.is_orphan(&name, Some(time(5)), &sidecar(5), || clocks(30)));
        let mut never_seen = Orphans::default();
        assert!(never_seen.is_orphan(&name, Some(time(20)), &sidecar(5), || clocks(30)));
        assert!(!never_seen.is_orphan(&name, Some(time(4)), &sidecar(5), || clocks(30)));
        assert!(!never_seen.is_orphan(&name, None, &sidecar(5), || clocks(30)));
    }

    /// Why: NFS, and ext4 with small inodes, do not record when a file was made.
    #[test]
    fn without_times_what_was_seen_counts() {
        let (name, mut orphans) = seen_alone();
        assert!(orphans.is_orphan(&name, None, &sidecar(5), || clocks(30)));
        orphans.end_scan();
        assert!(orphans.is_orphan(&name, None, &sidecar(5), || clocks(30)));
        assert_eq!(orphans.alone().count(), 0);
        // Written again.
        assert!(!orphans.is_orphan(&name, None, &sidecar(25), || clocks(30)));
        assert!(!orphans.is_orphan(&name, None, &sidecar(5), || clocks(30)));
        // Gone in between.
        let (name, mut orphans) = seen_alone();
        orphans.begin_scan();
        orphans.end_scan();
        assert!(!orphans.is_orphan(&name, None, &sidecar(5), || clocks(30)));
    }

    /// Why: after a clock was set back, a file looks older than a sidecar that existed before it.
    #[test]
    fn a_clock_that_was_set_back_proves_nothing() {
        let (name, mut orphans) = seen_alone();
        let back = (UnixMillis(2_000), 30 * SECOND);
        assert!(orphans.is_orphan(&name, Some(time(2)), &sidecar(5), || back));
        let a_bit = (UnixMillis(29_500), 30 * SECOND);
        assert!(!orphans.is_orphan(&name, Some(time(2)), &sidecar(5), || a_bit));
    }

    /// Why: in a scan, the sidecar may be listed before the first of its files.
    #[test]
    fn a_shared_sidecar_is_alone_when_a_whole_scan_has_shown_no_file() {
        let name = OsStr::new("a.done");
        let mut orphans = Orphans::default();
        orphans.begin_scan();
        orphans.note(name, sidecar(5), clocks(10), false);
        assert_eq!(orphans.alone().count(), 0);
        assert!(!orphans.is_orphan(name, None, &sidecar(5), || clocks(10)));
        orphans.note(name, sidecar(5), clocks(10), false);
        orphans.end_scan();
        assert_eq!(orphans.alone().count(), 1);
        assert!(orphans.is_orphan(name, None, &sidecar(5), || clocks(30)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut orphans = Orphans::default();
        for number in 0..2 * ORPHANS_REMEMBERED_MAX {
            orphans.note(OsStr::new(&format!("{number}.csv")), sidecar(5), clocks(10), true);
        }
        assert_eq!(orphans.alone().count(), ORPHANS_REMEMBERED_MAX);
    }
}
