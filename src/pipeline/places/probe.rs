//! Probes what the file systems must support: in the ingestor's own directory in the warehouse, and in staging, before
//! the first file is moved.
//!
//! Invariants: it touches only two hidden files of its own, and removes them afterwards; after a crash, the next probe
//! does. Where nothing can be written, nothing is found out: the first file will show it.

use std::ffi::OsString;

use crate::fs::Syscall;
use crate::fs::{self, Fs, Open};
use crate::pipeline::staging::names::{Aside, aside_name};
use crate::types::IngestId;

/// The result of a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum Suitability {
    /// It supports all that is needed.
    Suited {
        /// After a rename, the file's link count is still 1.
        counts_links: bool,
        /// After a rename, the file has the same inode number.
        keeps_inodes: bool,
    },
    /// This is not supported.
    Unsuited(String),
    /// Nothing can be written there, or the disk is full.
    Unknown,
}

/// True for errors that mean that the operation is not supported.
fn is_unsupported(error: &fs::Error) -> bool {
    let errnos = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTTY];
    error.source.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
}

fn is_denied(error: &fs::Error) -> bool {
    error.source.raw_os_error().is_some_and(|errno| [libc::EPERM, libc::EACCES].contains(&errno))
}

/// Probes the file system of `dir`.
///
/// # Errors
/// A sync failed, or an operation failed in a way that no file system should.
pub fn probe<F: Fs>(fs: &F, dir: &F::Dir, store: &[u8; 16]) -> fs::Result<Suitability> {
    let names = [Aside::Probe, Aside::ProbeRenamed].map(|what| aside_name(store, IngestId(0), what));
    let clean = || names.iter().for_each(|name| drop(fs.unlink(dir, name)));
    clean();
    let verdict = try_out(fs, dir, &names);
    clean();
    let goes_on = |error: &fs::Error| error.spares_others() || error.is_no_space();
    if !matches!(verdict, Ok(Suitability::Unsuited(_))) && verdict.as_ref().err().is_none_or(goes_on) {
        // The next start does not probe again: files left now would stay forever.
        for name in &names {
            if fs.stat(dir, name)?.is_some() {
                match fs.unlink(dir, name) {
                    Err(error) if is_denied(&error) => {
                        return Ok(Suitability::Unsuited(format!(
                            "a file made there cannot be removed: {}",
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
    // The file stays open, like one that is ingested: file systems in user space keep a hidden name for such a file.
    match fs.rename(dir, old, dir, new) {
        Err(error) if error.op == Syscall::Rename && is_unsupported(&error) => {
            return unsuited(format!(
                "it has neither a rename that replaces nothing (RENAME_NOREPLACE) nor hard links: {}",
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
        Ok(()) => return unsuited("a rename replaces an existing file although it must not".to_owned()),
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
