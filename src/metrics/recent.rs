//! What happened lately: the last files of each kind, and what was ingested in each minute of the last hour.
//!
//! Invariants:
//! - The memory is bounded, whatever the names and errors are: so many events of a kind, so many bytes of them, so many
//!   minutes.
//! - The lock is held for one addition, or while as many pointers are copied as a list has: neither the pipeline nor a
//!   reader waits longer than that.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::labels::{By, Label, label};
use super::value::Value;
use crate::limits::{HOUR_MINUTES, RECENT_BYTES_MAX, RECENT_ERROR_BYTES_MAX, RECENT_EVENTS_MAX};
use crate::types::UnixMillis;

label!(
    /// The lists.
    RecentKind, "kind", {
        /// Files that are in the warehouse and in the manifest.
        Ingested = "ingested",
        /// Duplicates that were kept, removed or moved.
        Duplicates = "duplicates",
        /// Failures of single files.
        Failures = "failures",
        /// Files that were moved to quarantine.
        Quarantined = "quarantined",
    }
);

/// What happened to a file; the fields are those of the event in the log.
#[derive(Debug)]
pub enum Facts {
    /// `file_ingested`.
    Ingested {
        /// Where it is now.
        warehouse_path: PathBuf,
        /// Its size.
        bytes: u64,
        /// Its number.
        ingest_id: u64,
        /// Since it was found complete.
        took: Duration,
    },
    /// `duplicate_skipped`.
    Duplicate {
        /// The file in the warehouse, and its number.
        original: Option<(PathBuf, u64)>,
        /// What was done with the duplicate.
        action: &'static str,
    },
    /// `file_failed`.
    Failed {
        /// The reason, as the metric has it.
        reason: &'static str,
        /// For people.
        error: String,
        /// None: only a change of the file can help.
        retry_in: Option<Duration>,
    },
    /// `file_quarantined`.
    Quarantined {
        /// Where it is now.
        target: PathBuf,
        /// The reason: a fixed word.
        reason: &'static str,
        /// The line of the file that is malformed.
        line: Option<u64>,
        /// For people.
        error: String,
    },
}

impl Facts {
    fn kind(&self) -> RecentKind {
        match self {
            Facts::Ingested { .. } => RecentKind::Ingested,
            Facts::Duplicate { .. } => RecentKind::Duplicates,
            Facts::Failed { .. } => RecentKind::Failures,
            Facts::Quarantined { .. } => RecentKind::Quarantined,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Facts::Ingested { warehouse_path, .. } => warehouse_path.as_os_str().len(),
            Facts::Duplicate { original, .. } => original.as_ref().map_or(0, |(path, _)| path.as_os_str().len()),
            Facts::Failed { error, .. } => error.len(),
            Facts::Quarantined { target, error, .. } => target.as_os_str().len() + error.len(),
        }
    }
}

/// An event.
#[derive(Debug)]
pub struct Happened {
    /// When.
    pub at: UnixMillis,
    /// The file in staging.
    pub path: PathBuf,
    /// What.
    pub facts: Facts,
}

/// What was ingested in a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Its number since the start of the process.
    pub number: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct List {
    events: VecDeque<Arc<Happened>>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Lists {
    lists: By<RecentKind, List>,
    /// In order; a minute in which nothing was ingested is not there.
    minutes: VecDeque<Minute>,
}

/// What happened lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    lists: Mutex<Lists>,
    /// When a file was ingested last.
    pub(super) last_ingest: Value,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an event, and forgets the oldest of its kind if there are too many.
    pub(super) fn add(&self, path: &Path, at: UnixMillis, facts: Facts) {
        let event = Arc::new(Happened { at, path: path.to_path_buf(), facts });
        let mut lists = self.lock();
        let list = lists.lists.of_mut(event.facts.kind());
        list.bytes += bytes(&event);
        list.events.push_back(event);
        while list.events.len() > RECENT_EVENTS_MAX || list.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = list.events.pop_front() else { break };
            list.bytes -= bytes(&oldest);
        }
    }

    /// A file of so many bytes was ingested at this time since the start.
    pub(super) fn count(&self, bytes: u64, elapsed: Duration) {
        let number = elapsed.as_secs() / 60;
        let mut lists = self.lock();
        let minutes = &mut lists.minutes;
        // Two threads may come in the other order at the turn of a minute: the file counts in the newer one.
        if minutes.back().is_none_or(|last| last.number < number) {
            minutes.push_back(Minute { number, ..Minute::default() });
        }
        if minutes.len() > HOUR_MINUTES {
            minutes.pop_front();
        }
        if let Some(last) = minutes.back_mut() {
            last.files += 1;
            last.bytes += bytes;
        }
    }

    /// The last events of a kind, the newest first.
    pub(super) fn of(&self, kind: RecentKind) -> Vec<Arc<Happened>> {
        self.lock().lists.of(kind).events.iter().rev().cloned().collect()
    }

    /// The minutes of the last hour that have begun, the oldest first; the last is not over.
    pub(super) fn hour(&self, elapsed: Duration) -> Vec<Minute> {
        let now = elapsed.as_secs() / 60;
        let known: Vec<Minute> = self.lock().minutes.iter().copied().collect();
        let first = (now + 1).saturating_sub(HOUR_MINUTES as u64);
        let of = |number| known.iter().find(|minute| minute.number == number).copied();
        (first..=now).map(|number| of(number).unwrap_or(Minute { number, ..Minute::default() })).collect()
    }
}

fn bytes(event: &Happened) -> usize {
    size_of::<Happened>() + event.path.as_os_str().len() + event.facts.bytes()
}

/// The beginning of an error, as much of it as is remembered.
pub(super) fn beginning(error: &str) -> String {
    error[..error.floor_char_boundary(RECENT_ERROR_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: &str) -> Facts {
        Facts::Failed { reason: "not_moved", error: beginning(error), retry_in: None }
    }

    #[test]
    fn lists_are_bounded_in_number_and_bytes() {
        let recent = Recent::default();
        for number in 0..250 {
            recent.add(Path::new(&format!("{number}")), UnixMillis(number), failed("x"));
        }
        let failures = recent.of(RecentKind::Failures);
        assert_eq!(failures.len(), RECENT_EVENTS_MAX);
        assert_eq!((failures[0].at.0, failures[99].at.0), (249, 150), "the newest first");
        let long = PathBuf::from("n".repeat(4096));
        for number in 0..250 {
            let facts = Facts::Duplicate { original: Some(("w".repeat(20_000).into(), 1)), action: "keep" };
            recent.add(&long, UnixMillis(number), facts);
            assert!(recent.lock().lists.of(RecentKind::Duplicates).bytes <= RECENT_BYTES_MAX);
        }
        let duplicates = recent.of(RecentKind::Duplicates);
        assert!((20..RECENT_EVENTS_MAX).contains(&duplicates.len()) && duplicates[0].at.0 == 249);
        assert_eq!(recent.of(RecentKind::Ingested).len(), 0);
    }

    #[test]
    fn an_error_is_cut_between_characters() {
        let long = "é".repeat(RECENT_ERROR_BYTES_MAX);
        assert_eq!(beginning(&format!("x{long}")).len(), RECENT_ERROR_BYTES_MAX - 1);
        assert_eq!(beginning("short"), "short");
    }

    #[test]
    fn the_hour_has_every_minute() {
        let recent = Recent::default();
        let at = |minute: u64| Duration::from_secs(minute * 60 + 59);
        recent.count(1, at(0));
        recent.count(2, at(0));
        recent.count(5, at(2));
        // A thread that was late by a moment.
        recent.count(7, at(1));
        let told = |minute: &Minute| (minute.number, minute.files, minute.bytes);
        assert_eq!(
            recent.hour(at(3)).iter().map(told).collect::<Vec<_>>(),
            [(0, 2, 3), (1, 0, 0), (2, 2, 12), (3, 0, 0)]
        );
        for minute in 3..500 {
            recent.count(minute, at(minute));
        }
        let hour = recent.hour(at(500));
        assert_eq!((hour.len(), hour[0].number, hour[0].files), (HOUR_MINUTES, 440, 1));
        assert_eq!(hour[60], Minute { number: 500, files: 0, bytes: 0 });
        assert!(recent.lock().minutes.len() <= HOUR_MINUTES);
        assert!(recent.hour(at(10_000)).iter().all(|minute| minute.files == 0));
    }
}
