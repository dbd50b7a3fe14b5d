//! What must hold: a few sets of contents, kept beside the machine by those who act on it from outside.
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

use csv_ingestor::fs::sim::{SimFs, Survival, Upstream, WriterId};
use csv_ingestor::journal::record::{DuplicateAction, Profile, Validation};
use csv_ingestor::pipeline::csv::Profiler;
use csv_ingestor::pipeline::quarantine::reason_path;

use super::act::sidecar_of;
use super::scenario::{STAGING, Scenario};
use super::view::{Digest, Line, View};

/// What upstreams did, what readers saw, and what the ingestor said.
#[derive(Clone)]
pub struct Model {
    /// Upstreams fsync what they write.
    pub syncs: bool,
    /// A file is complete when its sidecar says so.
    pub sidecars: bool,
    /// Leases are to be had.
    pub leases: bool,
    pub duplicates: DuplicateAction,
    validate: Option<Validation>,
    quarantines: bool,
    /// Contents that cannot be ingested, and that the disk has.
    confined: BTreeSet<Digest>,
    /// What is in contents that ever stood in staging.
    profiles: BTreeMap<Digest, Profile>,
    /// Contents that must get into the warehouse, and whether their upstream made them durable.
    must: BTreeMap<Digest, bool>,
    /// Contents that may: all that ever stood in staging.
    may: BTreeSet<Digest>,
    /// In sidecar mode: contents that a sidecar has released.
    released: BTreeSet<Digest>,
    /// What stood at each name in staging when somebody had last acted.
    seen: BTreeMap<PathBuf, Digest>,
    /// Contents that upstreams were seen to have put into staging.
    sent: BTreeSet<Digest>,
    /// Those that came to stand there a second time, or under a second name: there may be duplicates.
    sent_again: BTreeSet<Digest>,
    /// Contents that a power cut or a failed sync made of what nobody had synced: they may go as well as stay.
    torn: BTreeSet<Digest>,
    /// Contents at final names that were there before we came.
    pub strangers: BTreeSet<Digest>,
    /// Which content each ingest id was listed for.
    listed: BTreeMap<u64, Digest>,
    /// Contents that were reported as ingested.
    reported: BTreeSet<Digest>,
    /// A file that an upstream has open for writing.
    pub writer: Option<Writer>,
    /// Somebody else wrote to the manifests.
    pub shares_manifests: bool,
    /// In sidecar mode: an upstream took a file or a sidecar back, and left the other.
    pub withdrew: bool,
    /// The disk may have lost what nobody had synced, and left something else in its place.
    pub lossy: bool,
}

/// Somebody who has a file open for writing.
#[derive(Clone)]
pub struct Writer {
    pub id: WriterId,
    /// Where it was opened.
    pub path: PathBuf,
    /// What it held when it was opened.
    pub before: Digest,
    /// What it holds when all that was written so far has got through.
    pub content: Vec<u8>,
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
pub(super) use ensure;

impl Model {
    pub fn new(scenario: &Scenario) -> Model {
        Model {
            syncs: scenario.syncs,
            sidecars: scenario.sidecars,
            leases: scenario.leases,
            duplicates: scenario.duplicates,
            validate: scenario.validate,
            quarantines: scenario.quarantines,
            confined: BTreeSet::new(),
            profiles: BTreeMap::new(),
            must: BTreeMap::new(),
            may: BTreeSet::new(),
            released: BTreeSet::new(),
            seen: BTreeMap::new(),
            sent: BTreeSet::new(),
            sent_again: BTreeSet::new(),
            torn: BTreeSet::new(),
            strangers: BTreeSet::new(),
            listed: BTreeMap::new(),
            reported: BTreeSet::new(),
            writer: None,
            shares_manifests: false,
            withdrew: false,
            lossy: false,
        }
    }

    /// A writer has closed his file: what he wrote must not have gone down with a name that the ingestor took away.
    pub fn after_close(&self, upstream: &mut Upstream<'_>, content: &[u8]) {
        let digest = super::view::digest(content);
        assert!(View::of(upstream).holds(&digest), "what a writer wrote is nowhere: {digest}");
    }

    /// Something may come to stand in staging with this content, at some later moment.
    pub fn may_become(&mut self, content: &[u8]) {
        let digest = super::view::digest(content);
        // Even over what is the same: that may be on its way.
        if self.sent.contains(&digest) {
            self.sent_again.insert(digest.clone());
        }
        self.may.insert(digest);
    }

    /// A sidecar with the right checksum of this content is written.
    pub fn release(&mut self, content: &[u8]) {
        self.released.insert(super::view::digest(content));
    }

    /// While nobody is on the way, the sidecar of this content is replaced by a wrong one.
    pub fn hold_back(&mut self, content: &[u8]) {
        self.released.remove(&super::view::digest(content));
    }

    pub fn is_open(&self, path: &Path) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.path == path)
    }

    /// Whatever is missing now, the ingestor has lost: nobody else has acted since the last look.
    pub fn before_act(&mut self, upstream: &mut Upstream<'_>) {
        let view = View::of(upstream);
        // What was taken from a name since then stands there no more.
        self.seen.retain(|path, digest| view.staging.get(path) == Some(digest));
        // A disk that fails may have lost what nobody had synced, and what is not synced only.
        let verdict = if self.lossy { self.always_but_unsynced(&view) } else { self.always(&view) };
        verdict.unwrap_or_else(|wrong| panic!("before somebody acts: {wrong}"));
    }

    /// What is missing now was destroyed by who has just acted; what is new is to be ingested.
    pub fn after_act(&mut self, upstream: &mut Upstream<'_>) {
        let view = View::of(upstream);
        for (path, digest) in view.staged().filter(|(path, _)| is_data(path)) {
            let is_new = self.seen.insert(path.clone(), digest.clone()).as_ref() != Some(digest);
            // By a name that half a rename has left, somebody may write to what stands under the other one, too.
            let has_two_names = view.warehouse.values().any(|other| other == digest);
            if is_new && (!self.sent.insert(digest.clone()) || has_two_names) {
                self.sent_again.insert(digest.clone());
            }
        }
        self.may.extend(view.staged().map(|(_, digest)| digest.clone()));
        let writer = self.writer.as_ref().map(|writer| writer.path.clone());
        let (mut complete, mut unwanted) = (BTreeSet::new(), BTreeSet::new());
        for (path, digest) in view.staged().filter(|(path, _)| is_data(path) && Some(*path) != writer.as_ref()) {
            if upstream.waits(path) {
                continue;
            }
            if self.is_wanted(upstream, path, digest) {
                complete.insert(digest.clone());
            } else {
                unwanted.insert(digest.clone());
            }
        }
        let floor = upstream.fork();
        floor.crash_to(Survival::Nothing);
        let durable = View::of(&mut floor.upstream());
        // What is in flight, wherever it stands, stays due, unless a writer waits for its lease: then it may go back. What
        // stands nowhere any more, or not whole, is its upstream's loss.
        let aside = view.staging.iter().filter(|(path, _)| is_hidden(path));
        let away = view.warehouse.iter().chain(&view.duplicates).chain(&view.quarantine).chain(aside);
        let mut in_flight: BTreeSet<&Digest> = away.clone().map(|(_, digest)| digest).collect();
        for (path, digest) in away.chain(view.staged()) {
            if upstream.waits(path) {
                in_flight.remove(digest);
            }
        }
        if let Some(writer) = &self.writer {
            // Not left whole, for whoever has it open may write at any time: it goes back as it is, and by its name it may be
            // gone already.
            in_flight.remove(&writer.before);
        }
        self.must.retain(|digest, _| complete.contains(digest) || in_flight.contains(digest));
        for (digest, is_durable) in &mut self.must {
            // What the disk still has in staging of a file that was removed there may go at any time.
            let is_there = durable.warehouse.values().any(|found| found == digest);
            *is_durable &= is_there || complete.contains(digest) && durable.holds(digest);
        }
        unwanted.extend(view.quarantine.values().cloned());
        unwanted.retain(|digest| self.quarantines && self.syncs && !self.lossy && durable.holds(digest));
        self.confined = unwanted;
        for digest in complete.into_iter().filter(|digest| !self.torn.contains(digest)) {
            // What waited for a lease was written over a file that the disk may still hold as it was, and synced by nobody.
            let is_durable = self.syncs && !self.lossy && durable.holds(&digest);
            *self.must.entry(digest).or_default() |= is_durable;
        }
    }

    /// The ingestor said that it has this content in the warehouse and in the manifest.
    pub fn reported(&mut self, digest: Digest) {
        self.reported.insert(digest);
    }

    /// After a power cut: what upstreams had not made durable may be gone, if it was not ingested either.
    pub fn after_power_cut(&mut self, upstream: &mut Upstream<'_>) -> Verdict {
        let view = View::of(upstream);
        // What was being written is torn anyhow.
        self.lossy |= self.writer.take().is_some();
        self.always_but_unsynced(&view)?;
        self.must.retain(|digest, _| view.holds(digest));
        for (path, digest) in view.staged().filter(|_| self.syncs && !self.lossy) {
            ensure!(self.may.contains(digest) || !is_data(path), "what was synced is torn: {}", path.display());
        }
        if self.sidecars && !self.syncs {
            // Sidecars that nobody synced may be gone; or look like the one they were written over, and go with that, later, too.
            let due: BTreeSet<&Digest> = view.warehouse.values().collect();
            self.must.retain(|digest, _| due.contains(digest));
            self.torn.extend(view.staged().map(|(_, digest)| digest.clone()));
        } else if self.withdrew {
            // The cut may have undone our move, but not that.
            let mut due: BTreeSet<&Digest> = view.warehouse.values().collect();
            due.extend(
                view.staged().filter(|(path, digest)| is_released(upstream, path, digest)).map(|(_, digest)| digest),
            );
            self.must.retain(|digest, _| due.contains(digest));
        }
        self.note_torn(&view);
        Ok(())
    }

    /// What a file has become that was not synced may be ingested like any other; under whatever name it stands.
    fn note_torn(&mut self, view: &View) {
        let left = view.staging.values().chain(view.duplicates.values()).chain(view.quarantine.values());
        self.torn.extend(left.clone().filter(|digest| !self.may.contains(*digest)).cloned());
        self.may.extend(left.cloned());
        if !self.syncs {
            // Moved by mistake, and then torn.
            let listed: BTreeSet<&Digest> = view.lines.iter().map(|line| &line.sha256).collect();
            self.may.extend(view.warehouse.values().filter(|digest| !listed.contains(digest)).cloned());
        }
    }

    /// A disk did not take what upstreams had not made durable: then nobody else can have it either.
    pub fn after_failed_sync(&mut self, upstream: &mut Upstream<'_>) -> Verdict {
        let view = View::of(upstream);
        self.always_but_unsynced(&view)?;
        self.must.retain(|digest, _| view.holds(digest));
        self.note_torn(&view);
        Ok(())
    }

    fn always_but_unsynced(&self, view: &View) -> Verdict {
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

    /// What holds of the disk alone, while the machine is running.
    pub fn always_on_disk(&self, disk: &View) -> Verdict {
        self.always_but_unsynced(disk)
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
        ensure!(line.profile.is_some() == self.validate.is_some(), "looked into, or not: {line:?}");
        if let (Some((rows, reason)), Some(profile)) = (&line.profile, self.profiles.get(&line.sha256)) {
            ensure!(*rows == profile.rows, "it has other rows: {line:?}, {profile:?}");
            let fault = profile.fault.as_ref().map(|fault| &fault.reason);
            ensure!(reason.as_ref() == fault, "something else is wrong with it: {line:?}, {profile:?}");
        }
        Ok(())
    }

    /// Released, and not malformed where such files are not wanted.
    fn is_wanted(&mut self, upstream: &mut Upstream<'_>, path: &Path, digest: &Digest) -> bool {
        let Some(validate) = self.validate else { return !self.sidecars || is_released(upstream, path, digest) };
        let profile = self.profiles.entry(digest.clone()).or_insert_with(|| {
            let mut profiler = Profiler::of(b"a.csv", &validate).unwrap();
            profiler.feed(&upstream.read(path).unwrap());
            profiler.finish()
        });
        let is_good = profile.fault.is_none() || !validate.refuse;
        is_good && (!self.sidecars || is_released(upstream, path, digest))
    }

    /// After a recovery: what it promises before anything else is begun. `seen` are the ids that somebody may know.
    pub fn recovered(&mut self, view: &View) -> Verdict {
        self.always(view)?;
        // Not before: what an upstream has put in a file's place may be moved by mistake, and goes back.
        let mut places: BTreeMap<&Digest, &PathBuf> = BTreeMap::new();
        for (path, digest) in &view.warehouse {
            let other = places.insert(digest, path);
            ensure!(
                other.is_none() || self.strangers.contains(digest),
                "a content is in the warehouse twice: {path:?} and {other:?}"
            );
        }
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
    pub fn at_the_end(&mut self, fs: &SimFs) -> Verdict {
        let view = View::of(&mut fs.upstream());
        self.recovered(&view)?;
        let warehouse: BTreeSet<&Digest> = view.warehouse.values().collect();
        for digest in self.must.keys().filter(|digest| !is_unreadable(&view, digest)) {
            ensure!(warehouse.contains(digest), "a content was not ingested: {digest}, staging has {:?}", view.staging);
        }
        for (path, digest) in &view.warehouse {
            let known = self.lossy || self.may.contains(digest) || self.strangers.contains(digest);
            let is_due = !self.sidecars || self.lossy || !self.syncs || self.released.contains(digest);
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
                self.lossy || !self.syncs || warehouse.contains(digest),
                "moved away, and no duplicate: {}",
                path.display()
            );
        }
        self.in_quarantine(&view)?;
        self.left_in_staging(&view, &mut fs.upstream(), &warehouse)
    }

    /// A file waits in staging for a sidecar with its checksum.
    pub fn has_wrong_sidecars(&mut self, upstream: &mut Upstream<'_>) -> bool {
        let view = View::of(upstream);
        let mut staged = view.staged().filter(|(path, _)| is_data(path));
        let is_wrong = |path: &PathBuf, digest, upstream: &mut Upstream<'_>| {
            upstream.exists(sidecar_of(path)) && !is_released(upstream, path, digest)
        };
        self.sidecars && !self.quarantines && staged.any(|(path, digest)| is_wrong(path, digest, upstream))
    }

    /// Each file there has its reason beside it, and nothing else is there.
    fn in_quarantine(&self, view: &View) -> Verdict {
        let mut contents = BTreeSet::new();
        for (path, digest) in &view.quarantine {
            ensure!(self.may.contains(digest), "nobody wrote {}", path.display());
            let is_sure = self.syncs && !self.lossy && !self.sent_again.contains(digest);
            let is_staged = view.staging.values().any(|staged| staged == digest);
            ensure!(!is_sure || !is_staged, "in quarantine, and in staging: {}", path.display());
            ensure!(contents.insert(digest) || !is_sure, "in quarantine twice: {}", path.display());
            let reason = view.reasons.get(&reason_path(path));
            let reason = reason.and_then(|reason| serde_json::from_slice::<serde_json::Value>(reason).ok());
            let from = reason.as_ref().and_then(|reason| reason["path"].as_str()).map(Path::new);
            ensure!(from.is_some_and(|from| from.starts_with(STAGING)), "no reason beside {}", path.display());
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
        for (path, digest) in now.quarantine.iter().filter(|_| self.syncs && !self.lossy) {
            let there = disk.quarantine.get(path);
            ensure!(there == Some(digest), "in quarantine, and not on the disk: {path:?}, but {there:?}");
        }
        for (path, reason) in &now.reasons {
            let there = disk.reasons.get(path);
            ensure!(there == Some(reason), "a reason is not on the disk as it was: {path:?}, but {there:?}");
        }
        Ok(())
    }

    fn left_in_staging(&mut self, view: &View, upstream: &mut Upstream<'_>, warehouse: &BTreeSet<&Digest>) -> Verdict {
        for (path, digest) in &view.staging {
            let name = path.file_name().unwrap().to_str().unwrap();
            ensure!(!name.starts_with(".csv-ingestor"), "left over in staging: {name}");
            let is_steady = self.syncs && !self.lossy && !self.withdrew;
            if self.sidecars && is_steady && name.ends_with(".ok") {
                let of = path.with_extension("");
                ensure!(view.staging.contains_key(&of), "a sidecar was left without its file: {name}");
            }
            // A kept duplicate is not looked at again when only its sidecar becomes a wrong one, nor when a power cut tears what
            // nobody had synced: it is known by its inode. That may also empty a sidecar, which releases then.
            let is_known = self.lossy || !self.syncs || warehouse.contains(digest);
            if !is_data(path) || !self.is_wanted(upstream, path, digest) {
                // What a power cut has left empty of an unsynced sidecar may be older than its file, and releases nothing then.
                let sidecar = upstream.read(sidecar_of(path)).unwrap_or_default();
                let is_missing = !upstream.exists(sidecar_of(path)) || !self.syncs && sidecar.is_empty();
                let waits_for_its_sidecar = self.sidecars && is_missing;
                // Nor does the sidecar of a duplicate release, or disown, what was written over it later.
                let is_used = warehouse.iter().any(|there| is_released(upstream, path, there));
                let may_be_kept = self.duplicates == DuplicateAction::Keep && (is_known || is_used);
                let may_stay = !self.quarantines || !is_data(path) || waits_for_its_sidecar || may_be_kept;
                ensure!(may_stay, "left in staging, and not in quarantine: {name}");
                continue;
            }
            ensure!(
                self.sent_again.contains(digest) || !is_steady,
                "left in staging, though nothing was sent twice: {name}"
            );
            // As above; its content is in the warehouse, and nothing but its remains are lost.
            let keeps = self.duplicates == DuplicateAction::Keep;
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

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with('.')))
}

fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "csv")
}

/// In sidecar mode: the sidecar is there and has the right checksum.
fn is_released(upstream: &mut Upstream<'_>, path: &Path, digest: &Digest) -> bool {
    let sidecar = upstream.read(sidecar_of(path)).unwrap_or_default();
    sidecar.starts_with(digest.as_bytes())
}
