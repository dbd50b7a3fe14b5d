//! Opens files and directories of the simulated machine; each function returns the descriptor's number.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::state::{Place, State};
use super::units::{UMASK, errno};
use crate::fs::{FileKind, Open};

/// openat(2) with `O_NOFOLLOW | O_NONBLOCK`; returns the descriptor's number.
pub(super) fn open(state: &mut State, dir: Place, name: &OsStr, how: Open) -> io::Result<u64> {
    let found = state.child(dir, name)?;
    if let Open::Create { mode } = how {
        let meta = state.new_meta(mode & 0o7777 & !UMASK);
        let node = state.device(dir).make(dir.node, name, FileKind::Regular, meta)?;
        return state.open(Place { node, ..dir }, true);
    }
    let place = found.ok_or_else(|| errno(libc::ENOENT))?;
    let node = state.node(place)?;
    let writable = how == Open::Write;
    match node.kind {
        FileKind::Symlink => return Err(errno(libc::ELOOP)),
        FileKind::Directory if writable => return Err(errno(libc::EISDIR)),
        _ if node.unreadable => return Err(errno(libc::EACCES)),
        _ => {}
    }
    // O_NONBLOCK: the lease starts to break, and the open fails until it is released.
    if writable && state.break_leases(place) {
        return Err(errno(libc::EWOULDBLOCK));
    }
    state.open(place, writable)
}

pub(super) fn open_dir(state: &mut State, path: &Path) -> io::Result<u64> {
    let place = state.walk(path, true)?;
    open_dir_at(state, place)
}

pub(super) fn open_dir_at(state: &mut State, place: Place) -> io::Result<u64> {
    let node = state.node(place)?;
    if node.kind != FileKind::Directory {
        return Err(errno(libc::ENOTDIR));
    }
    if node.unreadable { Err(errno(libc::EACCES)) } else { state.open(place, false) }
}

/// openat2(2) with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`.
pub(super) fn open_beneath(state: &mut State, dir: Place, path: &Path, crosses: bool) -> io::Result<u64> {
    let mut here = dir;
    for name in path {
        here = state.child(here, name)?.ok_or_else(|| errno(libc::ENOENT))?;
        if state.node(here)?.kind == FileKind::Symlink {
            return Err(errno(libc::ELOOP));
        }
        if !crosses && here.device != dir.device {
            return Err(errno(libc::EXDEV));
        }
    }
    open_dir_at(state, here)
}
