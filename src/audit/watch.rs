//! The view on a running audit: its progress, its findings, and a flag to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::finding::Reporter;

/// The progress of an audit. Other threads may read it at any time.
#[derive(Debug, Default)]
pub struct Progress {
    /// Manifest lines read.
    pub lines: AtomicU64,
    /// Files checked.
    pub files: AtomicU64,
    /// Bytes hashed.
    pub bytes: AtomicU64,
    /// Files to check; 0 until that is known.
    pub files_total: AtomicU64,
    /// Bytes to hash.
    pub bytes_total: AtomicU64,
}

/// The connection between an audit and its caller.
pub struct Watch<'a> {
    /// Set to stop early.
    pub stop: &'a AtomicBool,
    /// Its progress.
    pub progress: &'a Progress,
    /// Receives the findings.
    pub reporter: &'a Reporter,
}

impl Watch<'_> {
    /// True if the audit is to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
