//! Classifies errors: they concern one file, a place (a directory or mount), a full disk, or the disk as a whole.
//!
//! Invariant: a failed sync never concerns only one file (P5). After [`Blame::File`] and [`Blame::Place`] the caller
//! may continue with other files; after [`Blame::Disk`] it must stop.

use super::{Error, Syscall};

/// The extent of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// This file, or its name: others may succeed.
    File,
    /// The place: other files there may fail in the same way until an operator repairs it.
    Place,
    /// There is no space: the operation may succeed later.
    Room,
    /// The disk, the kernel or this process: later operations may fail or go wrong, too.
    Disk,
}

/// Errors of one file or name where others succeed: it is immutable, busy, too large, damaged or odd, the file system
/// refuses its name, or another file is in its way.
const OF_A_FILE: [i32; 31] = [
    libc::EACCES,
    libc::EAGAIN,
    libc::EBADMSG,
    libc::EBUSY,
    libc::EDEADLK,
    libc::EEXIST,
    libc::EFBIG,
    libc::EILSEQ,
    libc::EINVAL,
    libc::EIO,
    libc::EISDIR,
    libc::EKEYREJECTED,
    libc::ELOOP,
    libc::EMLINK,
    libc::ENAMETOOLONG,
    libc::ENODATA,
    libc::ENODEV,
    libc::ENOKEY,
    libc::ENOSYS,
    libc::ENOTDIR,
    libc::ENOTEMPTY,
    libc::ENXIO,
    libc::EOPNOTSUPP,
    libc::EOVERFLOW,
    libc::EPERM,
    libc::EPROTO,
    libc::EREMOTEIO,
    libc::ETXTBSY,
    libc::EUCLEAN,
    libc::EXDEV,
    libc::ERANGE,
];

/// Errors of a mount as a whole: read-only, unreachable, or replaced on its server.
const OF_A_PLACE: [i32; 14] = [
    libc::ECONNABORTED,
    libc::ECONNREFUSED,
    libc::ECONNRESET,
    libc::EHOSTDOWN,
    libc::EHOSTUNREACH,
    libc::ENETDOWN,
    libc::ENETUNREACH,
    libc::ENOENT,
    libc::ENOMEDIUM,
    libc::ENOTCONN,
    libc::EROFS,
    libc::ESHUTDOWN,
    libc::ESTALE,
    libc::ETIMEDOUT,
];

/// Errors that leave it unknown whether the operation had its effect.
const OUTCOME_UNKNOWN: [i32; 6] =
    [libc::EIO, libc::EPROTO, libc::EREMOTEIO, libc::ESTALE, libc::ETIMEDOUT, libc::ECONNABORTED];

/// Operations on one file or name. All others concern a directory, or make something durable.
const ON_A_FILE: [Syscall; 14] = [
    Syscall::Rename,
    Syscall::Link,
    Syscall::Unlink,
    Syscall::Stat,
    Syscall::Open,
    Syscall::Fstat,
    Syscall::Pread,
    Syscall::Pwrite,
    Syscall::Ftruncate,
    Syscall::Fchmod,
    Syscall::Futimens,
    Syscall::SetLease,
    Syscall::GetLease,
    Syscall::Copy,
];

/// Classifies an operation that failed with this error number.
pub fn blame(op: Syscall, errno: i32) -> Blame {
    let on_a_place = [Syscall::OpenDir, Syscall::Mkdir, Syscall::Statvfs, Syscall::Getdents].contains(&op);
    if !on_a_place && !ON_A_FILE.contains(&op) {
        return Blame::Disk;
    }
    match errno {
        libc::ENOSPC | libc::EDQUOT => Blame::Room,
        errno if OF_A_PLACE.contains(&errno) => Blame::Place,
        errno if OF_A_FILE.contains(&errno) => {
            if on_a_place {
                Blame::Place
            } else {
                Blame::File
            }
        }
        _ => Blame::Disk,
    }
}

impl Error {
    /// See [`blame`]. An error without a number from the kernel is [`Blame::Disk`].
    pub fn blame(&self) -> Blame {
        self.source.raw_os_error().map_or(Blame::Disk, |errno| blame(self.op, errno))
    }

    /// It concerns one file or its place: others may continue.
    pub fn spares_others(&self) -> bool {
        matches!(self.blame(), Blame::File | Blame::Place)
    }

    /// It concerns at most the place, which may be read-only, full, or gone.
    pub fn is_of_the_place(&self) -> bool {
        self.blame() != Blame::Disk
    }

    /// The operation may have had its effect despite the error.
    pub fn is_outcome_unknown(&self) -> bool {
        self.source.raw_os_error().is_some_and(|errno| OUTCOME_UNKNOWN.contains(&errno))
    }
}

/// Repeats an effect once if its error concerns only a file or a place: the cause may have been momentary. Only for
/// effects that can be repeated, and whose failure would be permanent.
pub fn twice<T, E>(spares_others: fn(&E) -> bool, mut effect: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    match effect() {
        Err(error) if spares_others(&error) => effect(),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [Syscall; 8] = [
        Syscall::Rename,
        Syscall::Link,
        Syscall::Unlink,
        Syscall::Stat,
        Syscall::Open,
        Syscall::Fstat,
        Syscall::Pread,
        Syscall::Pwrite,
    ];

    /// Why: one file's error stopped all others, at every start; each of these occurred on some file system.
    #[test]
    fn what_is_a_files_spares_the_others() {
        for errno in OF_A_FILE {
            for op in NAMES.into_iter().chain([
                Syscall::Ftruncate,
                Syscall::Fchmod,
                Syscall::Futimens,
                Syscall::SetLease,
                Syscall::Copy,
            ]) {
                assert_eq!(blame(op, errno), Blame::File, "{op}, errno {errno}");
            }
            for op in [Syscall::OpenDir, Syscall::Mkdir, Syscall::Statvfs, Syscall::Getdents] {
                assert_eq!(blame(op, errno), Blame::Place, "{op}, errno {errno}");
            }
        }
    }

    #[test]
    fn what_is_a_places_spares_other_places() {
        for errno in OF_A_PLACE {
            for op in NAMES.into_iter().chain([Syscall::OpenDir, Syscall::Mkdir]) {
                assert_eq!(blame(op, errno), Blame::Place, "{op}, errno {errno}");
            }
        }
    }

    /// P5: an error of a sync never concerns only one file, whatever its number; nor do errors of locks, and errors
    /// that only a defect can cause.
    #[test]
    fn syncs_locks_and_defects_spare_nobody() {
        for errno in OF_A_FILE.into_iter().chain(OF_A_PLACE).chain([libc::ENOSPC, libc::EDQUOT]) {
            for op in [Syscall::Fsync, Syscall::Fdatasync, Syscall::Syncfs, Syscall::Flock, Syscall::Fadvise] {
                assert_eq!(blame(op, errno), Blame::Disk, "{op}, errno {errno}");
            }
        }
        for errno in [libc::EBADF, libc::EFAULT, libc::EINTR, libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            for op in NAMES {
                assert_eq!(blame(op, errno), Blame::Disk, "{op}, errno {errno}");
            }
        }
    }

    #[test]
    fn a_full_disk_is_waited_for() {
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            for op in NAMES.into_iter().chain([Syscall::Mkdir, Syscall::Copy]) {
                assert_eq!(blame(op, errno), Blame::Room, "{op}, errno {errno}");
            }
        }
    }
}
