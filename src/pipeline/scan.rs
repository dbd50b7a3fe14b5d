//! Lists the staging directory in slices, and checks single names.
//!
//! Invariants: only regular files are passed on; nothing is opened; links are never followed.

pub mod ignored;
pub mod names;
mod orphans;
pub mod patterns;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use self::ignored::{IgnoredCounts, IgnoredNames};
use self::names::{Ignored, ignored_always};
use self::patterns::Patterns;
use super::group::{Member, is_group_file};
use super::settle::bounds::age;
use super::settle::{Settle, Sighting};
use super::sidecar::{Notes, SidecarNames};
use crate::fs::{self, DirEntry, FileKind, Fs};
use crate::limits::{SCAN_REST_FACTOR, SCAN_REST_MAX};
use crate::log;
use crate::types::FileIdentity;
use orphans::Orphans;

/// Names that are checked before the scan lets other work go on.
pub const SCAN_SLICE_NAMES: usize = 512;

/// Which names are ingested.
#[derive(Clone, Debug, Default)]
pub struct NameRules {
    /// What `--include` allows; None allows all.
    pub include: Option<Patterns>,
    /// What `--exclude` removes from that.
    pub exclude: Option<Patterns>,
    /// In sidecar mode, the names of sidecars.
    pub sidecars: Option<SidecarNames>,
    /// In group mode, names with the suffix of group files are theirs, whatever the patterns say.
    pub groups: bool,
}

impl NameRules {
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

/// Scans the staging directory.
pub struct Scanner<F: Fs> {
    fs: F,
    staging: Arc<F::Dir>,
    rules: NameRules,
    listing: Option<F::Listing>,
    ignored: IgnoredNames,
    orphans: Orphans,
    notes: Arc<Notes>,
}

impl<F: Fs> Scanner<F> {
    /// A scanner of `staging`, with these rules.
    pub fn new(fs: F, staging: Arc<F::Dir>, rules: NameRules) -> Scanner<F> {
        let (orphans, notes) = (Orphans::default(), Arc::default());
        Scanner { fs, staging, rules, listing: None, ignored: IgnoredNames::default(), orphans, notes }
    }

    /// The same, logging only those messages about sidecars that `notes` does not have yet.
    pub fn with_notes(self, notes: Arc<Notes>) -> Scanner<F> {
        Scanner { notes, ..self }
    }

    /// The names of sidecars whose files do not exist.
    pub fn orphans(&self) -> Vec<OsString> {
        self.orphans.alone().map(|(name, _)| (**name).to_owned()).collect()
    }

    /// Begins a scan of the whole directory, unless one is running.
    pub fn begin(&mut self, settle: &mut Settle) -> fs::Result<()> {
        if self.listing.is_none() {
            self.listing = Some(self.fs.list(&self.staging)?);
            settle.begin_scan();
            self.ignored.begin_scan();
            self.orphans.begin_scan();
        }
        Ok(())
    }

    /// True while a scan is running.
    pub fn is_scanning(&self) -> bool {
        self.listing.is_some()
    }

    /// Ends the running scan early: files that it has not shown may still exist.
    pub fn abandon(&mut self, settle: &mut Settle) {
        if self.listing.take().is_some() {
            settle.abandon_scan();
        }
    }

    /// Checks the next names of the running scan.
    pub fn slice(&mut self, settle: &mut Settle, now: Duration) -> fs::Result<()> {
        for _ in 0..SCAN_SLICE_NAMES {
            let Some(listing) = &mut self.listing else { return Ok(()) };
            let Some(entry) = listing.next() else {
                self.listing = None;
                settle.end_scan();
                self.end_scan_of_orphans();
                self.ignored.end_scan(self.fs.dir_path(&self.staging), self.rules.include.is_some());
                return Ok(());
            };
            let entry = entry?;
            self.look_at_entry(settle, &entry, now)?;
        }
        Ok(())
    }

    /// Checks one entry. For a sidecar, its data file is checked, because it may be missing; each data file only once per
    /// scan.
    fn look_at_entry(&mut self, settle: &mut Settle, entry: &DirEntry, now: Duration) -> fs::Result<()> {
        let of_kind = entry.kind.and_then(Ignored::of_kind);
        let why = of_kind.or_else(|| self.rules.ignored(&entry.name));
        if let Some(why) = why {
            self.ignored.count(self.fs.dir_path(&self.staging), &entry.name, why);
            if of_kind.is_none() && settle.searches() {
                match self.fs.stat(&self.staging, &entry.name) {
                    Ok(stat) => stat.iter().for_each(|stat| settle.found_elsewhere(&stat.identity)),
                    Err(_) => settle.could_not_look(),
                }
            }
            if why != Ignored::Sidecar {
                return Ok(());
            }
        }
        if self.rules.is_shared_sidecar(&entry.name) {
            self.note_shared_sidecar(settle, &entry.name, now);
            return Ok(());
        }
        let Some(name) = self.rules.subject(&entry.name) else { return Ok(()) };
        if self.rules.sidecars.is_some() && settle.is_seen(&name) {
            return Ok(());
        }
        let is_listed = name == entry.name;
        if let Some(why) = self.look_at(settle, &Arc::from(name), false, now)?
            && is_listed
        {
            self.ignored.count(self.fs.dir_path(&self.staging), &entry.name, why);
        }
        Ok(())
    }

    /// Checks the file that an event was about.
    pub fn look(&mut self, settle: &mut Settle, name: &OsStr, now: Duration) -> fs::Result<()> {
        if self.rules.is_shared_sidecar(name) {
            for name in settle.beside(name) {
                self.look_at(settle, &name, true, now)?;
            }
            self.note_shared_sidecar(settle, name, now);
            return Ok(());
        }
        let Some(name) = self.rules.subject(name) else { return Ok(()) };
        let name = Arc::from(name);
        if let Some(why) = self.look_at(settle, &name, true, now)? {
            self.ignored.name(self.fs.dir_path(&self.staging), &name, why);
        }
        Ok(())
    }

    /// Checks a data file by its name. Returns why it is not one, if the name belongs to something else.
    pub fn look_at(
        &mut self,
        settle: &mut Settle,
        name: &Arc<OsStr>,
        nudged: bool,
        now: Duration,
    ) -> fs::Result<Option<Ignored>> {
        let sidecar_name = self.rules.sidecars.as_ref().map_or_else(OsString::new, |names| names.of(name));
        let mut stat = self.stat(settle, name)?;
        let sidecar = self.stat_sidecar(&sidecar_name);
        if stat == Some(None) && sidecar.is_some() {
            // Both may have come since the first stat.
            stat = self.stat(settle, name)?;
        }
        let is_missing = stat == Some(None);
        let stat = stat.flatten();
        let other = stat.and_then(|stat| Ignored::of_kind(stat.kind));
        let file = stat.filter(|_| other.is_none());
        if file.is_some() {
            self.ignored.matched();
            if self.ignored.minds_escapes() && self.rules.escapes_by_case(name) {
                self.ignored.escaped(self.fs.dir_path(&self.staging), name);
            }
        }
        let clocks = || (self.fs.now(), now);
        let mut orphaned = false;
        match (file, sidecar) {
            (Some(file), Some(sidecar)) => {
                orphaned = self.orphans.is_orphan(&sidecar_name, file.born, &sidecar, clocks);
                if orphaned && sidecar.size == 0 {
                    self.say_orphaned(&sidecar_name, &sidecar);
                }
            }
            // Whether another file has a shared one is known at the end of the scan.
            (None, Some(_)) if self.are_shared() => {}
            // While a file is in flight, its sidecar is removed after it.
            (None, Some(sidecar)) if is_missing && !settle.is_in_flight(name) => {
                self.orphans.note(&sidecar_name, sidecar, clocks(), true);
                // After a mere event, the file may be about to come: a scan will show.
                if !nudged {
                    self.say_orphaned(&sidecar_name, &sidecar);
                }
            }
            (_, None) => self.orphans.forget(&sidecar_name),
            (None, Some(_)) => {}
        }
        let sighting = file.map(|stat| Sighting { stat, sidecar, orphaned, age: age(&stat.identity, self.fs.now()) });
        settle.see(name, sighting.as_ref(), nudged, now);
        Ok(other)
    }

    /// The file of that name, or None if there is none; None as a whole if it cannot be determined.
    fn stat(&self, settle: &mut Settle, name: &OsStr) -> fs::Result<Option<Option<fs::Stat>>> {
        match self.fs.stat(&self.staging, name) {
            // The directory as a whole fails: the error is not about this name.
            Err(error) if self.fs.stat(&self.staging, OsStr::new(".")).is_err() => Err(error),
            // One bad inode is no reason to stop; the next scan checks it again.
            Err(error) => {
                tracing::warn!(event = "stat_failed", path = log::path(&error.path), error = %error);
                settle.could_not_look();
                Ok(None)
            }
            Ok(stat) => Ok(Some(stat)),
        }
    }

    fn are_shared(&self) -> bool {
        self.rules.sidecars.as_ref().is_some_and(SidecarNames::are_shared)
    }

    /// A sidecar, if it is there. One with too long a name cannot exist.
    fn stat_sidecar(&self, name: &OsStr) -> Option<FileIdentity> {
        let stat = if name.is_empty() { None } else { self.fs.stat(&self.staging, name).unwrap_or(None) };
        stat.filter(|stat| stat.kind == FileKind::Regular).map(|stat| stat.identity)
    }

    /// A sidecar that files may share is there: it is an orphan if the whole scan shows none of them.
    fn note_shared_sidecar(&mut self, settle: &Settle, name: &OsStr, now: Duration) {
        if settle.beside(name).is_empty()
            && let Some(sidecar) = self.stat_sidecar(name)
        {
            self.orphans.note(name, sidecar, (self.fs.now(), now), false);
        }
    }

    fn end_scan_of_orphans(&mut self) {
        self.orphans.end_scan();
        if self.are_shared() {
            self.orphans.alone().for_each(|(name, sidecar)| self.say_orphaned(name, sidecar));
        }
    }

    fn say_orphaned(&self, name: &OsStr, sidecar: &FileIdentity) {
        self.notes.orphaned(sidecar, &self.fs.dir_path(&self.staging).join(name));
    }

    /// The members of a group, if each of them has a name that is ingested.
    ///
    /// # Errors
    /// Says which one has not.
    pub fn check_members(&self, members: Vec<Member>) -> Result<Vec<Member>, String> {
        for member in &members {
            let name = member.name.file_name().unwrap_or_default();
            if let Some(why) = self.rules.ignored(name) {
                return Err(format!("{} is never ingested: {}", member.name.display(), why.text()));
            }
        }
        Ok(members)
    }

    /// How many files the last whole scan ignored.
    pub fn ignored(&self) -> &IgnoredCounts {
        self.ignored.counts()
    }

    /// The ignored names, and how many more there are.
    pub fn into_ignored(self) -> (Vec<(Arc<OsStr>, Ignored)>, usize) {
        self.ignored.into_names()
    }
}

/// How long to wait before the next scan, after one that took this long. If events report everything, scans may use only
/// a small part of the time: each checks every kept duplicate, and there may be very many.
pub fn scan_pause(interval: Duration, took: Duration, hears_all: bool) -> Duration {
    if !hears_all {
        return interval;
    }
    let rest = took.saturating_mul(SCAN_REST_FACTOR).min(SCAN_REST_MAX);
    interval.max(rest)
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

    #[test]
    fn scans_take_a_small_part_of_the_time_where_nothing_is_missed() {
        let [interval, short, long] = [5, 1, 4].map(Duration::from_secs);
        assert_eq!(scan_pause(interval, short / 1000, true), interval);
        assert_eq!(scan_pause(interval, short, true), short * SCAN_REST_FACTOR);
        assert_eq!(scan_pause(interval, long, true), SCAN_REST_MAX);
        assert_eq!(scan_pause(interval, long, false), interval);
        assert_eq!(scan_pause(SCAN_REST_MAX * 2, long, true), SCAN_REST_MAX * 2);
    }
}
