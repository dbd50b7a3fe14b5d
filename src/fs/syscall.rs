//! The names of file operations in errors: system calls, mostly.

use std::fmt;

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syscall {
    /// Opening a file.
    Open,
    /// Opening a directory.
    OpenDir,
    /// Creating a directory.
    Mkdir,
    /// Listing a directory.
    Getdents,
    /// Reading the metadata of a name.
    Stat,
    /// Reading the metadata of an open file or directory.
    Fstat,
    /// Renaming a file.
    Rename,
    /// Giving a file its old name again; this must not fail.
    RenameBack,
    /// Giving a file a second name.
    Link,
    /// Removing a name.
    Unlink,
    /// Reading a file.
    Pread,
    /// Writing to a file.
    Pwrite,
    /// Changing a file's length.
    Ftruncate,
    /// Setting a file's mode.
    Fchmod,
    /// Setting a file's times.
    Futimens,
    /// Dropping a file from the page cache.
    Fadvise,
    /// Making a file, or the names in a directory, durable.
    Fsync,
    /// Making a file's data durable.
    Fdatasync,
    /// Making a whole file system durable.
    Syncfs,
    /// Reading the free space.
    Statvfs,
    /// Requesting a lease.
    SetLease,
    /// Checking whether a lease is being broken.
    GetLease,
    /// Locking a file.
    Flock,
    /// Marking a directory.
    OfdSetlk,
    /// Waiting.
    Nanosleep,
    /// Checking that a copy fits on the disk.
    Copy,
    /// Mounting a simulated device.
    Mount,
    /// Changing the size of a simulated device.
    SetCapacity,
    /// An operation of another program on a simulated machine.
    Upstream(&'static str),
}

impl Syscall {
    /// The text in messages.
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

    /// True for the calls that make something durable.
    pub fn is_sync(self) -> bool {
        matches!(self, Syscall::Fsync | Syscall::Fdatasync | Syscall::Syncfs)
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
