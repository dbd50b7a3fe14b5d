//! The states of a file, and the records that lead from one to the next.
//!
//! Invariants:
//! - A file in the warehouse (MOVED) is never abandoned, skipped or quarantined; the only next step is its manifest line.
//! - The numbers of manifest lines are dense: each is one more than the one before.

use super::record::{Moved, Record};

/// Why a RELOCATED is refused.
pub(in crate::journal) const ON_ITS_WAY: &str = "RELOCATED while a file is on its way";

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FileState {
    /// Found complete.
    Discovered,
    /// Its content is known and durable; it is about to be moved to the warehouse.
    Hashed,
    /// In the warehouse; its manifest line is about to be written.
    Moved,
    /// Done.
    Manifested,
    /// Its content was ingested before.
    SkippedDuplicate,
    /// Vanished or changed before it was moved.
    Abandoned,
    /// Cannot be ingested as it is; moved out of staging.
    Quarantined,
}

impl Moved {
    /// The number of the last manifest line after this record. The error says why it cannot follow.
    pub fn number_after(&self, last_seq: u64) -> Result<u64, &'static str> {
        match self.seq {
            None => Ok(last_seq),
            Some(seq) if seq.checked_sub(1) == Some(last_seq) => Ok(seq),
            Some(_) => Err("MOVED with a number that is not the next one"),
        }
    }
}

/// The number of files in each state: `counts[state as usize]`.
pub type StateCounts = [u64; FileState::ALL.len()];

impl FileState {
    /// All of them, in the order of their numbers.
    pub const ALL: [FileState; 7] = [
        FileState::Discovered,
        FileState::Hashed,
        FileState::Moved,
        FileState::Manifested,
        FileState::SkippedDuplicate,
        FileState::Abandoned,
        FileState::Quarantined,
    ];

    /// The spelling in output and documentation.
    pub fn text(self) -> &'static str {
        match self {
            FileState::Discovered => "DISCOVERED",
            FileState::Hashed => "HASHED",
            FileState::Moved => "MOVED",
            FileState::Manifested => "MANIFESTED",
            FileState::SkippedDuplicate => "SKIPPED_DUPLICATE",
            FileState::Abandoned => "ABANDONED",
            FileState::Quarantined => "QUARANTINED",
        }
    }

    /// As [`FileState::after`], for HASHED.
    pub fn after_hashed(self) -> Result<FileState, &'static str> {
        match self {
            FileState::Discovered | FileState::Hashed => Ok(FileState::Hashed),
            _ => Err("HASHED after MOVED"),
        }
    }

    /// The state after a record of this file. The error says why the record cannot follow.
    pub fn after(self, record: &Record) -> Result<FileState, &'static str> {
        use FileState::{Abandoned, Discovered, Hashed, Manifested, Moved, Quarantined, SkippedDuplicate};
        match (record, self) {
            (Record::Hashed(_), _) => self.after_hashed(),
            (Record::Claimed(_), Hashed) => Ok(Hashed),
            (Record::Claimed(_), _) => Err("CLAIMED without HASHED"),
            (Record::Uploading(_), Hashed) => Ok(Hashed),
            (Record::Uploading(_), _) => Err("UPLOADING without HASHED"),
            (Record::Moved(_), Hashed) => Ok(Moved),
            (Record::Moved(_), _) => Err("MOVED without HASHED"),
            (Record::Manifested(_), Moved) => Ok(Manifested),
            (Record::Manifested(_), _) => Err("MANIFESTED without MOVED"),
            (Record::SkippedDuplicate(_), Discovered | Hashed | SkippedDuplicate) => Ok(SkippedDuplicate),
            (Record::SkippedDuplicate(_), _) => Err("SKIPPED_DUPLICATE after MOVED"),
            (Record::DuplicateCleared(_), SkippedDuplicate) => Ok(SkippedDuplicate),
            (Record::DuplicateCleared(_), _) => Err("DUPLICATE_CLEARED without SKIPPED_DUPLICATE"),
            (Record::Abandoned(_), Discovered | Hashed | Quarantined) => Ok(Abandoned),
            (Record::Abandoned(_), _) => Err("ABANDONED after MOVED"),
            (Record::Profiled(_), Discovered | Hashed) => Ok(self),
            (Record::Profiled(_), _) => Err("PROFILED after MOVED"),
            (Record::Quarantined(_), Discovered | Hashed | Quarantined) => Ok(Quarantined),
            (Record::Quarantined(_), _) => Err("QUARANTINED after MOVED"),
            (Record::QuarantineDone(_), Quarantined) => Ok(Quarantined),
            (Record::QuarantineDone(_), _) => Err("QUARANTINE_DONE without QUARANTINED"),
            (
                Record::Settings(_)
                | Record::Discovered(_)
                | Record::Expired(_)
                | Record::Forgotten(_)
                | Record::ClockJumped(_)
                | Record::ExpiredRanges(_)
                | Record::KeptGone(_)
                | Record::Relocated(_)
                | Record::Group(_)
                | Record::GroupDone(_)
                | Record::Identity(_)
                | Record::Lake(_)
                | Record::Rules(_)
                | Record::Layout(_),
                _,
            ) => Err("a record that is not about a known file"),
        }
    }
}
