//! Why a file is not ingested: one set of reasons for `settle`, `hash`, the journal, quarantine, metrics and messages.
//!
//! Invariant: each reason is one variant of [`WhyNot`], and only here is it decided which cause of the journal, which label
//! of a metric and which message belongs to it. A [`Refusal`] is a reason with its evidence.

use std::path::Path;

use super::layout::NoMatch;
use super::sidecar::Mismatch;
use crate::fs::Syscall;
use crate::fs::{self};
use crate::journal::record::{AbandonReason, CsvFault, QuarantineCause};
use crate::metrics::FailureReason;
use crate::types::Algorithm;

/// Why a file is not ingested, now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// It was first seen too recently, or has changed since.
    Settling,
    /// It is younger than files have to be.
    TooYoung,
    /// It is larger than files may be.
    TooLarge,
    /// Its sidecar is missing.
    NoSidecar,
    /// Its sidecar has already released another file.
    UsedSidecar,
    /// Its sidecar existed before it, and has no checksum.
    OrphanedSidecar,
    /// A writer has the file or its sidecar open.
    OpenForWriting,
    /// It is gone.
    Vanished,
    /// It is not the file that was listed, or was written to.
    Changed,
    /// The sidecar is not the one that released it, or is gone.
    SidecarChanged,
    /// Its sidecar has another checksum.
    ChecksumDiffers(Algorithm),
    /// Its sidecar has something that looks like a checksum, but of no known kind.
    SidecarOdd,
    /// Its sidecar has no checksum, and one is required.
    NoChecksum,
    /// It is not a valid CSV file.
    Malformed,
    /// Its name has no place in the warehouse's layout.
    NoMatch,
    /// It has no bytes, and such files are not ingested.
    Empty,
    /// It could not be read, copied or moved; it is tried again.
    Failed,
    /// The process is stopping.
    Interrupted,
    /// Its group file has another SHA-256.
    OtherSum,
    /// No group file names it.
    NoGroup,
    /// Its group is not complete.
    GroupIncomplete,
    /// It is a group file that cannot be used.
    GroupFaulty,
    /// Another host of the lake is bringing its content.
    ClaimedElsewhere,
}

impl WhyNot {
    /// True if something is wrong with the file, rather than that it has to wait.
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            WhyNot::TooLarge
                | WhyNot::ChecksumDiffers(_)
                | WhyNot::SidecarOdd
                | WhyNot::Malformed
                | WhyNot::OtherSum
                | WhyNot::GroupIncomplete
                | WhyNot::GroupFaulty
                | WhyNot::NoMatch
                | WhyNot::Failed
        )
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            WhyNot::Settling => "not stable yet",
            WhyNot::TooYoung => "younger than --min-age",
            WhyNot::TooLarge => "larger than --max-size",
            WhyNot::NoSidecar => "no sidecar",
            WhyNot::UsedSidecar => "sidecar was used already",
            WhyNot::OrphanedSidecar => "orphaned sidecar: it was there before the file, and holds no checksum",
            WhyNot::OpenForWriting => "open for writing",
            WhyNot::Vanished => "vanished",
            WhyNot::Changed => "changed",
            WhyNot::SidecarChanged => "sidecar changed",
            WhyNot::ChecksumDiffers(algorithm) => match algorithm {
                Algorithm::Md5 => "sidecar has another MD5",
                Algorithm::Sha1 => "sidecar has another SHA-1",
                Algorithm::Sha256 => "sidecar has another SHA-256",
                Algorithm::Sha384 => "sidecar has another SHA-384",
                Algorithm::Sha512 => "sidecar has another SHA-512",
            },
            WhyNot::SidecarOdd => "sidecar has a checksum that is not understood",
            WhyNot::NoChecksum => "sidecar has no checksum (--require-checksum)",
            WhyNot::Malformed => "malformed",
            WhyNot::NoMatch => "its name does not fit --layout and --name-pattern",
            WhyNot::Empty => "empty (--empty)",
            WhyNot::Failed => "failed, will be tried again",
            WhyNot::Interrupted => "interrupted",
            WhyNot::OtherSum => "its group file has another SHA-256",
            WhyNot::NoGroup => "no group file names it",
            WhyNot::GroupIncomplete => "its group is not complete",
            WhyNot::GroupFaulty => "the group file cannot be used",
            WhyNot::ClaimedElsewhere => "another host has claimed its content, and has not listed it yet",
        }
    }

    /// The reason in the journal's terms.
    pub fn abandon_reason(self) -> AbandonReason {
        match self {
            WhyNot::Vanished => AbandonReason::Vanished,
            WhyNot::Changed | WhyNot::SidecarChanged => AbandonReason::Changed,
            WhyNot::OpenForWriting => AbandonReason::OpenForWriting,
            WhyNot::Settling
            | WhyNot::TooYoung
            | WhyNot::TooLarge
            | WhyNot::NoSidecar
            | WhyNot::UsedSidecar
            | WhyNot::OrphanedSidecar
            | WhyNot::ChecksumDiffers(_)
            | WhyNot::SidecarOdd
            | WhyNot::NoChecksum
            | WhyNot::Malformed
            | WhyNot::NoMatch
            | WhyNot::Empty
            | WhyNot::Failed
            | WhyNot::OtherSum
            | WhyNot::NoGroup
            | WhyNot::GroupFaulty
            | WhyNot::Interrupted => AbandonReason::Failed,
            WhyNot::GroupIncomplete => AbandonReason::Group,
            WhyNot::ClaimedElsewhere => AbandonReason::ClaimedElsewhere,
        }
    }
}

/// A reason, with its evidence: why a file was not hashed to its end.
#[derive(Debug)]
pub enum Refusal {
    /// It is gone.
    Vanished,
    /// It is not the file that was listed, or was written to.
    Changed,
    /// A writer has the file or its sidecar open.
    OpenForWriting,
    /// The sidecar is not the one that released it, or is gone.
    SidecarChanged,
    /// The sidecar has another checksum.
    ChecksumDiffers(Box<Mismatch>),
    /// The sidecar has something that looks like a checksum, but of no known kind; the text is for people.
    SidecarOdd(String),
    /// The sidecar has no checksum, and one is required.
    NoChecksum,
    /// The sidecar existed before its file, and has no checksum.
    OrphanedSidecar,
    /// It is not a valid CSV file, and such files are refused.
    Malformed(CsvFault),
    /// Its name has no place in the warehouse's layout.
    NoMatch(NoMatch),
    /// It has no bytes, and such files are not ingested.
    Empty {
        /// It goes to quarantine.
        leaves: bool,
    },
    /// It could not be read or copied.
    Failed(fs::Error),
    /// The process is stopping.
    Interrupted,
    /// Its group file has another checksum.
    OtherSum(Box<Mismatch>),
    /// Another file of its group was refused.
    Group,
    /// No entry of the lake can ever claim the files that this group file names together, for this reason.
    GroupUnfit(&'static str),
    /// Another host of the lake is bringing its content: once that is listed, it is a duplicate.
    ClaimedElsewhere,
}

impl Refusal {
    /// The reason alone.
    pub fn why(&self) -> WhyNot {
        match self {
            Refusal::Vanished => WhyNot::Vanished,
            Refusal::Changed => WhyNot::Changed,
            Refusal::OpenForWriting => WhyNot::OpenForWriting,
            Refusal::SidecarChanged => WhyNot::SidecarChanged,
            Refusal::ChecksumDiffers(mismatch) => WhyNot::ChecksumDiffers(mismatch.algorithm()),
            Refusal::SidecarOdd(_) => WhyNot::SidecarOdd,
            Refusal::NoChecksum => WhyNot::NoChecksum,
            Refusal::OrphanedSidecar => WhyNot::OrphanedSidecar,
            Refusal::Malformed(_) => WhyNot::Malformed,
            Refusal::NoMatch(_) => WhyNot::NoMatch,
            Refusal::Empty { .. } => WhyNot::Empty,
            Refusal::Failed(_) => WhyNot::Failed,
            Refusal::Interrupted => WhyNot::Interrupted,
            Refusal::OtherSum(_) => WhyNot::OtherSum,
            Refusal::Group => WhyNot::GroupIncomplete,
            Refusal::GroupUnfit(_) => WhyNot::GroupFaulty,
            Refusal::ClaimedElsewhere => WhyNot::ClaimedElsewhere,
        }
    }

    /// In which way the file itself fails; None if the failure may not be the file's.
    pub fn cause(&self) -> Option<QuarantineCause> {
        match self {
            Refusal::ChecksumDiffers(_) | Refusal::SidecarOdd(_) => Some(QuarantineCause::ChecksumDiffers),
            Refusal::Malformed(_) => Some(QuarantineCause::Malformed),
            Refusal::NoMatch(_) => Some(QuarantineCause::NoMatch),
            Refusal::Empty { leaves: true } => Some(QuarantineCause::Empty),
            Refusal::Failed(error) if is_unreadable(error) => Some(QuarantineCause::Unreadable),
            _ => None,
        }
    }

    /// The error, for people; None if nothing is wrong, and the file only has to start again.
    pub fn error(&self) -> Option<String> {
        match self {
            Refusal::ChecksumDiffers(mismatch) => Some(mismatch.to_string()),
            Refusal::OtherSum(mismatch) => {
                let (actual, expected) = (&mismatch.actual.hex, &mismatch.expected.hex);
                Some(format!("SHA-256 is {actual}, but its group file says {expected}"))
            }
            Refusal::SidecarOdd(what) => Some(what.clone()),
            Refusal::Malformed(fault) => Some(format!("malformed, line {}: {}", fault.line, fault.reason)),
            Refusal::NoMatch(NoMatch(what)) => Some(what.clone()),
            Refusal::Empty { leaves: true } => Some("it has no bytes".to_owned()),
            Refusal::Failed(error) => Some(error.to_string()),
            Refusal::GroupUnfit(why) => Some(format!("its files cannot be ingested together: {why}")),
            _ => None,
        }
    }

    /// The reason as a metric's label. A failed operation counts as the file's own fault if it comes before the file is
    /// copied or moved.
    pub fn failure_reason(&self, input: Option<&Path>) -> FailureReason {
        let reads = [Syscall::Open, Syscall::Fstat, Syscall::Pread, Syscall::Fdatasync, Syscall::SetLease];
        match self {
            Refusal::ChecksumDiffers(_) | Refusal::SidecarOdd(_) | Refusal::OtherSum(_) => FailureReason::Checksum,
            Refusal::Malformed(_) => FailureReason::Malformed,
            Refusal::NoMatch(_) => FailureReason::NoMatch,
            Refusal::Empty { .. } => FailureReason::Empty,
            Refusal::GroupUnfit(_) => FailureReason::Group,
            Refusal::Failed(error)
                if reads.contains(&error.op) && input.is_some_and(|input| error.path.starts_with(input)) =>
            {
                FailureReason::Unreadable
            }
            _ => FailureReason::NotMoved,
        }
    }
}

/// True if there is no permission to read the file, or the disk cannot.
pub(super) fn is_unreadable(error: &fs::Error) -> bool {
    let errnos = [libc::EACCES, libc::EPERM, libc::EIO];
    [Syscall::Open, Syscall::Pread].contains(&error.op)
        && error.source.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
}
