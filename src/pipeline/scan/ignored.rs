//! Files in staging that are not ingested: each named once in the log, counted by each scan.
//!
//! Invariants:
//! - At most [`IGNORED_NAMES_MAX`] names are remembered; further ones are only counted.
//! - A name is forgotten when a whole scan has not seen it, and is named again when it comes back.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;

use super::names::Ignored;
use crate::limits::IGNORED_NAMES_MAX;
use crate::log;
use crate::metrics::labels::{By, IgnoredReason, Label as _};

/// How many files are ignored, by reason.
pub type IgnoredCounts = By<IgnoredReason, usize>;

/// The memory of ignored names.
#[derive(Debug, Default)]
pub struct IgnoredNames {
    named: HashMap<Arc<OsStr>, Named>,
    scan: u16,
    /// The counts of the running scan, and of the last complete one.
    counting: IgnoredCounts,
    counted: IgnoredCounts,
    said: Said,
}

#[derive(Debug)]
struct Named {
    why: Ignored,
    scan: u16,
}

/// The messages that are logged once per process.
#[derive(Debug, Default)]
struct Said {
    that_some_are_left: bool,
    that_names_are_many: bool,
    that_nothing_matches: bool,
    that_case_differs: bool,
    that_case_escapes: bool,
    a_match: bool,
}

impl IgnoredNames {
    /// Whatever is seen from now on belongs to a new scan.
    pub fn begin_scan(&mut self) {
        self.scan = self.scan.wrapping_add(1);
        self.counting = IgnoredCounts::default();
    }

    /// The running scan has seen this name.
    pub fn count(&mut self, dir: &Path, name: &OsStr, why: Ignored) {
        if let Some(reason) = why.reason() {
            *self.counting.of_mut(reason) += 1;
            self.name(dir, name, why);
        }
    }

    /// Names it in the log, unless that was done already.
    pub fn name(&mut self, dir: &Path, name: &OsStr, why: Ignored) {
        let Some(reason) = why.reason() else { return };
        if why == (Ignored::NotIncluded { but_for_case: true }) && !self.said.that_case_differs {
            self.said.that_case_differs = true;
            warn_of_case("--include", dir, name, "is not taken: the pattern would match it in another case");
        }
        let scan = self.scan;
        if let Some(named) = self.named.get_mut(name).filter(|named| named.why == why) {
            named.scan = scan;
            return;
        }
        if self.named.len() >= IGNORED_NAMES_MAX && !self.named.contains_key(name) {
            if !std::mem::replace(&mut self.said.that_names_are_many, true) {
                let message = "further names are only counted, in csv_ingestor_ignored_files";
                tracing::debug!(event = "file_ignored", path = None::<&str>, reason = None::<&str>, message);
            }
            return;
        }
        self.named.insert(Arc::from(name), Named { why, scan });
        let path = dir.join(name);
        tracing::debug!(event = "file_ignored", path = log::path(&path), reason = reason.text(), message = why.text());
    }

    /// A name matched, and is ingested.
    pub fn matched(&mut self) {
        self.said.a_match = true;
    }

    /// True until [`IgnoredNames::escaped`] was called: a name is ingested although a pattern of `--exclude` matches it
    /// in another case.
    pub fn minds_escapes(&self) -> bool {
        !self.said.that_case_escapes
    }

    /// Logs that.
    pub fn escaped(&mut self, dir: &Path, name: &OsStr) {
        self.said.that_case_escapes = true;
        warn_of_case("--exclude", dir, name, "is taken: the pattern would match it only in another case");
    }

    /// The scan is complete.
    pub fn end_scan(&mut self, dir: &Path, is_selective: bool) {
        let scan = self.scan;
        self.named.retain(|_, named| named.scan == scan);
        self.counted = std::mem::take(&mut self.counting);
        let of = |reason| *self.counted.of(reason);
        let others = of(IgnoredReason::NotIncluded);
        if is_selective && others > 0 && !self.said.a_match && !self.said.that_nothing_matches {
            self.said.that_nothing_matches = true;
            let message = "--include matches none of the files in staging";
            tracing::warn!(event = "include_matches_nothing", path = log::path(dir), files = others, message);
        }
        if self.total() > 0 && !self.said.that_some_are_left {
            self.said.that_some_are_left = true;
            tracing::info!(
                event = "files_ignored",
                directory = of(IgnoredReason::Directory),
                link = of(IgnoredReason::Link),
                special = of(IgnoredReason::Special),
                hidden = of(IgnoredReason::Hidden),
                temporary = of(IgnoredReason::Temporary),
                not_data = of(IgnoredReason::NotData),
                sidecar = of(IgnoredReason::Sidecar),
                not_included = others,
                excluded = of(IgnoredReason::Excluded),
                message = "logged once; --log-level debug names each of them",
            );
        }
    }

    /// How many files the last whole scan ignored.
    pub fn counts(&self) -> &IgnoredCounts {
        &self.counted
    }

    fn total(&self) -> usize {
        self.counted.iter().map(|(_, count)| count).sum()
    }

    /// The names, and how many more there are.
    pub fn into_names(self) -> (Vec<(Arc<OsStr>, Ignored)>, usize) {
        let more = self.total().saturating_sub(self.named.len());
        (self.named.into_iter().map(|(name, named)| (name, named.why)).collect(), more)
    }
}

fn warn_of_case(option: &str, dir: &Path, name: &OsStr, message: &str) {
    let path = dir.join(name);
    tracing::warn!(event = "pattern_case_differs", option, path = log::path(&path), message);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why: a staging directory may hold a million names that are not ingested, and each transfer has a new one.
    #[test]
    fn the_memory_is_bounded_and_what_is_gone_is_forgotten() {
        let dir = Path::new("/in");
        let mut ignored = IgnoredNames::default();
        ignored.begin_scan();
        for n in 0..3 * IGNORED_NAMES_MAX {
            ignored.count(dir, OsStr::new(&format!("{n}.part")), Ignored::Temporary);
            ignored.count(dir, OsStr::new(&format!("{n}.part.ok")), Ignored::Sidecar);
        }
        ignored.end_scan(dir, false);
        assert_eq!(ignored.named.len(), IGNORED_NAMES_MAX);
        assert_eq!(*ignored.counts().of(IgnoredReason::Temporary), 3 * IGNORED_NAMES_MAX);
        ignored.begin_scan();
        ignored.count(dir, OsStr::new("dir"), Ignored::Directory);
        ignored.end_scan(dir, false);
        ignored.begin_scan();
        ignored.count(dir, OsStr::new("dir"), Ignored::Directory);
        ignored.end_scan(dir, false);
        let (names, more) = ignored.into_names();
        assert_eq!((names.len(), more), (1, 0));
    }
}
