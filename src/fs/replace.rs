//! A small file that is written anew, whole: for what other programs read and nobody recovers from.
//!
//! Invariants: a reader sees the text before or the text after, never a part; nothing is synced, since a power cut may
//! take it; no link is followed but those in the directory's path.

use std::ffi::OsString;
use std::fs::{Permissions, remove_file, rename};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Error, Result, Syscall};

/// Appended to the name while it is being written: no reader that picks files by their ending takes it.
const UNFINISHED: &str = ".tmp";

/// Everybody may read it: whoever collects such files runs as another user.
const MODE: u32 = 0o644;

/// Writes `text` to `path`, replacing what is there, by way of a file beside it.
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
        // The umask may have taken the readers' bits away.
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
