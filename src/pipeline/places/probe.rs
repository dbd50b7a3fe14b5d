//! What the file systems can do on which everything depends: tried out in our own directory in the warehouse, and in
//! staging, before the first file is moved.
//!
//! Invariants: nothing but two hidden files of our own is touched, and they are gone afterwards; after a crash, with the
//! next try. Where nothing can be written nothing is found out: that shows with the first file.

use std::ffi::OsString;

use crate::fs::Syscall;
use crate::fs::{self, Fs, Open};
use crate::pipeline::staging::names::{Aside, aside_name};
use crate::types::IngestId;

/// What a file system cannot do, and that it can.
#[derive(Debug, PartialEq, Eq)]
pub enum Suitability {
    /// All that is needed.
    Suited {
        /// Behind a rename the file has one name, as far as the file system tells.
        counts_links: bool,
        /// It has its inode number still.
        keeps_inodes: bool,
    },
    /// This is missing.
    Unsuited(String),
    /// Nothing can be written there, or there is no room.
    Unknown,
}

/// Errors that say that there is no such operation.
fn is_unsupported(error: &fs::Error) -> bool {
    let errnos = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTTY];
    error.source.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
}

fn is_denied(error: &fs::Error) -> bool {
    error.source.raw_os_error().is_some_and(|errno| [libc::EPERM, libc::EACCES].contains(&errno))
}

/// Tries out what is needed in this directory.
///
/// # Errors
/// A sync failed, or what no file system should answer.
pub fn probe<F: Fs>(fs: &F, dir: &F::Dir, store: &[u8; 16]) -> fs::Result<Suitability> {
    let names = [Aside::Probe, Aside::ProbeRenamed].map(|what| aside_name(store, IngestId(0), what));
    let clean = || names.iter().for_each(|name| drop(fs.unlink(dir, name)));
    clean();
    let verdict = try_out(fs, dir, &names);
    clean();
    let goes_on = |error: &fs::Error| error.spares_others() || error.is_no_space();
    if !matches!(verdict, Ok(Suitability::Unsuited(_))) && verdict.as_ref().err().is_none_or(goes_on) {
        // With the next start it is not tried again: what is left now would be left for ever.
        for name in &names {
            if fs.stat(dir, name)?.is_some() {
                match fs.unlink(dir, name) {
                    Err(error) if is_denied(&error) => {
                        return Ok(Suitability::Unsuited(format!(
                            "what was made there cannot be removed: {}",
                            error.source
                        )));
                    }
                    removed => removed?,
                }
            }
        }
        fs.sync_dir(dir)?;
    }
    match verdict {
        Err(error) if goes_on(&error) => Ok(Suitability::Unknown),
        verdict => verdict,
    }
}

fn try_out<F: Fs>(fs: &F, dir: &F::Dir, [old, new]: &[OsString; 2]) -> fs::Result<Suitability> {
    let unsuited = |why: String| Ok(Suitability::Unsuited(why));
    let file = fs.open(dir, old, Open::Create { mode: 0o600 })?;
    let before = fs.stat_file(&file)?.identity;
    // It stays open, as one that is ingested: file systems in user space keep a hidden name of such a file.
    match fs.rename(dir, old, dir, new) {
        Err(error) if error.op == Syscall::Rename && is_unsupported(&error) => {
            return unsuited(format!(
                "it renames no file without replacing another (RENAME_NOREPLACE), and has no hard links: {}",
                error.source
            ));
        }
        renamed => renamed?,
    }
    let Some(there) = fs.stat_fresh(dir, new)? else {
        return unsuited("a file that was renamed is not there under its new name".to_owned());
    };
    if fs.stat_fresh(dir, old)?.is_some() {
        return unsuited("a file that was renamed is still there under its old name".to_owned());
    }
    drop(fs.open(dir, old, Open::Create { mode: 0o600 })?);
    match fs.rename(dir, old, dir, new) {
        Ok(()) => return unsuited("a rename replaces what it must not replace".to_owned()),
        Err(error) if error.is_taken() => {}
        Err(error) => return Err(error),
    }
    match fs.sync_dir(dir) {
        Err(error) if is_unsupported(&error) => {
            return unsuited(format!("names in a directory cannot be made durable (fsync): {}", error.source));
        }
        synced => synced?,
    }
    drop(file);
    let keeps_inodes = there.identity.key() == before.key();
    Ok(Suitability::Suited { counts_links: there.links == 1, keeps_inodes })
}
