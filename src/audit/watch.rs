//! An audit is watched: how far it has come, what it finds, and whether it is to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::finding::Reporter;

/// How far it has come. Read by others at any time.
#[derive(Debug, Default)]
pub struct Progress {
    /// Manifest lines read.
    pub lines: AtomicU64,
    /// Files looked at.
    pub files: AtomicU64,
    /// Bytes hashed.
    pub bytes: AtomicU64,
    /// Files to look at; 0 until that is known.
    pub files_total: AtomicU64,
    /// Bytes to hash.
    pub bytes_total: AtomicU64,
}

/// Who watches, and may stop it.
pub struct Watch<'a> {
    /// Set to stop early.
    pub stop: &'a AtomicBool,
    /// How far it has come.
    pub progress: &'a Progress,
    /// Is told the findings.
    pub reporter: &'a Reporter,
}

impl Watch<'_> {
    /// True if it is to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
