//! What must hold: a few sets of contents, checked against a [`View`] of a machine's files, on a simulated or a real disk.
//! The code that acts on the machine from outside keeps the sets up to date.
//!
//! - P2: a content that an upstream left whole in staging is at every moment in staging or at a final name in the warehouse.
//!   If its upstream made it durable, this holds for the disk alone, too.
//! - P1: no content (or where names count, no name and content) is listed twice, and each listed file exists with the right bytes: at every moment, and on the disk
//!   alone after a power cut. After each recovery no content is at two names in the warehouse.
//! - An ingest id belongs to one content for ever, and a content that was reported as ingested stays ingested.
//! - A content that cannot be ingested and was durable in staging is at every moment in staging or in quarantine; at the end
//!   it is in quarantine, with its reason.
//! - The manifest line of a validated file says what is in the file.
//! - At the end each content that should be ingested is in the warehouse and listed, nothing else is, and nothing is left
//!   over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use csv_ingestor::journal::record::{DuplicateAction, Profile, SameBy, Validation};
use csv_ingestor::pipeline::csv::Profiler;
use csv_ingestor::pipeline::quarantine::reason_path;

use super::view::{Digest, Line, View, is_data};

/// How files are ingested, and how upstreams behave.
#[derive(Clone)]
pub struct Rules {
    pub staging: PathBuf,
    /// Upstreams fsync what they write, or unsynced data cannot be lost.
    pub syncs: bool,
    /// A file is complete when its sidecar says so.
    pub sidecars: bool,
    /// A file is complete when its group is.
    pub groups: bool,
    pub duplicates: DuplicateAction,
    pub validate: Option<Validation>,
    pub quarantines: bool,
    /// By what two files are the same.
    pub same_by: SameBy,
    /// A name that has no place in the warehouse's layout.
    pub unmatched: Option<&'static str>,
}

/// What upstreams did, what readers saw, and what the ingestor reported.
#[derive(Clone)]
pub struct Promises {
    pub rules: Rules,
    /// Contents that cannot be ingested and are durable.
    pub quarantined: BTreeSet<Digest>,
    /// The result of validating each content that has ever been in staging.
    profiles: BTreeMap<Digest, Profile>,
    /// Contents that must get into the warehouse, and whether their upstream made them durable.
    pub must: BTreeMap<Digest, bool>,
    /// Contents that may get there: all that have ever been in staging.
    pub may: BTreeSet<Digest>,
    /// In sidecar mode: contents that a sidecar has released.
    pub released: BTreeSet<Digest>,
    /// Contents that were sent to staging a second time, or under a second name: they may be duplicates.
    pub sent_again: BTreeSet<Digest>,
    /// Contents that were at final names before the ingestor first ran.
    pub strangers: BTreeSet<Digest>,
    /// The content that each ingest id was listed for.
    listed: BTreeMap<u64, Digest>,
    /// Contents that were reported as ingested.
    reported: BTreeSet<Digest>,
    /// Another process has written to the manifests.
    pub shares_manifests: bool,
    /// In sidecar mode: an upstream withdrew a file or its sidecar, and left the other.
    pub withdrew: bool,
    /// The disk may have lost unsynced data, and left other data in its place.
    pub lossy: bool,
}

/// The error says what is wrong.
pub type Verdict = Result<(), String>;

/// Returns an error with this message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}
pub(crate) use ensure;

impl Promises {
    pub fn new(rules: Rules) -> Promises {
        Promises {
            rules,
            quarantined: BTreeSet::new(),
            profiles: BTreeMap::new(),
            must: BTreeMap::new(),
            may: BTreeSet::new(),
            released: BTreeSet::new(),
            sent_again: BTreeSet::new(),
            strangers: BTreeSet::new(),
            listed: BTreeMap::new(),
            reported: BTreeSet::new(),
            shares_manifests: false,
            withdrew: false,
            lossy: false,
        }
    }

    /// The ingestor reported that this content is in the warehouse and in the manifest.
    pub fn reported(&mut self, digest: Digest) {
        self.reported.insert(digest);
    }

    /// Checks what holds for the disk alone while the machine runs, and also when unsynced data may be gone.
    pub fn always_but_unsynced(&self, view: &View) -> Verdict {
        for (digest, durable) in &self.must {
            let due = *durable || self.reported.contains(digest);
            ensure!(!due || view.holds(digest), "a durable content is lost: {digest}");
        }
        self.listed_is_there(view)
    }

    /// Checks what holds at every moment.
    pub fn always(&self, view: &View) -> Verdict {
        for digest in self.must.keys() {
            ensure!(view.holds(digest), "a content is lost: {digest}");
        }
        self.listed_is_there(view)
    }

    fn listed_is_there(&self, view: &View) -> Verdict {
        for digest in self.quarantined.iter().filter(|_| !self.lossy) {
            ensure!(view.holds(digest), "a content that cannot be ingested is lost: {digest}");
        }
        let (mut contents, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for line in &view.lines {
            let there = view.warehouse.get(&line.warehouse_path);
            ensure!(there == Some(&line.sha256), "listed, and not in the warehouse: {line:?}, but {there:?}");
            ensure!(contents.insert((&line.name, &line.sha256)), "a content is listed twice: {line:?}");
            ensure!(line.name.is_some() == self.names_count(), "with a name that counts, or not: {line:?}");
            ensure!(ids.insert(line.ingest_id), "an id is listed twice: {line:?}");
            self.is_as_the_line_says(line)?;
            let known = self.listed.get(&line.ingest_id);
            ensure!(known.is_none_or(|known| *known == line.sha256), "an id was given again: {line:?}");
        }
        Ok(())
    }

    fn is_as_the_line_says(&self, line: &Line) -> Verdict {
        ensure!(line.profile.is_some() == self.rules.validate.is_some(), "validated, or not: {line:?}");
        let is_malformed = line.profile.as_ref().is_some_and(|(_, reason)| reason.is_some());
        let refuses = self.rules.validate.is_some_and(|validate| validate.refuse);
        ensure!(!refuses || !is_malformed, "malformed, and ingested: {line:?}");
        if let (Some((rows, reason)), Some(profile)) = (&line.profile, self.profiles.get(&line.sha256)) {
            ensure!(*rows == profile.rows, "another number of rows: {line:?}, {profile:?}");
            let fault = profile.fault.as_ref().map(|fault| &fault.reason);
            ensure!(reason.as_ref() == fault, "malformed for another reason: {line:?}, {profile:?}");
        }
        Ok(())
    }

    /// True if the file has a place in the layout, is released, and not malformed where malformed files are refused.
    pub fn is_wanted(&mut self, view: &View, path: &Path, digest: &Digest) -> bool {
        let is_released = match (self.rules.sidecars, self.rules.groups) {
            (true, _) => view.is_released(path, digest),
            (_, true) => {
                let refused = self.refused(view);
                view.due_files(&refused, self.names_count()).contains(&(path.to_owned(), digest.clone()))
            }
            _ => true,
        };
        let is_released = is_released && self.rules.unmatched.is_none_or(|name| !path.ends_with(name));
        is_released && !self.is_refused(view, path, digest)
    }

    /// True for a malformed file where these are refused.
    fn is_refused(&mut self, view: &View, path: &Path, digest: &Digest) -> bool {
        let Some(validate) = self.rules.validate else { return false };
        let profile = self.profiles.entry(digest.clone()).or_insert_with(|| {
            let content = &view.staged_contents[path];
            let mut profiler = Profiler::of(b"a.csv", &validate, content.len() as u64).unwrap();
            profiler.feed(content);
            profiler.finish()
        });
        validate.refuse && profile.fault.is_some()
    }

    /// The contents in staging that are malformed where such files are refused.
    pub fn refused(&mut self, view: &View) -> BTreeSet<Digest> {
        let staged = view.staged().filter(|(path, _)| is_data(path));
        staged.filter(|(path, digest)| self.is_refused(view, path, digest)).map(|(_, digest)| digest.clone()).collect()
    }

    /// True if two files with one content and different names are not the same.
    pub fn names_count(&self) -> bool {
        self.rules.same_by == SameBy::NameAndContent
    }

    /// True if a file with this path in staging and this content has a line, or another file that is the same.
    pub fn is_listed(&self, view: &View, path: &Path, digest: &Digest) -> bool {
        let name = path.strip_prefix(&self.rules.staging).unwrap_or(path);
        let is_it = |known: &String| !self.names_count() || Path::new(known) == name;
        view.lines.iter().any(|line| line.sha256 == *digest && line.name.as_ref().is_none_or(is_it))
    }

    /// No content is at two names in the warehouse. This holds at every moment if no upstream changes files while they are
    /// being ingested. Where names count, only lines tell which is which.
    pub fn once(&self, view: &View) -> Verdict {
        if self.names_count() {
            return Ok(());
        }
        let mut places: BTreeMap<&Digest, &PathBuf> = BTreeMap::new();
        for (path, digest) in &view.warehouse {
            let other = places.insert(digest, path);
            ensure!(
                other.is_none() || self.strangers.contains(digest),
                "a content is in the warehouse twice: {path:?} and {other:?}"
            );
        }
        Ok(())
    }

    /// Checks what a recovery promises before any other work begins.
    pub fn recovered(&mut self, view: &View) -> Verdict {
        self.always(view)?;
        // Only now: a file that an upstream has put in another's place may be moved by mistake, and is then moved back.
        self.once(view)?;
        view.groups_are_whole()?;
        ensure!(self.shares_manifests || view.torn.is_empty(), "the manifest is torn: {:?}", view.torn);
        for digest in &self.reported {
            ensure!(view.lines.iter().any(|line| line.sha256 == *digest), "reported, and not listed: {digest}");
        }
        self.note(view);
        Ok(())
    }

    /// Remembers which content was listed under which id.
    pub fn note(&mut self, view: &View) {
        for line in &view.lines {
            self.listed.insert(line.ingest_id, line.sha256.clone());
        }
    }

    /// Checks what holds when nothing is left to do and no other process acts.
    pub fn at_the_end(&mut self, view: &View) -> Verdict {
        self.recovered(view)?;
        let warehouse: BTreeSet<&Digest> = view.warehouse.values().collect();
        for digest in self.must.keys().filter(|digest| !is_unreadable(view, digest)) {
            ensure!(warehouse.contains(digest), "a content was not ingested: {digest}, staging has {:?}", view.staging);
        }
        for (path, digest) in &view.warehouse {
            let known = self.lossy || self.may.contains(digest) || self.strangers.contains(digest);
            let is_due = !self.rules.sidecars || self.lossy || !self.rules.syncs || self.released.contains(digest);
            ensure!(is_due || self.strangers.contains(digest), "no sidecar has released {}", path.display());
            ensure!(known, "no upstream wrote {}: {digest}", path.display());
        }
        let listed: BTreeSet<&PathBuf> = view.lines.iter().map(|line| &line.warehouse_path).collect();
        for (path, digest) in view.warehouse.iter().filter(|(_, digest)| !self.strangers.contains(*digest)) {
            ensure!(listed.contains(path), "in the warehouse, and not listed: {}, {digest}", path.display());
        }
        ensure!(view.copies.is_empty(), "copies were left over: {:?}", view.copies);
        for (path, digest) in &view.duplicates {
            // A duplicate's own bytes are not promised: those in the warehouse are.
            ensure!(
                self.lossy || !self.rules.syncs || warehouse.contains(digest),
                "moved away, and no duplicate: {}",
                path.display()
            );
        }
        if self.rules.groups && !self.withdrew {
            let refused = self.refused(view);
            view.groups_are_done(&refused, self.names_count())?;
        }
        self.in_quarantine(view)?;
        self.left_in_staging(view, &warehouse)
    }

    /// True if a file waits in staging because its sidecar has another checksum.
    pub fn has_wrong_sidecars(&self, view: &View) -> bool {
        let mut staged = view.staged().filter(|(path, _)| is_data(path));
        let is_wrong =
            |(path, digest): (&PathBuf, &Digest)| view.sidecar(path).is_some() && !view.is_released(path, digest);
        self.rules.sidecars && !self.rules.quarantines && staged.any(is_wrong)
    }

    /// Each file in quarantine has its reason beside it, and nothing else is there.
    fn in_quarantine(&self, view: &View) -> Verdict {
        let mut contents = BTreeSet::new();
        for (path, digest) in &view.quarantine {
            ensure!(self.may.contains(digest), "no upstream wrote {}", path.display());
            let is_sure = self.rules.syncs && !self.lossy && !self.sent_again.contains(digest);
            let is_staged = view.staging.values().any(|staged| staged == digest);
            ensure!(!is_sure || !is_staged, "in quarantine, and in staging: {}", path.display());
            ensure!(contents.insert(digest) || !is_sure, "in quarantine twice: {}", path.display());
            let reason = view.reasons.get(&reason_path(path));
            let reason = reason.and_then(|reason| serde_json::from_slice::<serde_json::Value>(reason).ok());
            let from = reason.as_ref().and_then(|reason| reason["path"].as_str()).map(Path::new);
            ensure!(
                from.is_some_and(|from| from.starts_with(&self.rules.staging)),
                "no reason beside {}",
                path.display()
            );
        }
        for path in view.reasons.keys() {
            let of = view.quarantine.keys().find(|of| reason_path(of) == *path);
            ensure!(of.is_some(), "left over in quarantine: {}", path.display());
        }
        Ok(())
    }

    /// The end is durable: a power cut now takes nothing of it back.
    pub fn survives_a_power_cut(&self, now: &View, disk: &View) -> Verdict {
        for line in &now.lines {
            let there = disk.warehouse.get(&line.warehouse_path);
            ensure!(there == Some(&line.sha256), "listed, and not on the disk: {line:?}, but {there:?}");
            let is_listed = disk.lines.iter().any(|other| other.ingest_id == line.ingest_id);
            ensure!(is_listed, "a line is not on the disk: {line:?}");
        }
        for (path, digest) in now.quarantine.iter().filter(|_| self.rules.syncs && !self.lossy) {
            let there = disk.quarantine.get(path);
            ensure!(there == Some(digest), "in quarantine, and not on the disk: {path:?}, but {there:?}");
        }
        for (path, reason) in &now.reasons {
            let there = disk.reasons.get(path);
            ensure!(there == Some(reason), "a reason is not on the disk as it was: {path:?}, but {there:?}");
        }
        Ok(())
    }

    fn left_in_staging(&mut self, view: &View, warehouse: &BTreeSet<&Digest>) -> Verdict {
        for (path, digest) in &view.staging {
            let name = path.file_name().unwrap().to_str().unwrap();
            ensure!(!name.starts_with(".csv-ingestor"), "left over in staging: {name}");
            let is_steady = self.rules.syncs && !self.lossy && !self.withdrew;
            if self.rules.sidecars && is_steady && name.ends_with(".ok") {
                let of = path.with_extension("");
                ensure!(view.staging.contains_key(&of), "a sidecar was left without its file: {name}");
            }
            // A kept duplicate is recognized by its inode. So it is not checked again when only its sidecar becomes wrong,
            // nor when a power cut tears its unsynced bytes. A power cut may also empty an unsynced sidecar, which then
            // releases its file.
            let is_there = match self.names_count() {
                true => self.is_listed(view, path, digest),
                false => warehouse.contains(digest),
            };
            let is_known = self.lossy || !self.rules.syncs || is_there;
            if !is_data(path) || !self.is_wanted(view, path, digest) {
                // An unsynced sidecar that a power cut has emptied may be older than its file, and then releases nothing.
                let sidecar = view.sidecar(path);
                let is_missing = sidecar.is_none_or(|sidecar| !self.rules.syncs && sidecar.is_empty());
                let waits_for_its_sidecar = self.rules.sidecars && is_missing;
                // The sidecar of a duplicate neither releases nor rejects a file that was later written over the duplicate.
                let is_used = warehouse.iter().any(|there| view.is_released(path, there));
                let may_be_kept = self.rules.duplicates == DuplicateAction::Keep && (is_known || is_used);
                // Nothing of a group goes to quarantine, and what belongs to none stays.
                let is_left = !self.rules.quarantines || self.rules.groups || !is_data(path);
                let may_stay = is_left || waits_for_its_sidecar || may_be_kept;
                ensure!(may_stay, "left in staging, and not in quarantine: {name}");
                continue;
            }
            ensure!(
                self.sent_again.contains(digest) || !is_steady,
                "left in staging, though nothing was sent twice: {name}"
            );
            // As above: the content is in the warehouse, or only the torn rest of a duplicate is lost.
            let keeps = self.rules.duplicates == DuplicateAction::Keep;
            ensure!(keeps && is_known, "left in staging: {name}, {digest}, all: {:?}", view.staging);
        }
        Ok(())
    }
}

/// True if the content is in quarantine because reading it failed.
pub fn is_unreadable(view: &View, digest: &Digest) -> bool {
    let mut there = view.quarantine.iter().filter(|(_, found)| *found == digest);
    there.any(|(path, _)| {
        let reason = view.reasons.get(&reason_path(path)).map(|reason| String::from_utf8_lossy(reason));
        reason.is_some_and(|reason| reason.contains("\"reason\": \"unreadable\""))
    })
}
