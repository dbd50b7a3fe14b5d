//! Remembers which messages about sidecars were logged, so that each is logged once.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::limits::SIDECARS_LOGGED_MAX;
use crate::log;
use crate::types::FileIdentity;

/// The sidecars with a logged message, the newest last.
#[derive(Debug, Default)]
pub struct Notes {
    told: Mutex<VecDeque<(u8, FileIdentity)>>,
}

const ORPHANED: u8 = 1;
const NOT_UNDERSTOOD: u8 = 2;

impl Notes {
    fn is_first(&self, what: u8, sidecar: &FileIdentity) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&(what, *sidecar)) {
            return false;
        }
        if told.len() >= SIDECARS_LOGGED_MAX {
            told.pop_front();
        }
        told.push_back((what, *sidecar));
        true
    }

    /// Logs, once, that a sidecar existed before its file.
    pub fn orphaned(&self, sidecar: &FileIdentity, path: &Path) {
        if self.is_first(ORPHANED, sidecar) {
            tracing::warn!(
                event = "orphaned_sidecar",
                path = log::path(path),
                "it was there before its file: unless it holds a checksum, it releases nothing until it is written again"
            );
        }
    }

    /// Logs, once, that a sidecar has content but no checksum.
    pub fn not_understood(&self, sidecar: &FileIdentity, path: &Path) {
        if self.is_first(NOT_UNDERSTOOD, sidecar) {
            tracing::warn!(
                event = "sidecar_not_understood",
                path = log::path(path),
                "it holds no checksum that is known: its file counts as complete, and was not verified"
            );
        }
    }
}
