//! What root makes for a service, or in somebody else's directory, is given to whose it is: a command that is run as root beside
//! a service user must leave nothing that the service cannot open.
//!
//! Invariants:
//! - Only what was made a moment ago is given away, by its descriptor, never by a name that somebody may have replaced.
//! - It is done as well as it can be: a root without the capability, or in a user namespace, keeps what it made.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self as sys, Gid, Mode, OFlags, Uid};
use rustix::process::geteuid;

/// Who is to have what root makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    /// The owner and group of a directory, if we are root and it is somebody else's.
    pub(super) fn of(dir: &File) -> Option<Owner> {
        if !geteuid().is_root() {
            return None;
        }
        let stat = sys::fstat(dir).ok()?;
        let owner = Owner { uid: Uid::from_raw(stat.st_uid), gid: Gid::from_raw(stat.st_gid) };
        (!owner.uid.is_root()).then_some(owner)
    }
}

/// Gives a file that we have just made in `dir` to the service that we act for, or else to the directory's owner. The group is
/// the directory's where its setgid bit says so.
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
    // The owner of the parent may have put another one in its place: what is not ours, or not empty, was not made just now.
    let is_ours = sys::fstat(&made).is_ok_and(|stat| Uid::from_raw(stat.st_uid).is_root() && stat.st_nlink <= 2);
    if is_ours {
        hand_over(parent, made.as_fd(), service);
    }
}
