//! Faults and their timing, and the log of operations.
//!
//! Invariants: operations are numbered from 1; each call of the trait that is a system call gets one number, whether it
//! reads or writes, and whether it succeeds. The numbers continue over crashes and forks.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::fs::Syscall;

/// An operation of the trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // Each is the trait's method of that name.
pub enum Op {
    OpenDir,
    StatDir,
    CreateDir,
    List,
    Stat,
    Rename,
    Unlink,
    SyncDir,
    SyncFs,
    FreeBytes,
    Open,
    StatFile,
    ReadAt,
    WriteAt,
    SetLen,
    SetMeta,
    SyncData,
    SyncAll,
    DropCache,
    Lease,
    LeaseBroken,
    TryLockFile,
    UnlockFile,
    TryLockDir,
    Pause,
}

/// The number of kinds of operations.
pub(super) const OPS: usize = Op::Pause as usize + 1;

impl Op {
    /// The operation's name in errors, as in [`super::super::real`].
    pub fn syscall(self) -> Syscall {
        match self {
            Op::OpenDir => Syscall::OpenDir,
            Op::StatDir | Op::StatFile => Syscall::Fstat,
            Op::CreateDir => Syscall::Mkdir,
            Op::List => Syscall::Getdents,
            Op::Stat => Syscall::Stat,
            Op::Rename => Syscall::Rename,
            Op::Unlink => Syscall::Unlink,
            Op::SyncDir | Op::SyncAll => Syscall::Fsync,
            Op::SyncFs => Syscall::Syncfs,
            Op::FreeBytes => Syscall::Statvfs,
            Op::Open => Syscall::Open,
            Op::ReadAt => Syscall::Pread,
            Op::WriteAt => Syscall::Pwrite,
            Op::SetLen => Syscall::Ftruncate,
            Op::SetMeta => Syscall::Futimens,
            Op::SyncData => Syscall::Fdatasync,
            Op::DropCache => Syscall::Fadvise,
            Op::Lease => Syscall::SetLease,
            Op::LeaseBroken => Syscall::GetLease,
            Op::TryLockFile | Op::UnlockFile => Syscall::Flock,
            Op::TryLockDir => Syscall::OfdSetlk,
            Op::Pause => Syscall::Nanosleep,
        }
    }

    /// True for the four operations that make something durable.
    pub fn is_sync(self) -> bool {
        matches!(self, Op::SyncDir | Op::SyncFs | Op::SyncData | Op::SyncAll)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    Errno(i32),
    Short,
    Crash,
}

/// A fault, and the operations that it strikes: all, unless restricted.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: FaultKind,
    /// True if the operation has its effect before it fails.
    happened: bool,
    first: u64,
    last: u64,
    ops: Vec<Op>,
    under: PathBuf,
    /// Counts down over the matching operations; the one at 1 is struck. None for all of them.
    nth: Option<u64>,
}

impl Fault {
    fn new(effect: FaultKind) -> Fault {
        let (ops, under) = (Vec::new(), PathBuf::new());
        Fault { effect, happened: false, first: 0, last: u64::MAX, ops, under, nth: None }
    }

    /// The operation fails with this error number and has no effect; but see [`super`] for the effects of a failed
    /// sync.
    pub fn errno(errno: i32) -> Fault {
        Fault::new(FaultKind::Errno(errno))
    }

    /// A read or a write transfers only a part, at least one byte; a listing ends early with EIO.
    pub fn short() -> Fault {
        Fault::new(FaultKind::Short)
    }

    /// The process dies: this operation and all after it fail, until [`super::SimFs::crash`] or [`super::SimFs::kill`].
    pub fn crash() -> Fault {
        Fault::new(FaultKind::Crash)
    }

    /// Only operation number `number`.
    pub fn at(self, number: u64) -> Fault {
        Fault { first: number, last: number, ..self }
    }

    /// Operation number `number` and all after it.
    pub fn from(self, number: u64) -> Fault {
        Fault { first: number, last: u64::MAX, ..self }
    }

    /// Only operations of these kinds.
    pub fn only(self, ops: &[Op]) -> Fault {
        Fault { ops: ops.to_vec(), ..self }
    }

    /// Only operations on this path or below it (of a rename: the old one).
    pub fn under(self, path: impl Into<PathBuf>) -> Fault {
        Fault { under: path.into(), ..self }
    }

    /// Only the n-th of the operations that match, counted from 1.
    pub fn nth(self, n: u64) -> Fault {
        Fault { nth: Some(n), ..self }
    }

    /// The operation has its full effect before the error is returned, or before the process dies.
    pub fn happened(self) -> Fault {
        Fault { happened: true, ..self }
    }

    fn strikes(&mut self, number: u64, op: Op, path: &Path) -> bool {
        let in_time = (self.first..=self.last).contains(&number);
        if !in_time || !(self.ops.is_empty() || self.ops.contains(&op)) || !path.starts_with(&self.under) {
            return false;
        }
        match &mut self.nth {
            None => true,
            Some(left) => {
                let now = *left == 1;
                *left = left.saturating_sub(1);
                now
            }
        }
    }
}

/// The outcome of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Injection {
    Go,
    Short,
    Fail { errno: i32, happened: bool },
    Crash { happened: bool },
}

/// Checks every fault (each counts its matches) and returns the outcome by the first that strikes.
pub(super) fn verdict(faults: &mut [Fault], number: u64, op: Op, path: &Path) -> Injection {
    let mut verdict = Injection::Go;
    for fault in faults {
        if !fault.strikes(number, op, path) || verdict != Injection::Go {
            continue;
        }
        verdict = match fault.effect {
            FaultKind::Errno(errno) => Injection::Fail { errno, happened: fault.happened },
            FaultKind::Short => Injection::Short,
            FaultKind::Crash => Injection::Crash { happened: fault.happened },
        };
    }
    verdict
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The operation's number.
    pub number: u64,
    /// Its kind.
    pub op: Op,
    /// Its path (of a rename: the old name).
    pub path: PathBuf,
    /// The error number with which it failed.
    pub errno: Option<i32>,
}

/// The most lines that the log keeps.
const LOG_LINES_MAX: usize = 10_000;

/// The last operations, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<Logged>);

impl Log {
    pub(super) fn push(&mut self, line: Logged) {
        if self.0.len() == LOG_LINES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<Logged> {
        self.0.iter().cloned().collect()
    }
}
