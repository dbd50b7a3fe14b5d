//! How files are parsed as CSV, and the result.

use crate::journal::disk::format::{HEADER_BYTES_MAX, HEADER_FAULTS_MAX, TEXT_BYTES_MAX};
use crate::types::{IngestId, Sha256};

/// How files are parsed as CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validation {
    /// The byte between two fields.
    pub delimiter: u8,
    /// The byte around a quoted field; None if there is no quoting.
    pub quote: Option<u8>,
    /// True: a malformed file is refused; false: it is only marked.
    pub refuse: bool,
    /// The byte with which a line begins that is a comment, not a record; None if there are none.
    pub comment: Option<u8>,
    /// Lines at the beginning of a file that belong to no record.
    pub skip_rows: u16,
}

impl Default for Validation {
    /// As RFC 4180 has it; malformed files are marked.
    fn default() -> Validation {
        Validation { delimiter: b',', quote: Some(b'"'), refuse: false, comment: None, skip_rows: 0 }
    }
}

/// The result of parsing a file as CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiled {
    /// The file.
    pub ingest_id: IngestId,
    /// The hash of the content that was parsed.
    pub sha256: Sha256,
    /// The result.
    pub profile: Profile,
}

/// The shape of a CSV file, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Records after the first, which is the header; None if a fault ended the count.
    pub rows: Option<u64>,
    /// Columns of the first record; None if the file has no record.
    pub columns: Option<u64>,
    /// The first record's fields; None if they are too long for a record.
    pub header: Option<Vec<String>>,
    /// What is wrong with these fields as names: at most [`HEADER_FAULTS_MAX`], in the order of their columns.
    pub header_faults: Vec<HeaderFault>,
    /// The first fault.
    pub fault: Option<CsvFault>,
}

/// What is wrong with a CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvFault {
    /// Where: the first line is 1.
    pub line: u64,
    /// What, for people.
    pub reason: String,
}

/// A column whose name does not tell it from the others: it is blank, or is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFault {
    /// Which: the first column is 1.
    pub column: u16,
    /// The first column with the same name; None if the name is blank.
    pub first: Option<u16>,
}

impl Profile {
    /// True if these fields fit into a record.
    pub fn fits(header: &[String]) -> bool {
        let bytes: usize = header.iter().map(|name| name.len() + 2).sum();
        bytes <= HEADER_BYTES_MAX && header.iter().all(|name| name.len() <= TEXT_BYTES_MAX)
    }

    /// True if these faults can be in a record.
    pub fn are_faults(faults: &[HeaderFault]) -> bool {
        let ascend = faults.windows(2).all(|pair| pair[0].column < pair[1].column);
        let is_before = |fault: &HeaderFault| fault.first.is_none_or(|first| (1..fault.column).contains(&first));
        ascend && faults.len() <= HEADER_FAULTS_MAX && faults.iter().all(|fault| fault.column > 0 && is_before(fault))
    }
}
