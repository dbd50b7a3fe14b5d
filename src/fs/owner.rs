//! Files that root creates for a service, or in another user's directory, get that user as owner: a command that is run
//! as root must leave nothing that the service cannot open.
//!
//! Invariants:
//! - Only a file or directory that was just created changes its owner, by its descriptor, never by a name that another
//!   process may have replaced.
//! - Errors are ignored: a root without the capability, or in a user namespace, remains the owner.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self as sys, Gid, Mode, OFlags, Uid};
use rustix::process::geteuid;

/// The owner of files that root creates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    /// The owner and group of a directory, if this process is root and the owner is not.
    pub(super) fn of(dir: &File) -> Option<Owner> {
        if !geteuid().is_root() {
            return None;
        }
        let stat = sys::fstat(dir).ok()?;
        let owner = Owner { uid: Uid::from_raw(stat.st_uid), gid: Gid::from_raw(stat.st_gid) };
        (!owner.uid.is_root()).then_some(owner)
    }
}

/// Changes the owner of a file just created in `dir` to `service`, or else to the directory's owner. If the directory
/// has the setgid bit, the file keeps the directory's group.
pub(super) fn hand_over(dir: &File, made: BorrowedFd<'_>, service: Option<Owner>) {
    let Some(owner) = service.or_else(|| Owner::of(dir)) else { return };
    let is_inherited = sys::fstat(dir).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID));
    let _ = sys::fchown(made, Some(owner.uid), (!is_inherited).then_some(owner.gid));
}

/// The same for a directory.
pub(super) fn hand_over_dir(parent: &File, name: &OsStr, service: Option<Owner>) {
    if service.or_else(|| Owner::of(parent)).is_none() {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(made) = sys::openat(parent, name, flags, Mode::empty()) else { return };
    // The parent's owner may have put another directory in its place: one that root does not own, or that has
    // subdirectories, was not just created.
    let is_ours = sys::fstat(&made).is_ok_and(|stat| Uid::from_raw(stat.st_uid).is_root() && stat.st_nlink <= 2);
    if is_ours {
        hand_over(parent, made.as_fd(), service);
    }
}
