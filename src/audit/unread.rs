//! Manifests that cannot be read, as a whole or from some byte on.
//!
//! Invariants:
//! - Each is reported once, with its path.
//! - About files that such a manifest may list, nothing is reported that only its lines could prove.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Kind, Reporter};
use crate::pipeline::manifest::hours::Unread;
use crate::pipeline::manifest::read::Error;
use crate::pipeline::manifest::{MANIFEST_NAME, hour_dir};
use crate::types::{PARTITION_PREFIX, UnixMillis};

/// The unreadable manifests found so far.
pub(super) struct Unreads {
    root: PathBuf,
    /// Manifests, and directories of manifests.
    paths: BTreeSet<PathBuf>,
}

impl Unreads {
    /// No unreadable manifest yet, below `root`.
    pub(super) fn none(root: &Path) -> Unreads {
        Unreads { root: root.to_path_buf(), paths: BTreeSet::new() }
    }

    /// Adds one, and reports it if it is new.
    pub(super) fn add(&mut self, Unread { path, why }: Unread, reporter: &Reporter) {
        if !self.paths.insert(path.clone()) {
            return;
        }
        let kind = match why {
            Error::Irregular { .. } => Kind::IrregularManifest,
            Error::Io(_) => Kind::Unreadable,
        };
        reporter.report(&Finding::new(kind, path, format!("{why}; its lines are not compared")));
    }

    /// True if a file that was found complete at this instant may have its line in one of them.
    pub(super) fn may_list(&self, at: UnixMillis) -> bool {
        let manifest = hour_dir(&self.root, at).join(MANIFEST_NAME);
        !self.paths.is_empty() && manifest.ancestors().any(|path| self.paths.contains(path))
    }

    /// The same for a file in this partition. One without a date may be listed anywhere.
    pub(super) fn may_list_in(&self, partition: &Path) -> bool {
        let names = partition.iter().rev().map(OsStr::to_string_lossy);
        let date = names.filter_map(|name| name.strip_prefix(PARTITION_PREFIX).map(str::to_owned)).next();
        let Some(date) = date else { return !self.paths.is_empty() };
        let day = date.split('-').fold(self.root.clone(), |path, part| path.join(part));
        self.paths.iter().any(|path| path.starts_with(&day) || day.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_or_what_it_is_in_speaks_for_its_hours_and_its_day() {
        let reporter = Reporter::new(Box::new(|_| Ok(())));
        let error = |path: &str| {
            let source = std::io::ErrorKind::PermissionDenied.into();
            Unread {
                path: path.into(),
                why: crate::fs::Error { op: crate::fs::Syscall::Open, path: path.into(), source }.into(),
            }
        };
        let at = |text: &str| UnixMillis::from_system_time(humantime::parse_rfc3339(text).unwrap());
        let day = |date: &str| PathBuf::from(format!("/wh/ingest_date={date}"));
        let mut unreads = Unreads::none(Path::new("/mf"));
        assert!(!unreads.may_list(at("2026-01-02T03:00:00Z")) && !unreads.may_list_in(&day("2026-01-02")));
        assert!(!unreads.may_list_in(Path::new("/wh/source=a")));
        for _ in 0..2 {
            unreads.add(error("/mf/2026/01/02/03/manifest.jsonl"), &reporter);
            unreads.add(error("/mf/2025/12"), &reporter);
        }
        assert_eq!(reporter.counts().unwrap()[Kind::Unreadable as usize], 2, "each is told once");
        assert!(unreads.may_list_in(Path::new("/wh/source=a")), "it may be listed in any");
        for (text, expected) in [
            ("2026-01-02T03:59:59.999Z", true),
            ("2026-01-02T04:00:00Z", false),
            ("2025-12-31T23:00:00Z", true),
            ("2025-11-30T23:00:00Z", false),
        ] {
            assert_eq!(unreads.may_list(at(text)), expected, "{text}");
        }
        for (date, expected) in
            [("2026-01-02", true), ("2026-01-03", false), ("2025-12-31", true), ("2025-11-30", false), ("x", false)]
        {
            assert_eq!(unreads.may_list_in(&day(date)), expected, "{date}");
            assert_eq!(unreads.may_list_in(&day(date).join("source=a")), expected, "{date}");
        }
    }
}
