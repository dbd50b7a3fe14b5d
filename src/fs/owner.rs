//! What root makes in somebody else's directory is given to whom the directory belongs: a command that is run as root beside a
//! service user must leave nothing that the service cannot open.
//!
//! Invariants:
//! - Only what was made a moment ago is given away, by its descriptor, never by a name that somebody may have replaced.
//! - It is done as well as it can be: a root without the capability, or in a user namespace, keeps what it made.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self as sys, Gid, Mode, OFlags, Uid};
use rustix::process::geteuid;

/// Gives a file that we have just made in `dir` to the directory's owner and group.
pub(super) fn hand_over(dir: &File, made: BorrowedFd<'_>) {
    let Some((uid, gid)) = other_owner(dir) else { return };
    let _ = sys::fchown(made, Some(uid), Some(gid));
}

/// The same for a directory.
pub(super) fn hand_over_dir(parent: &File, name: &OsStr) {
    if other_owner(parent).is_none() {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(made) = sys::openat(parent, name, flags, Mode::empty()) else { return };
    // The owner of the parent may have put another one in its place: what is not ours, or not empty, was not made just now.
    let is_ours = sys::fstat(&made).is_ok_and(|stat| Uid::from_raw(stat.st_uid).is_root() && stat.st_nlink <= 2);
    if is_ours {
        hand_over(parent, made.as_fd());
    }
}

/// The owner and group of a directory, if we are root and it is somebody else's.
fn other_owner(dir: &File) -> Option<(Uid, Gid)> {
    if !geteuid().is_root() {
        return None;
    }
    let stat = sys::fstat(dir).ok()?;
    let uid = Uid::from_raw(stat.st_uid);
    (!uid.is_root()).then(|| (uid, Gid::from_raw(stat.st_gid)))
}
