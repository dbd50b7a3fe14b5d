//! Whose fault an error is: of one file, of a place, of a full disk, or of the disk as a whole.
//!
//! Invariant: a sync that fails is never a file's (P5). Whoever asks may go on with other files after [`Blame::File`] and
//! [`Blame::Place`], and with nothing after [`Blame::Disk`].

use super::{Error, Syscall};

/// Who is to blame for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// This file, or its name: others may go through.
    File,
    /// The place: others that go there may meet the same, until somebody mends it.
    Place,
    /// There is no room: it may go through later.
    Room,
    /// The disk, the kernel or this process: what comes next may be wrong, too.
    Disk,
}

/// Errors that one file or name meets where others do not: it is immutable, busy, too large, damaged or odd, its name is
/// one that this file system does not take, or something is in its way.
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

/// Errors of a mount as a whole: read-only, away, or replaced on its server.
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

/// What failed without saying whether it has happened.
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

/// Who is to blame for an operation, by its system call's name, that failed with this error number.
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
    /// See [`blame`]. What is no error number of the kernel's is the disk's.
    pub fn blame(&self) -> Blame {
        self.source.raw_os_error().map_or(Blame::Disk, |errno| blame(self.op, errno))
    }

    /// It concerns one file or its place: others may go on.
    pub fn spares_others(&self) -> bool {
        matches!(self.blame(), Blame::File | Blame::Place)
    }

    /// It concerns no more than the place, which may not be written to, is full, or is gone.
    pub fn is_of_the_place(&self) -> bool {
        self.blame() != Blame::Disk
    }

    /// The operation may have had its effect nevertheless.
    pub fn is_outcome_unknown(&self) -> bool {
        self.source.raw_os_error().is_some_and(|errno| OUTCOME_UNKNOWN.contains(&errno))
    }
}

/// Repeats once what failed in a way that [`Blame`]s no more than a file or a place: that may have been a moment's. Only for an
/// effect that can be repeated, and whose failure would be for good.
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

    /// One file's error stopped all others, at every start: each of these was met with on some file system.
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

    /// P5: what a sync says is never one file's, whatever it says; nor are locks, and what only a defect can cause.
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
