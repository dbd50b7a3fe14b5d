//! Replaces a small file as a whole: for files that other programs read and that no recovery needs.
//!
//! Invariants: a reader sees the old text or the new text, never a part; nothing is synced, since a power cut may lose
//! the file; only links in the directory's path are followed.

use std::ffi::OsString;
use std::fs::{Permissions, remove_file, rename};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Error, Result, Syscall};

/// Appended to the name while the file is written: a reader that selects files by extension ignores it.
const UNFINISHED: &str = ".tmp";

/// All users may read it: the collector of such files runs as another user.
const MODE: u32 = 0o644;

/// Writes `text` to a temporary file beside `path` and renames it to `path`, replacing the old file.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let unfinished = unfinished(path);
    let failed = |op: Syscall, source: io::Error| Error { op, path: unfinished.clone(), source };
    match remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(Syscall::Unlink, error)),
        _ => {}
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(&unfinished);
    let mut file = opened.map_err(|error| failed(Syscall::Open, error))?;
    let written = file
        .write_all(text.as_bytes())
        .map_err(|error| failed(Syscall::Pwrite, error))
        // The umask may have removed the readers' bits.
        .and_then(|()| {
            file.set_permissions(Permissions::from_mode(MODE)).map_err(|error| failed(Syscall::Fchmod, error))
        })
        .and_then(|()| rename(&unfinished, path).map_err(|error| failed(Syscall::Rename, error)));
    written.inspect_err(|_| drop(remove_file(&unfinished)))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(UNFINISHED);
    name.into()
}
