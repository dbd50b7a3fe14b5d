//! Which names are ingested, and which directories are entered, by the options.
//!
//! Invariant: it depends on names alone, and on a file's own name, not on those of its directories.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::names::{Ignored, ignored_always};
use super::patterns::Patterns;
use super::tree::TreeRules;
use crate::pipeline::group::is_group_file;
use crate::pipeline::sidecar::SidecarNames;

/// Which names are ingested.
#[derive(Clone, Debug, Default)]
pub struct NameRules {
    /// What `--include` allows; None allows all.
    pub include: Option<Patterns>,
    /// What `--exclude` removes from that.
    pub exclude: Option<Patterns>,
    /// In sidecar mode, the names of sidecars.
    pub sidecars: Option<SidecarNames>,
    /// How far directories are entered; None: not at all.
    pub tree: Option<TreeRules>,
    /// In group mode, names with the suffix of group files are theirs, whatever the patterns say.
    pub groups: bool,
}

impl NameRules {
    /// Why a directory of that name is not entered, wherever it is.
    pub fn ignored_dir(&self, name: &OsStr) -> Option<Ignored> {
        if name.as_bytes().starts_with(b".") {
            return Some(Ignored::Hidden);
        }
        self.exclude.as_ref().is_some_and(|exclude| exclude.matches(name)).then_some(Ignored::Excluded)
    }

    /// True for the name of a data file.
    pub fn wants(&self, name: &OsStr) -> bool {
        self.ignored(name).is_none()
    }

    /// Why the name is not a data file's.
    pub fn ignored(&self, name: &OsStr) -> Option<Ignored> {
        if let Some((core, names)) = self.sidecars.as_ref().and_then(|names| Some((names.core(name)?, names))) {
            let is_used = match names.data_name(name) {
                Some(of) => self.ignored_as_data(&of).is_none(),
                // Of files that may share it, only this much of the names is known.
                None => !core.starts_with(b"."),
            };
            return Some(if is_used { Ignored::Sidecar } else { Ignored::SidecarOfIgnored });
        }
        self.ignored_as_data(name)
    }

    /// True for a sidecar that several files may share.
    pub fn is_shared_sidecar(&self, name: &OsStr) -> bool {
        self.sidecars.as_ref().is_some_and(|names| names.are_shared() && names.core(name).is_some())
    }

    fn ignored_as_data(&self, name: &OsStr) -> Option<Ignored> {
        if let Some(always) = ignored_always(name.as_bytes()) {
            return Some(always);
        }
        if self.groups && is_group_file(name) {
            return None;
        }
        if let Some(include) = self.include.as_ref().filter(|include| !include.matches(name)) {
            return Some(Ignored::NotIncluded { but_for_case: include.matches_but_for_case(name) });
        }
        let is_excluded = self.exclude.as_ref().is_some_and(|exclude| exclude.matches(name));
        is_excluded.then_some(Ignored::Excluded)
    }

    /// True for a name that is ingested although `--exclude` would match it in another case.
    pub fn escapes_by_case(&self, name: &OsStr) -> bool {
        self.exclude.as_ref().is_some_and(|exclude| exclude.matches_but_for_case(name))
    }

    /// The data file that an event on `name` is about; None for a sidecar that several files may share.
    pub fn subject(&self, name: &OsStr) -> Option<OsString> {
        if self.is_shared_sidecar(name) {
            return None;
        }
        let data = self.sidecars.as_ref().and_then(|names| names.data_name(name));
        let name = data.unwrap_or_else(|| name.to_owned());
        self.ignored_as_data(&name).is_none().then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_told_from_one_of_a_name_that_is_ignored() {
        let rules = NameRules {
            sidecars: Some(".ok".into()),
            exclude: Patterns::new(&["x*".to_owned()]).unwrap(),
            ..NameRules::default()
        };
        let judge = |name: &str| rules.ignored(OsStr::new(name));
        assert_eq!(judge("a.csv"), None);
        assert_eq!(judge("a.csv.ok"), Some(Ignored::Sidecar));
        for name in ["a.part.ok", ".a.csv.ok", "x.csv.ok", "Thumbs.db.ok"] {
            assert_eq!(judge(name), Some(Ignored::SidecarOfIgnored), "{name}");
        }
        assert_eq!(judge("x.csv"), Some(Ignored::Excluded));
        assert_eq!(rules.subject(OsStr::new("a.csv.ok")), Some("a.csv".into()));
        assert_eq!(rules.subject(OsStr::new("x.csv.ok")), None);
    }

    /// Why: what is excluded may have the stem of what is not, so the names of its files do not say whether it is used.
    #[test]
    fn a_shared_sidecar_is_about_no_single_name() {
        let names = SidecarNames::parse(OsStr::new("{stem}.done")).unwrap();
        let exclude = Patterns::new(&["x*".to_owned()]).unwrap();
        let rules = NameRules { sidecars: Some(names), exclude, ..NameRules::default() };
        let judge = |name: &str| rules.ignored(OsStr::new(name));
        assert_eq!((judge("a.csv"), judge("x.csv")), (None, Some(Ignored::Excluded)));
        assert_eq!((judge("a.done"), judge("x.done")), (Some(Ignored::Sidecar), Some(Ignored::Sidecar)));
        assert_eq!(judge(".a.done"), Some(Ignored::SidecarOfIgnored));
        assert!(rules.is_shared_sidecar(OsStr::new("a.done")) && rules.subject(OsStr::new("a.done")).is_none());
    }

    #[test]
    fn case_counts_and_is_told_where_only_it_differs() {
        let rules = NameRules {
            include: Patterns::new(&["*.csv".to_owned()]).unwrap(),
            exclude: Patterns::new(&["old*".to_owned()]).unwrap(),
            ..NameRules::default()
        };
        let judge = |name: &str| rules.ignored(OsStr::new(name));
        assert_eq!(judge("A.CSV"), Some(Ignored::NotIncluded { but_for_case: true }));
        assert_eq!(judge("a.txt"), Some(Ignored::NotIncluded { but_for_case: false }));
        assert_eq!(judge("old.csv"), Some(Ignored::Excluded));
        assert_eq!(judge("Old.csv"), None);
        assert!(rules.escapes_by_case(OsStr::new("Old.csv")) && !rules.escapes_by_case(OsStr::new("new.csv")));
    }
}
