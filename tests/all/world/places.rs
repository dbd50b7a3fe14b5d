//! Directories that are missing, replaced, restored from a backup, or used by several users.

mod claims;
mod missing;
mod older;
mod running;
mod users;

use std::path::Path;

use crate::harness::sh;

/// Copies with owners, modes and times, like a backup.
fn copy(from: &Path, to: &Path) {
    sh("cp", &["-a".as_ref(), "-T".as_ref(), from.as_ref(), to.as_ref()]);
}
