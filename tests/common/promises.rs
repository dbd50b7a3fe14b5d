//! What must hold: a few sets of contents, held against a [`View`] of a machine's files, whether its disk is simulated or real.
//! Whoever acts on the machine from outside keeps the sets.
//!
//! - P2: a content that an upstream left whole in staging is there, or at a final name in the warehouse, at every moment;
//!   of one that its upstream made durable, the disk alone says so, too.
//! - P1: no content is listed twice, and what is listed is there, with the right bytes: at every moment, and on the disk
//!   alone after a power cut. After each recovery no content is at two names in the warehouse.
//! - An ingest id stands for one content for ever, and what was reported as ingested stays so.
//! - What cannot be ingested and was durable in staging is there, or in quarantine, at every moment; at the end in quarantine,
//!   with its reason.
//! - Of a file that was looked into, its line says what is in it.
//! - At the end each content that should be is in the warehouse and listed, nothing else is, and nothing is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use csv_ingestor::journal::record::{DuplicateAction, Profile, Validation};
use csv_ingestor::pipeline::csv::Profiler;
use csv_ingestor::pipeline::quarantine::reason_path;

use super::view::{Digest, Line, View, is_data};

/// How files are ingested, and how upstreams behave.
#[derive(Clone)]
pub struct Rules {
    pub staging: PathBuf,
    /// Upstreams fsync what they write; or nothing can be lost that was not synced.
    pub syncs: bool,
    /// A file is complete when its sidecar says so.
    pub sidecars: bool,
    pub duplicates: DuplicateAction,
    pub validate: Option<Validation>,
    pub quarantines: bool,
}

/// What upstreams did, what readers saw, and what the ingestor said.
#[derive(Clone)]
pub struct Promises {
    pub rules: Rules,
    /// Contents that cannot be ingested, and that the disk has.
    pub confined: BTreeSet<Digest>,
    /// What is in contents that ever stood in staging.
    profiles: BTreeMap<Digest, Profile>,
    /// Contents that must get into the warehouse, and whether their upstream made them durable.
    pub must: BTreeMap<Digest, bool>,
    /// Contents that may: all that ever stood in staging.
    pub may: BTreeSet<Digest>,
    /// In sidecar mode: contents that a sidecar has released.
    pub released: BTreeSet<Digest>,
    /// Contents that came to stand in staging a second time, or under a second name: there may be duplicates.
    pub sent_again: BTreeSet<Digest>,
    /// Contents at final names that were there before we came.
    pub strangers: BTreeSet<Digest>,
    /// Which content each ingest id was listed for.
    listed: BTreeMap<u64, Digest>,
    /// Contents that were reported as ingested.
    reported: BTreeSet<Digest>,
    /// Somebody else wrote to the manifests.
    pub shares_manifests: bool,
    /// In sidecar mode: an upstream took a file or a sidecar back, and left the other.
    pub withdrew: bool,
    /// The disk may have lost what nobody had synced, and left something else in its place.
    pub lossy: bool,
}

/// What is wrong, if anything is.
pub type Verdict = Result<(), String>;

/// Refuses with a message unless the condition holds.
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
            confined: BTreeSet::new(),
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

    /// The ingestor said that it has this content in the warehouse and in the manifest.
    pub fn reported(&mut self, digest: Digest) {
        self.reported.insert(digest);
    }

    /// What holds of the disk alone, while the machine is running; and if what nobody had synced may be gone.
    pub fn always_but_unsynced(&self, view: &View) -> Verdict {
        for (digest, durable) in &self.must {
            let due = *durable || self.reported.contains(digest);
            ensure!(!due || view.holds(digest), "a durable content is lost: {digest}");
        }
        self.listed_is_there(view)
    }

    /// What holds at every moment.
    pub fn always(&self, view: &View) -> Verdict {
        for digest in self.must.keys() {
            ensure!(view.holds(digest), "a content is lost: {digest}");
        }
        self.listed_is_there(view)
    }

    fn listed_is_there(&self, view: &View) -> Verdict {
        for digest in self.confined.iter().filter(|_| !self.lossy) {
            ensure!(view.holds(digest), "a content that cannot be ingested is lost: {digest}");
        }
        let (mut contents, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for line in &view.lines {
            let there = view.warehouse.get(&line.warehouse_path);
            ensure!(there == Some(&line.sha256), "listed, and not there: {line:?}, but {there:?}");
            ensure!(contents.insert(&line.sha256), "a content is listed twice: {line:?}");
            ensure!(ids.insert(line.ingest_id), "an id is listed twice: {line:?}");
            self.is_as_the_line_says(line)?;
            let known = self.listed.get(&line.ingest_id);
            ensure!(known.is_none_or(|known| *known == line.sha256), "an id was given anew: {line:?}");
        }
        Ok(())
    }

    fn is_as_the_line_says(&self, line: &Line) -> Verdict {
        ensure!(line.profile.is_some() == self.rules.validate.is_some(), "looked into, or not: {line:?}");
        let is_malformed = line.profile.as_ref().is_some_and(|(_, reason)| reason.is_some());
        let refuses = self.rules.validate.is_some_and(|validate| validate.refuse);
        ensure!(!refuses || !is_malformed, "malformed, and ingested: {line:?}");
        if let (Some((rows, reason)), Some(profile)) = (&line.profile, self.profiles.get(&line.sha256)) {
            ensure!(*rows == profile.rows, "it has other rows: {line:?}, {profile:?}");
            let fault = profile.fault.as_ref().map(|fault| &fault.reason);
            ensure!(reason.as_ref() == fault, "something else is wrong with it: {line:?}, {profile:?}");
        }
        Ok(())
    }

    /// Released, and not malformed where such files are not wanted.
    pub fn is_wanted(&mut self, view: &View, path: &Path, digest: &Digest) -> bool {
        let is_released = !self.rules.sidecars || view.is_released(path, digest);
        let Some(validate) = self.rules.validate else { return is_released };
        let profile = self.profiles.entry(digest.clone()).or_insert_with(|| {
            let mut profiler = Profiler::of(b"a.csv", &validate).unwrap();
            profiler.feed(&view.staged_contents[path]);
            profiler.finish()
        });
        is_released && (profile.fault.is_none() || !validate.refuse)
    }

    /// No content is at two names in the warehouse. At every moment, if nobody changes what the ingestor has on its way.
    pub fn once(&self, view: &View) -> Verdict {
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

    /// After a recovery: what it promises before anything else is begun.
    pub fn recovered(&mut self, view: &View) -> Verdict {
        self.always(view)?;
        // Not before: what an upstream has put in a file's place may be moved by mistake, and goes back.
        self.once(view)?;
        ensure!(self.shares_manifests || view.torn.is_empty(), "the manifest is torn: {:?}", view.torn);
        for digest in &self.reported {
            ensure!(view.lines.iter().any(|line| line.sha256 == *digest), "reported, and not listed: {digest}");
        }
        self.note(view);
        Ok(())
    }

    /// Remembers who was listed under which id.
    pub fn note(&mut self, view: &View) {
        for line in &view.lines {
            self.listed.insert(line.ingest_id, line.sha256.clone());
        }
    }

    /// When nothing is left to do, and nobody else does anything.
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
            ensure!(known, "nobody wrote {}: {digest}", path.display());
        }
        let listed: BTreeSet<&Digest> = view.lines.iter().map(|line| &line.sha256).collect();
        for digest in warehouse.iter().filter(|digest| !self.strangers.contains(**digest)) {
            ensure!(listed.contains(digest), "in the warehouse, and not listed: {digest}");
        }
        ensure!(view.copies.is_empty(), "copies were left over: {:?}", view.copies);
        for (path, digest) in &view.duplicates {
            // A duplicate's own bytes are nobody's promise: those in the warehouse are.
            ensure!(
                self.lossy || !self.rules.syncs || warehouse.contains(digest),
                "moved away, and no duplicate: {}",
                path.display()
            );
        }
        self.in_quarantine(view)?;
        self.left_in_staging(view, &warehouse)
    }

    /// A file waits in staging for a sidecar with its checksum.
    pub fn has_wrong_sidecars(&self, view: &View) -> bool {
        let mut staged = view.staged().filter(|(path, _)| is_data(path));
        let is_wrong =
            |(path, digest): (&PathBuf, &Digest)| view.sidecar(path).is_some() && !view.is_released(path, digest);
        self.rules.sidecars && !self.rules.quarantines && staged.any(is_wrong)
    }

    /// Each file there has its reason beside it, and nothing else is there.
    fn in_quarantine(&self, view: &View) -> Verdict {
        let mut contents = BTreeSet::new();
        for (path, digest) in &view.quarantine {
            ensure!(self.may.contains(digest), "nobody wrote {}", path.display());
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

    /// The end is an end for the disk, too: a power cut now takes nothing of it back.
    pub fn survives_a_power_cut(&self, now: &View, disk: &View) -> Verdict {
        for line in &now.lines {
            let there = disk.warehouse.get(&line.warehouse_path);
            ensure!(there == Some(&line.sha256), "listed, and not on the disk: {line:?}, but {there:?}");
            let is_listed = disk.lines.iter().any(|other| other.ingest_id == line.ingest_id);
            ensure!(is_listed, "listed, and the line is not on the disk: {line:?}");
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
            // A kept duplicate is not looked at again when only its sidecar becomes a wrong one, nor when a power cut tears what
            // nobody had synced: it is known by its inode. That may also empty a sidecar, which releases then.
            let is_known = self.lossy || !self.rules.syncs || warehouse.contains(digest);
            if !is_data(path) || !self.is_wanted(view, path, digest) {
                // What a power cut has left empty of an unsynced sidecar may be older than its file, and releases nothing then.
                let sidecar = view.sidecar(path);
                let is_missing = sidecar.is_none_or(|sidecar| !self.rules.syncs && sidecar.is_empty());
                let waits_for_its_sidecar = self.rules.sidecars && is_missing;
                // Nor does the sidecar of a duplicate release, or disown, what was written over it later.
                let is_used = warehouse.iter().any(|there| view.is_released(path, there));
                let may_be_kept = self.rules.duplicates == DuplicateAction::Keep && (is_known || is_used);
                let may_stay = !self.rules.quarantines || !is_data(path) || waits_for_its_sidecar || may_be_kept;
                ensure!(may_stay, "left in staging, and not in quarantine: {name}");
                continue;
            }
            ensure!(
                self.sent_again.contains(digest) || !is_steady,
                "left in staging, though nothing was sent twice: {name}"
            );
            // As above; its content is in the warehouse, and nothing but its remains are lost.
            let keeps = self.rules.duplicates == DuplicateAction::Keep;
            ensure!(keeps && is_known, "left in staging: {name}, {digest}, all: {:?}", view.staging);
        }
        Ok(())
    }
}

/// In quarantine because reading it failed.
fn is_unreadable(view: &View, digest: &Digest) -> bool {
    let mut there = view.quarantine.iter().filter(|(_, found)| *found == digest);
    there.any(|(path, _)| {
        let reason = view.reasons.get(&reason_path(path)).map(|reason| String::from_utf8_lossy(reason));
        reason.is_some_and(|reason| reason.contains("\"reason\": \"unreadable\""))
    })
}
