//! The system calls by which operations on files are known in errors.

use std::fmt;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syscall {
    /// Opening a file.
    Open,
    /// Opening a directory.
    OpenDir,
    /// Making one.
    Mkdir,
    /// Listing one.
    Getdents,
    /// Looking at a name.
    Stat,
    /// Looking at what is open.
    Fstat,
    /// Giving a file another name.
    Rename,
    /// Giving it its old name; this must not fail.
    RenameBack,
    /// Giving it a second name.
    Link,
    /// Taking a name away.
    Unlink,
    /// Reading a file.
    Pread,
    /// Writing to one.
    Pwrite,
    /// Cutting one off.
    Ftruncate,
    /// Setting its mode.
    Fchmod,
    /// Setting its times.
    Futimens,
    /// Dropping it from the page cache.
    Fadvise,
    /// Making a file, or the names in a directory, durable.
    Fsync,
    /// Making its data durable.
    Fdatasync,
    /// Making a whole file system durable.
    Syncfs,
    /// Asking how much room there is.
    Statvfs,
    /// Taking a lease.
    SetLease,
    /// Asking whether it is wanted back.
    GetLease,
    /// Locking a file.
    Flock,
    /// Locking a directory.
    OfdSetlk,
    /// Waiting for somebody.
    Nanosleep,
    /// Making room for a copy.
    Copy,
    /// Mounting a simulated device.
    Mount,
    /// Making a simulated device larger or smaller.
    SetCapacity,
    /// What another program does on a simulated machine.
    Upstream(&'static str),
}

impl Syscall {
    /// As people know it.
    pub fn text(self) -> &'static str {
        match self {
            Syscall::Open => "open",
            Syscall::OpenDir => "open directory",
            Syscall::Mkdir => "mkdir",
            Syscall::Getdents => "getdents",
            Syscall::Stat => "stat",
            Syscall::Fstat => "fstat",
            Syscall::Rename => "rename",
            Syscall::RenameBack => "rename back",
            Syscall::Link => "link",
            Syscall::Unlink => "unlink",
            Syscall::Pread => "pread",
            Syscall::Pwrite => "pwrite",
            Syscall::Ftruncate => "ftruncate",
            Syscall::Fchmod => "fchmod",
            Syscall::Futimens => "futimens",
            Syscall::Fadvise => "fadvise",
            Syscall::Fsync => "fsync",
            Syscall::Fdatasync => "fdatasync",
            Syscall::Syncfs => "syncfs",
            Syscall::Statvfs => "statvfs",
            Syscall::SetLease => "fcntl F_SETLEASE",
            Syscall::GetLease => "fcntl F_GETLEASE",
            Syscall::Flock => "flock",
            Syscall::OfdSetlk => "fcntl F_OFD_SETLK",
            Syscall::Nanosleep => "nanosleep",
            Syscall::Copy => "copy",
            Syscall::Mount => "mount",
            Syscall::SetCapacity => "set_capacity",
            Syscall::Upstream(text) => text,
        }
    }

    /// True for those that make something durable.
    pub fn is_sync(self) -> bool {
        matches!(self, Syscall::Fsync | Syscall::Fdatasync | Syscall::Syncfs)
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
