//! Directories that are missing, replaced, older than each other, or used by several users.

mod claims;
mod missing;
mod older;
mod running;
mod users;

use std::path::Path;

use crate::harness::sh;

/// A copy with owners, modes and times, as a backup has them.
fn copy(from: &Path, to: &Path) {
    sh("cp", &["-a".as_ref(), "-T".as_ref(), from.as_ref(), to.as_ref()]);
}
