//! The second check. Before anything is reported that a file on its way could explain, journal and manifests are read
//! once more, and the audit waits for items so young that an ingestor may still be working on them.
//!
//! Invariants:
//! - Each check reads in a fixed order: the names were seen before the lines and the journal that have to contain them
//!   are read. So a file that arrives in between cannot cause a finding.
//! - The wait is bounded: the grace of the plan in all, whatever changes meanwhile; none for items that are older.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::context::Audit;
use super::finding::{Finding, Kind};
use super::journal_view::Known;
use super::manifests::{Doubt, Suspect};
use super::places::split;
use super::walk::Extra;
use crate::Error;
use crate::fs::Fs;
use crate::journal::lifecycle::FileState;
use crate::pipeline::manifest::hours::{Unread, manifests};
use crate::pipeline::manifest::read::{self, LinePlace, Lines, Listed, Text};
use crate::types::FileTime;

/// The first pause between two checks; each further one is twice as long, up to [`NAP_MAX`].
const NAP_MIN: Duration = Duration::from_millis(200);
/// See [`NAP_MIN`].
const NAP_MAX: Duration = Duration::from_secs(5);
/// The interval at which a pause checks whether to stop.
const STOP_WAIT: Duration = Duration::from_millis(50);

impl<F: Fs> Audit<'_, '_, F> {
    /// Checks again, and reports what has not been explained.
    pub(super) fn look_again(
        &mut self,
        mut extras: Vec<Extra>,
        mut suspects: Vec<Suspect>,
        unknown: &[u32],
    ) -> Result<(), Error> {
        let mut known = None;
        let (mut nap, mut waited) = (NAP_MIN, Duration::ZERO);
        while !(suspects.is_empty() && extras.is_empty() && unknown.is_empty()) {
            suspects = self.still_suspect(suspects);
            if !extras.is_empty() {
                let listed = self.listed_since()?;
                extras.retain(|extra| !listed.contains(&extra.place) && self.is_there(extra));
            }
            known = self.read_journal()?;
            if let Some(known) = &known {
                self.drop_on_their_way(&mut extras, known);
            }
            let Some(left) = self.young_for(&extras, &suspects) else { break };
            let pause = left.min(nap).min(self.grace.saturating_sub(waited));
            if pause.is_zero() {
                break;
            }
            self.sleep(pause);
            (nap, waited) = (NAP_MAX.min(nap * 2), waited + pause);
            if self.watch.is_stopped() {
                return Ok(());
            }
        }
        if let Some(known) = known.as_ref().filter(|_| !extras.is_empty()) {
            self.drop_known(&mut extras, known)?;
        }
        if let Some(known) = &known {
            self.judge_unknown(unknown, known)?;
        }
        for suspect in suspects {
            let kind = match suspect.doubt {
                Doubt::Torn => Kind::TornLine,
                Doubt::Malformed => Kind::MalformedLine,
                Doubt::Group(_) => Kind::GroupIncomplete,
            };
            let lines = vec![LinePlace { manifest: suspect.manifest.clone(), number: suspect.number }];
            self.report(&Finding { lines, ..Finding::new(kind, suspect.manifest, suspect.why) });
        }
        let found = extras.len();
        extras.retain(|extra| !self.unreads.borrow().may_list_in(&extra.dir));
        self.leave_undecided(found - extras.len());
        for extra in extras {
            let detail = match (&known, self.with_journal()) {
                (None, false) => "no manifest lists it",
                _ => "neither a manifest nor the journal knows it",
            };
            self.report(&Finding::new(Kind::Extra, extra.path(), detail));
        }
        Ok(())
    }

    /// The lines that still cannot be read.
    fn still_suspect(&self, suspects: Vec<Suspect>) -> Vec<Suspect> {
        let still = |mut suspect: Suspect| match self.is_suspect(&mut suspect) {
            Ok(is_suspect) => is_suspect.then_some(suspect),
            Err(error) if error.is_not_found() => None,
            Err(why) => {
                self.note_unread(Unread { path: suspect.manifest.clone(), why });
                Some(suspect)
            }
        };
        suspects.into_iter().filter_map(still).collect()
    }

    fn is_suspect(&self, suspect: &mut Suspect) -> Result<bool, read::Error> {
        let mut lines = Lines::open(self.fs, &suspect.manifest, suspect.offset)?;
        if let Doubt::Group(run) = &mut suspect.doubt {
            return run.is_suspect(&mut lines, &mut suspect.why);
        }
        let Some(line) = lines.next_line()? else { return Ok(false) };
        let Err(why) = line.parse() else { return Ok(false) };
        suspect.doubt = if matches!(line.text, Text::Unfinished(_)) { Doubt::Torn } else { Doubt::Malformed };
        suspect.why = why;
        Ok(true)
    }

    /// The places of the lines that were appended since the manifests were read.
    fn listed_since(&self) -> Result<HashSet<u64>, Error> {
        let read: HashMap<&Path, u64> =
            self.table.manifests.iter().map(|manifest| (manifest.path.as_path(), manifest.end)).collect();
        let (mut listed, mut places) = (HashSet::new(), self.table.places(self.warehouse));
        let hours = manifests(self.fs, &self.manifests, self.since)?;
        hours.unread.into_iter().for_each(|unread| self.note_unread(unread));
        for manifest in hours.manifests {
            let begin = read.get(manifest.as_path()).copied().unwrap_or(0);
            let place = &mut |listed: Listed| places.of(&listed.warehouse_path);
            match self.listed_from(&manifest, begin, place, &mut listed) {
                Err(error) if error.is_not_found() => {}
                Err(why) => self.note_unread(Unread { path: manifest, why }),
                Ok(()) => {}
            }
        }
        Ok(listed)
    }

    fn listed_from(
        &self,
        manifest: &Path,
        begin: u64,
        place: &mut dyn FnMut(Listed) -> u64,
        listed: &mut HashSet<u64>,
    ) -> Result<(), read::Error> {
        let mut lines = Lines::open(self.fs, manifest, begin)?;
        while let Some(line) = lines.next_line()? {
            listed.extend(line.parse().ok().map(|it| place(self.table.understood(it))));
        }
        Ok(())
    }

    fn is_there(&self, extra: &Extra) -> bool {
        let dir = self.warehouse.open_dir(&extra.dir);
        dir.is_ok_and(|dir| self.fs.stat(&dir, &extra.name).is_ok_and(|stat| stat.is_some()))
    }

    fn drop_on_their_way(&mut self, extras: &mut Vec<Extra>, known: &Known) {
        let mut places = self.table.places(self.warehouse);
        let places: HashSet<u64> = known.on_their_way().map(|file| places.of(&file.warehouse_path)).collect();
        extras.retain(|extra| !places.contains(&extra.place));
        self.summary.on_their_way = known.on_their_way().filter(|file| file.state == FileState::Moved).count() as u64;
    }

    /// Drops files that are MANIFESTED in the journal: their missing line is reported already.
    fn drop_known(&self, extras: &mut Vec<Extra>, known: &Known) -> Result<(), Error> {
        let mut places = self.table.places(self.warehouse);
        let wanted: HashSet<u64> = extras.iter().map(|extra| extra.place).collect();
        let mut found = HashSet::new();
        let mut rows = known.rows(&self.table.relocations);
        while let Some(row) = rows.next_row()? {
            found.extend(Some(places.of(&row.warehouse_path)).filter(|place| wanted.contains(place)));
        }
        extras.retain(|extra| !found.contains(&extra.place));
        Ok(())
    }

    /// How long the youngest remaining item is still young enough that an ingestor may be working on it; None if there
    /// is no such item.
    fn young_for(&self, extras: &[Extra], suspects: &[Suspect]) -> Option<Duration> {
        let mut youngest = None;
        // There is no wait for items that are not reported anyway.
        let unreads = self.unreads.borrow();
        for extra in extras.iter().filter(|extra| !unreads.may_list_in(&extra.dir)) {
            let dir = self.warehouse.open_dir(&extra.dir).ok();
            youngest = youngest.max(dir.and_then(|dir| self.changed_at(&dir, &extra.name)));
        }
        for suspect in suspects.iter().filter(|suspect| !matches!(suspect.doubt, Doubt::Malformed)) {
            let (dir, name) = split(&suspect.manifest);
            let dir = self.fs.open_dir(dir).ok();
            youngest = youngest.max(dir.and_then(|dir| self.changed_at(&dir, name)));
        }
        let age = Duration::from_millis(self.fs.now().0.saturating_sub(youngest?));
        self.grace.checked_sub(age).filter(|left| !left.is_zero())
    }

    fn sleep(&self, mut left: Duration) {
        while !left.is_zero() && !self.watch.is_stopped() {
            let nap = left.min(STOP_WAIT);
            std::thread::sleep(nap);
            left -= nap;
        }
    }

    /// When the file at this name last changed, in milliseconds since the epoch.
    fn changed_at(&self, dir: &F::Dir, name: &OsStr) -> Option<u64> {
        let FileTime { sec, nsec } = self.fs.stat(dir, name).ok()??.identity.ctime;
        Some(u64::try_from(sec).ok()? * 1000 + u64::from(nsec) / 1_000_000)
    }
}
