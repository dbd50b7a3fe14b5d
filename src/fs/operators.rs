//! Files that the operator names, such as the configuration.
//!
//! Invariant: unlike files in staging, they may be reached through links. Only a regular file is read, an open never
//! waits, and no more is read than the caller allows.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// An operation failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is a directory, a FIFO, a socket or a device.
    #[error("it is not a regular file")]
    Irregular,
    /// It holds a secret, and users of other groups can read it, or its group can change it.
    #[error("other users can read it, or change it: chmod 600")]
    Open,
    /// It is longer than the caller allows.
    #[error("it has more than {0} bytes")]
    TooLong(usize),
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// See [`Unread`].
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unread> {
    read_with(path, bytes_max, 0)
}

/// Reads a file with a secret: its owner and its group may read it, and only its owner may write it.
///
/// # Errors
/// See [`Unread`].
pub fn read_private(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unread> {
    read_with(path, bytes_max, 0o027)
}

/// Reads a file whose mode has none of these bits.
fn read_with(path: &Path, bytes_max: usize, forbidden: u32) -> Result<Vec<u8>, Unread> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unread::Irregular);
    }
    if metadata.permissions().mode() & forbidden != 0 {
        return Err(Unread::Open);
    }
    let mut bytes = Vec::new();
    // One byte more shows that it is too long, even if it grows meanwhile.
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(Unread::TooLong(bytes_max)) } else { Ok(bytes) }
}
