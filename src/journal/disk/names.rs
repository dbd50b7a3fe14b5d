//! The names of the files in the state directory: built and parsed only here.

use std::ffi::OsStr;

use crate::types::Lsn;

/// Locked by the one process that writes. Holds that process's pid and, once a journal exists, its UUID.
pub const LOCK: &str = "LOCK";
/// The socket on which a running ingestor listens. Not part of the journal: readers skip it.
pub const CONTROL: &str = "control";

/// The kind of a file in the state directory, according to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// `LOCK`.
    Lock,
    /// `wal-<first lsn>.log`.
    Segment(Lsn),
    /// `snap-<lsn>.snap`.
    Snapshot(Lsn),
    /// `*.tmp`: under construction, or left over from a crash; never read.
    Temporary,
    /// Not a file of the journal.
    Foreign,
}

/// `wal-00000000000000000001.log`: twenty digits, so that names sort as numbers do.
pub fn segment(first_lsn: Lsn) -> String {
    format!("wal-{:020}.log", first_lsn.0)
}

/// The temporary name of a segment while it is being made.
pub fn segment_temporary(first_lsn: Lsn) -> String {
    format!("wal-{:020}.tmp", first_lsn.0)
}

/// The temporary name of a file of zeros for the next segment. No segment has LSN 0.
pub fn blank() -> String {
    segment_temporary(Lsn(0))
}

/// `snap-00000000000000000042.snap`: the last LSN that it holds.
pub fn snapshot(lsn: Lsn) -> String {
    format!("snap-{:020}.snap", lsn.0)
}

/// The temporary name of a snapshot while it is being made.
pub fn snapshot_temporary(lsn: Lsn) -> String {
    format!("snap-{:020}.tmp", lsn.0)
}

/// Parses a name.
pub fn parse(name: &OsStr) -> FileName {
    let Some(name) = name.to_str() else { return FileName::Foreign };
    if name == LOCK {
        return FileName::Lock;
    }
    let (is_segment, rest) = match (name.strip_prefix("wal-"), name.strip_prefix("snap-")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return FileName::Foreign,
    };
    let (digits, extension) = rest.split_at_checked(20).unwrap_or(("", ""));
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    match (number, extension, is_segment) {
        (Some(lsn), ".log", true) => FileName::Segment(Lsn(lsn)),
        (Some(lsn), ".snap", false) => FileName::Snapshot(Lsn(lsn)),
        (Some(_), ".tmp", _) => FileName::Temporary,
        _ => FileName::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for lsn in [1, 42, u64::MAX] {
            assert_eq!(parse(OsStr::new(&segment(Lsn(lsn)))), FileName::Segment(Lsn(lsn)));
            assert_eq!(parse(OsStr::new(&segment_temporary(Lsn(lsn)))), FileName::Temporary);
            assert_eq!(parse(OsStr::new(&snapshot(Lsn(lsn)))), FileName::Snapshot(Lsn(lsn)));
            assert_eq!(parse(OsStr::new(&snapshot_temporary(Lsn(lsn)))), FileName::Temporary);
        }
        assert_eq!(parse(OsStr::new("LOCK")), FileName::Lock);
        for foreign in [
            "",
            "wal-",
            "wal-1.log",
            "wal-+0000000000000000001.log",
            "state.db",
            "wal-99999999999999999999.log",
            "wal-00000000000000000001.snap",
            "snap-00000000000000000001.log",
        ] {
            assert_eq!(parse(OsStr::new(foreign)), FileName::Foreign, "{foreign}");
        }
    }
}
