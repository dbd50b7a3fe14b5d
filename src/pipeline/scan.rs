//! Lists the staging directory in slices, and with `--recursive` the directories in it; checks single names.
//!
//! Invariants: only regular files are passed on; no file is opened; links are never followed. Names are paths relative
//! to the staging directory. A file that the scan could not see, because its directory cannot be read, does not count
//! as gone.

pub mod ignored;
pub mod names;
mod orphans;
pub mod patterns;
mod rules;
mod tree;
mod unread;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::ignored::{IgnoredCounts, IgnoredNames};
use self::names::Ignored;
use super::group::Member;
use super::settle::bounds::age;
use super::settle::{Settle, Sighting};
use super::sidecar::{Notes, SidecarNames};
use super::subdir;
use crate::fs::{self, DirEntry, FileKind, Fs};
use crate::limits::{SCAN_REST_FACTOR, SCAN_REST_MAX};
use crate::log;
use crate::types::FileIdentity;
use orphans::Orphans;
pub use rules::NameRules;
use tree::{Closed, Spot, Tree};
pub use tree::{Ear, TreeRules};

/// Names that are checked before the scan lets other work go on.
pub const SCAN_SLICE_NAMES: usize = 512;

/// Scans the staging directory.
pub struct Scanner<F: Fs> {
    fs: F,
    rules: NameRules,
    tree: Tree<F>,
    ignored: IgnoredNames,
    orphans: Orphans,
    notes: Arc<Notes>,
}

impl<F: Fs> Scanner<F> {
    /// A scanner of `staging`, with these rules.
    pub fn new(fs: F, staging: Arc<F::Dir>, rules: NameRules) -> Scanner<F> {
        let (orphans, notes) = (Orphans::default(), Arc::default());
        let tree = Tree::new(fs.clone(), staging, rules.tree);
        Scanner { fs, rules, tree, ignored: IgnoredNames::default(), orphans, notes }
    }

    /// The same, logging only those messages about sidecars that `notes` does not have yet.
    pub fn with_notes(self, notes: Arc<Notes>) -> Scanner<F> {
        Scanner { notes, ..self }
    }

    /// The same, entering none of these directories, by whatever path.
    pub fn with_own(mut self, own: Vec<PathBuf>) -> Scanner<F> {
        self.tree.own(own);
        self
    }

    /// The same, telling `ear` of each directory before it is listed.
    pub fn with_ear(mut self, ear: Option<Box<dyn Ear<F>>>) -> Scanner<F> {
        self.tree.ear = ear;
        self
    }

    /// The names of sidecars whose files do not exist.
    pub fn orphans(&self) -> Vec<OsString> {
        self.orphans.alone().map(|(name, _)| (**name).to_owned()).collect()
    }

    /// Begins a scan of everything, unless one is running.
    pub fn begin(&mut self, settle: &mut Settle) -> fs::Result<()> {
        if !self.tree.is_scanning() {
            self.tree.begin_scan()?;
            settle.begin_scan();
            self.ignored.begin_scan();
            self.orphans.begin_scan();
        }
        Ok(())
    }

    /// True while a scan is running.
    pub fn is_scanning(&self) -> bool {
        self.tree.is_scanning()
    }

    /// True while there is anything to list: a scan is running, or a directory was reported.
    pub fn has_work(&self) -> bool {
        self.tree.is_scanning() || self.tree.has_news()
    }

    /// Ends the running scan early: files that it has not shown may still exist.
    pub fn abandon(&mut self, settle: &mut Settle) {
        if self.tree.abandon_scan() {
            settle.abandon_scan();
        }
    }

    /// Lists a directory, and those below it, because an event on it was reported. False if too many wait already: then
    /// only a scan finds them all.
    pub fn visit(&mut self, name: &OsStr) -> bool {
        let why = self.rules.ignored_dir(subdir::file_name(name)).or_else(|| self.tree.too_far(Path::new(name)));
        match why {
            Some(why) => self.ignored.name(self.tree.path(), name, why),
            None => return self.tree.add_news(Path::new(name)),
        }
        true
    }

    /// True if directories are entered.
    pub fn is_recursive(&self) -> bool {
        self.rules.tree.is_some()
    }

    /// True for a directory that could not be read.
    pub fn could_not_read(&self, name: &OsStr) -> bool {
        self.tree.was_unread(Path::new(name))
    }

    /// Checks the next names of the reported directories, then of the running scan.
    pub fn slice(&mut self, settle: &mut Settle, now: Duration) -> fs::Result<()> {
        for _ in 0..SCAN_SLICE_NAMES {
            let is_news = self.tree.has_news();
            let (spot, entry) = match self.tree.next(is_news) {
                Ok(Some(found)) => found,
                Ok(None) if is_news => continue,
                Ok(None) => {
                    self.end_scan(settle);
                    return Ok(());
                }
                Err((path, Closed::Never(why))) => {
                    self.note(path.as_os_str(), why, is_news);
                    continue;
                }
                Err((_, Closed::Gone)) => continue,
                // Staging itself: the error is not about a part of it.
                Err((path, Closed::Unread(error))) if path.as_os_str().is_empty() => return Err(error),
                Err((path, Closed::Unread(error))) => {
                    self.tree.note_unread(path.clone(), &error);
                    settle.could_not_look();
                    self.note(path.as_os_str(), Ignored::Unreadable, is_news);
                    continue;
                }
            };
            self.look_at_entry(settle, &spot, &entry, is_news, now)?;
        }
        Ok(())
    }

    fn end_scan(&mut self, settle: &mut Settle) {
        if !self.tree.is_scanning() {
            return;
        }
        if self.tree.has_read_all() {
            self.end_scan_of_orphans();
        }
        settle.end_scan_except(&|name| self.tree.is_unread(name));
        self.tree.end_scan();
        self.ignored.end_scan(self.tree.path(), self.rules.include.is_some());
    }

    /// An entry is ignored: the running scan counts it, an event does not.
    fn note(&mut self, name: &OsStr, why: Ignored, is_news: bool) {
        if is_news {
            self.ignored.name(self.tree.path(), name, why);
        } else {
            self.ignored.count(self.tree.path(), name, why);
        }
    }

    /// Checks one entry. For a sidecar, its data file is checked, because it may be missing; each data file only once per
    /// scan.
    fn look_at_entry(
        &mut self,
        settle: &mut Settle,
        spot: &Spot<F>,
        entry: &DirEntry,
        is_news: bool,
        now: Duration,
    ) -> fs::Result<()> {
        let kind = self.kind(spot, entry);
        let path = spot.path.join(&entry.name);
        if kind == Some(FileKind::Directory) && self.rules.tree.is_some() {
            let why = self.rules.ignored_dir(&entry.name).or_else(|| self.tree.too_far(&path));
            match why {
                Some(why) => self.note(path.as_os_str(), why, is_news),
                None => self.tree.add(path, is_news),
            }
            return Ok(());
        }
        let of_kind = kind.and_then(Ignored::of_kind);
        let why = of_kind.or_else(|| self.rules.ignored(&entry.name));
        if let Some(why) = why {
            self.note(path.as_os_str(), why, is_news);
            if of_kind.is_none() && settle.searches() {
                match self.fs.stat(&spot.dir, &entry.name) {
                    Ok(stat) => stat.iter().for_each(|stat| settle.found_elsewhere(&stat.identity)),
                    Err(_) => settle.could_not_look(),
                }
            }
            if why != Ignored::Sidecar {
                return Ok(());
            }
        }
        if self.rules.is_shared_sidecar(&entry.name) {
            self.note_shared_sidecar(settle, spot, path.as_os_str(), now);
            return Ok(());
        }
        let Some(name) = self.rules.subject(&entry.name) else { return Ok(()) };
        let is_listed = name == entry.name;
        let name = if is_listed { path } else { spot.path.join(name) };
        if self.rules.sidecars.is_some() && settle.is_seen(name.as_os_str()) {
            return Ok(());
        }
        let name: Arc<OsStr> = Arc::from(name.as_os_str());
        if let Some(why) = self.look_there(settle, Some(spot), &name, false, now)?
            && is_listed
        {
            self.note(&name, why, is_news);
        }
        Ok(())
    }

    /// What an entry is. Where listings do not report it, only a stat shows which entries are directories.
    fn kind(&self, spot: &Spot<F>, entry: &DirEntry) -> Option<FileKind> {
        if entry.kind.is_some() || self.rules.tree.is_none() {
            return entry.kind;
        }
        self.fs.stat(&spot.dir, &entry.name).ok().flatten().map(|stat| stat.kind)
    }

    /// Checks the file that an event was about.
    pub fn look(&mut self, settle: &mut Settle, name: &OsStr, now: Duration) -> fs::Result<()> {
        let last = subdir::file_name(name);
        if self.rules.is_shared_sidecar(last) {
            for name in settle.beside(name) {
                self.look_at(settle, &name, true, now)?;
            }
            if let Ok(spot) = self.tree.spot(subdir::dir_of(name)) {
                self.note_shared_sidecar(settle, &spot, name, now);
            }
            return Ok(());
        }
        let Some(subject) = self.rules.subject(last) else { return Ok(()) };
        let name = Arc::from(subdir::beside(name, &subject));
        if let Some(why) = self.look_at(settle, &name, true, now)? {
            self.ignored.name(self.tree.path(), &name, why);
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
        match self.tree.spot(subdir::dir_of(name)) {
            Ok(spot) => self.look_there(settle, Some(&spot), name, nudged, now),
            Err(Closed::Gone | Closed::Never(_)) => self.look_there(settle, None, name, nudged, now),
            // Nothing is known of the file. The next scan tries again, and says so.
            Err(Closed::Unread(_)) => {
                settle.could_not_look();
                Ok(None)
            }
        }
    }

    /// The same, in its directory; None if that is not there any more.
    fn look_there(
        &mut self,
        settle: &mut Settle,
        spot: Option<&Spot<F>>,
        name: &Arc<OsStr>,
        nudged: bool,
        now: Duration,
    ) -> fs::Result<Option<Ignored>> {
        let sidecar_name = self.rules.sidecars.as_ref().map_or_else(OsString::new, |names| names.of(name));
        let mut stat = self.stat(settle, spot, name)?;
        let sidecar = spot.and_then(|spot| self.stat_sidecar(spot, &sidecar_name));
        if stat == Some(None) && sidecar.is_some() {
            // Both may have come since the first stat.
            stat = self.stat(settle, spot, name)?;
        }
        let is_missing = stat == Some(None);
        let stat = stat.flatten();
        let other = stat.and_then(|stat| Ignored::of_kind(stat.kind));
        let file = stat.filter(|_| other.is_none());
        if file.is_some() {
            self.ignored.matched();
            if self.ignored.minds_escapes() && self.rules.escapes_by_case(subdir::file_name(name)) {
                self.ignored.escaped(self.tree.path(), name);
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
    fn stat(&self, settle: &mut Settle, spot: Option<&Spot<F>>, name: &OsStr) -> fs::Result<Option<Option<fs::Stat>>> {
        let Some(spot) = spot else { return Ok(Some(None)) };
        match self.fs.stat(&spot.dir, subdir::file_name(name)) {
            // Staging as a whole fails: the error is not about this name.
            Err(error) if self.tree.is_failing() => Err(error),
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
    fn stat_sidecar(&self, spot: &Spot<F>, name: &OsStr) -> Option<FileIdentity> {
        let last = subdir::file_name(name);
        let stat = if name.is_empty() { None } else { self.fs.stat(&spot.dir, last).unwrap_or(None) };
        stat.filter(|stat| stat.kind == FileKind::Regular).map(|stat| stat.identity)
    }

    /// A sidecar that files may share is there: it is an orphan if the whole scan shows none of them.
    fn note_shared_sidecar(&mut self, settle: &Settle, spot: &Spot<F>, name: &OsStr, now: Duration) {
        if settle.beside(name).is_empty()
            && let Some(sidecar) = self.stat_sidecar(spot, name)
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
        self.notes.orphaned(sidecar, &self.tree.path().join(name));
    }

    /// The members of a group, if each of them has a name that is ingested.
    ///
    /// # Errors
    /// Says which one has not.
    pub fn check_members(&self, members: Vec<Member>) -> Result<Vec<Member>, String> {
        for member in &members {
            let own = subdir::file_name(&member.staged);
            let dir = self.never_entered(subdir::dir_of(&member.staged));
            if let Some(why) = dir.or_else(|| Some(self.rules.ignored(own)?.text())) {
                return Err(format!("{} is never ingested: {why}", member.name.display()));
            }
        }
        Ok(members)
    }

    /// Why the files of a directory in staging are not ingested.
    fn never_entered(&self, dir: &Path) -> Option<&'static str> {
        let depth = dir.iter().count();
        match self.rules.tree {
            _ if depth == 0 => None,
            None => Some("directories are entered only with --recursive"),
            Some(tree) if depth > usize::from(tree.max_depth) => Some(Ignored::TooDeep.text()),
            Some(_) => dir.iter().find_map(|name| self.rules.ignored_dir(name)).map(Ignored::text),
        }
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
    fn scans_take_a_small_part_of_the_time_where_nothing_is_missed() {
        let [interval, short, long] = [5, 1, 4].map(Duration::from_secs);
        assert_eq!(scan_pause(interval, short / 1000, true), interval);
        assert_eq!(scan_pause(interval, short, true), short * SCAN_REST_FACTOR);
        assert_eq!(scan_pause(interval, long, true), SCAN_REST_MAX);
        assert_eq!(scan_pause(interval, long, false), interval);
        assert_eq!(scan_pause(SCAN_REST_MAX * 2, long, true), SCAN_REST_MAX * 2);
    }
}
