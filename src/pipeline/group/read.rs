//! Opens and reads a group file.
//!
//! Invariant: what is returned is the whole content of the file that was settled, and nobody has it open for writing.

use std::ffi::OsStr;

use super::{Member, parse};
use crate::fs::{self, FileKind, Fs, Lease, Open};
use crate::limits::GROUP_FILE_BYTES_MAX;
use crate::pipeline::subdir;
use crate::types::FileIdentity;

/// Why a group file was not read.
#[derive(Debug)]
pub enum NotRead {
    /// It is another file by now, or a process has it open for writing.
    Busy,
    /// It cannot be used as it is; the text says why.
    Faulty(String),
    /// It cannot be read.
    Failed(fs::Error),
}

/// The members that the group file `name` in `staging` names.
///
/// # Errors
/// See [`NotRead`].
pub fn read<F: Fs>(fs: &F, staging: &F::Dir, name: &OsStr, identity: &FileIdentity) -> Result<Vec<Member>, NotRead> {
    if identity.size > GROUP_FILE_BYTES_MAX as u64 {
        return Err(NotRead::Faulty(format!("it has more than {GROUP_FILE_BYTES_MAX} bytes")));
    }
    let content = content(fs, staging, name, identity).map_err(|error| match error.source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::WouldBlock => NotRead::Busy,
        _ => NotRead::Failed(error),
    })?;
    parse(name, &content.ok_or(NotRead::Busy)?).map_err(NotRead::Faulty)
}

/// None if it is another file by now, or a process has it open for writing.
fn content<F: Fs>(fs: &F, staging: &F::Dir, name: &OsStr, identity: &FileIdentity) -> fs::Result<Option<Vec<u8>>> {
    let (path, own) = (subdir::dir_of(name), subdir::file_name(name));
    let file = match path.as_os_str().is_empty() {
        true => fs.open(staging, own, Open::Read)?,
        false => fs.open(&fs.open_beneath(staging, path, true)?, own, Open::Read)?,
    };
    let is_it = |stat: fs::Stat| stat.kind == FileKind::Regular && stat.identity == *identity;
    // The lease ends with the descriptor: a writer that comes later changes the identity, which is compared again before
    // the group is moved.
    if fs.lease(&file)? == Lease::Writer || !is_it(fs.stat_file(&file)?) {
        return Ok(None);
    }
    let mut content = vec![0; identity.size as usize];
    let read = fs::read_full_at(fs, &file, &mut content, 0)?;
    Ok((read == content.len() && is_it(fs.stat_file(&file)?)).then_some(content))
}
