//! Lists the files in the state directory by name.
//!
//! Invariants: lists ascend; nothing is opened.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::fs::{self, Fs};
use crate::journal::disk::error::Error;
use crate::journal::disk::names::{self, FileName};
use crate::types::Lsn;

/// The files of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The first LSNs of the segments.
    pub segments: Vec<Lsn>,
    /// The LSNs of the snapshots.
    pub snapshots: Vec<Lsn>,
    /// Temporary files: under construction, or leftovers.
    pub temporaries: Vec<OsString>,
    /// A name that is not the journal's, if there is one.
    pub foreign: Option<OsString>,
}

impl Files {
    /// Lists a directory.
    pub fn list<F: Fs>(fs: &F, dir: &F::Dir) -> Result<Files, Error> {
        let mut files = Files::default();
        for entry in fs.list(dir)? {
            let name = entry?.name;
            match names::parse(&name) {
                FileName::Segment(lsn) => files.segments.push(lsn),
                FileName::Snapshot(lsn) => files.snapshots.push(lsn),
                FileName::Temporary => files.temporaries.push(name),
                // `lost+found` exists at the root of a file system; a killed process leaves the control socket.
                FileName::Foreign if name != "lost+found" && name != names::CONTROL => files.foreign = Some(name),
                FileName::Foreign | FileName::Lock => {}
            }
        }
        files.segments.sort_unstable();
        files.snapshots.sort_unstable();
        Ok(files)
    }

    /// True if there is no journal here.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.snapshots.is_empty()
    }

    /// The newest snapshot (with an LSN below `until`, if given), and all segments after it.
    pub fn generation(&self, until: Option<Lsn>) -> (Option<Lsn>, Vec<Lsn>) {
        let is_before = |lsn: &Lsn| until.is_none_or(|until| *lsn < until);
        let snapshot = self.snapshots.iter().copied().rfind(is_before);
        let follows = |lsn: &Lsn| snapshot.is_none_or(|snapshot| *lsn > snapshot);
        (snapshot, self.segments.iter().copied().filter(follows).collect())
    }
}

/// Removes temporary files that a process left.
pub(in crate::journal) fn remove_temporaries<F: Fs>(fs: &F, dir: &F::Dir) -> Result<(), Error> {
    for name in Files::list(fs, dir)?.temporaries {
        fs.unlink(dir, &name)?;
    }
    Ok(())
}

/// The size of a journal on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all segments, including unused zeros.
    pub segment_bytes: u64,
    /// Bytes of all snapshots.
    pub snapshot_bytes: u64,
    /// Bytes of the newest snapshot; 0 without one.
    pub newest_snapshot_bytes: u64,
}

impl Usage {
    /// Measures the files of the journal in `path`. Its writer may be running: files that appear or disappear meanwhile
    /// may be missed.
    pub fn measure<F: Fs>(fs: &F, path: &Path) -> Result<Usage, Error> {
        let dir = fs.open_dir(path)?;
        let files = Files::list(fs, &dir)?;
        let bytes = |name: String| -> fs::Result<u64> {
            Ok(fs.stat(&dir, OsStr::new(&name))?.map_or(0, |stat| stat.identity.size))
        };
        let mut usage = Usage::default();
        for lsn in &files.segments {
            usage.segment_bytes += bytes(names::segment(*lsn))?;
        }
        for lsn in &files.snapshots {
            usage.newest_snapshot_bytes = bytes(names::snapshot(*lsn))?;
            usage.snapshot_bytes += usage.newest_snapshot_bytes;
        }
        Ok(usage)
    }
}
