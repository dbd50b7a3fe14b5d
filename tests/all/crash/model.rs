//! What upstreams of a simulated machine did, in addition to the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use csv_ingestor::fs::sim::{Survival, Upstream, WriterId};

use super::places::STAGING;
use super::view::{Digest, View, is_data, is_hidden};
use crate::common::promises::is_unreadable;
use crate::common::promises::{Promises, Rules};
pub(super) use crate::common::promises::{Verdict, ensure};

/// The promises, and the state of those that act on the machine from outside.
#[derive(Clone)]
pub struct Model {
    promises: Promises,
    /// The file systems have leases.
    pub leases: bool,
    /// The content at each name in staging after the last act.
    seen: BTreeMap<PathBuf, Digest>,
    /// Where names count: the names and contents that the ingestor has taken from staging since.
    taken: BTreeSet<(PathBuf, Digest)>,
    /// Contents that upstreams have put into staging.
    sent: BTreeSet<Digest>,
    /// Contents that a power cut or a failed sync made of unsynced data: they may vanish or stay.
    torn: BTreeSet<Digest>,
    /// A file that an upstream has open for writing.
    pub writer: Option<Writer>,
    /// Something happened to a directory.
    pub moved_dirs: bool,
    /// A write has waited for a lease: the upstream's sync came before it.
    pub waited: bool,
}

/// A process that has a file open for writing.
#[derive(Clone)]
pub struct Writer {
    pub id: WriterId,
    /// The name under which it was opened.
    pub path: PathBuf,
    /// Its content when it was opened.
    pub before: Digest,
    /// Its content once all writes so far have been carried out.
    pub content: Vec<u8>,
}

impl Deref for Model {
    type Target = Promises;

    fn deref(&self) -> &Promises {
        &self.promises
    }
}

impl DerefMut for Model {
    fn deref_mut(&mut self) -> &mut Promises {
        &mut self.promises
    }
}

impl Model {
    pub fn new(rules: Rules, leases: bool) -> Model {
        let (seen, taken, sent, torn) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Model {
            promises: Promises::new(rules),
            leases,
            seen,
            taken,
            sent,
            torn,
            writer: None,
            moved_dirs: false,
            waited: false,
        }
    }

    /// A writer has closed its file: the content must not be lost with a name that the ingestor took away.
    pub fn after_close(&self, upstream: &mut Upstream<'_>, content: &[u8]) {
        let digest = super::view::digest(content);
        assert!(View::of(upstream).holds(&digest), "what a writer wrote is lost: {digest}");
    }

    /// This content may appear in staging at a later moment.
    pub fn may_become(&mut self, content: &[u8]) {
        let digest = super::view::digest(content);
        // Even if it replaces the same content: that one may be in flight.
        if self.sent.contains(&digest) {
            self.sent_again.insert(digest.clone());
        }
        self.may.insert(digest);
    }

    /// A sidecar with the checksum of this content is written.
    pub fn release(&mut self, content: &[u8]) {
        self.released.insert(super::view::digest(content));
    }

    /// While no file is in flight, the sidecar of this content is replaced by a wrong one.
    pub fn hold_back(&mut self, content: &[u8]) {
        self.released.remove(&super::view::digest(content));
    }

    /// Files that go back to a directory that was renamed meanwhile are no longer beside their group file: they must be there,
    /// and their group is not complete.
    pub fn forgive_split_groups(&mut self, view: &View) {
        if self.rules.groups && self.moved_dirs {
            let due = view.due_without(&self.refused(view), self.names_count());
            self.must.retain(|digest, _| due.contains(digest) || view.lists(digest) || !view.holds(digest));
        }
    }

    pub fn is_open(&self, path: &Path) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.path == path)
    }

    /// If anything is missing now, the ingestor has lost it: no other process has acted since the last check.
    pub fn before_act(&mut self, upstream: &mut Upstream<'_>) {
        let view = View::of(upstream);
        self.note_taken(&view);
        // A disk that fails may have lost unsynced data, but nothing else.
        let verdict = if self.lossy { self.always_but_unsynced(&view) } else { self.always(&view) };
        verdict.unwrap_or_else(|wrong| panic!("before another process acts: {wrong}"));
    }

    /// Names whose file was moved since the last act no longer hold that content, unless it was moved back.
    fn note_taken(&mut self, view: &View) {
        let moved = self.seen.extract_if(.., |path, digest| view.staging.get(path) != Some(digest));
        let moved = moved.filter(|(path, _)| self.promises.names_count() && is_data(path));
        self.taken.extend(moved);
        self.taken.retain(|(path, digest)| view.staging.get(path) != Some(digest));
    }

    /// Nothing that upstreams have written can be lost.
    pub fn is_sure(&self) -> bool {
        self.rules.syncs && !self.lossy
    }

    /// Where names count: whatever the ingestor took from staging is listed under its name at the end.
    pub fn all_names_are_listed(&mut self, view: &View) -> Verdict {
        self.note_taken(view);
        let is_sure = self.rules.syncs && !self.lossy && !self.withdrew;
        for (path, digest) in self.taken.iter().filter(|_| is_sure) {
            let is_due = self.must.contains_key(digest) && !is_unreadable(view, digest);
            ensure!(!is_due || self.is_listed(view, path, digest), "not listed under its name: {}", path.display());
        }
        Ok(())
    }

    /// What the act has put into staging, and what it has taken away: that, the ingestor has not.
    fn note_sent(&mut self, view: &View) {
        for (path, digest) in view.staged().filter(|(path, _)| is_data(path)) {
            let is_new = self.seen.insert(path.clone(), digest.clone()).as_ref() != Some(digest);
            // Through a name that half a rename has left, an upstream may also write to the file under its other name.
            let has_two_names = view.warehouse.values().any(|other| other == digest);
            if is_new && (!self.sent.insert(digest.clone()) || has_two_names) {
                self.sent_again.insert(digest.clone());
            }
        }
        self.seen.retain(|path, digest| view.staging.get(path) == Some(digest));
    }

    /// A content that is missing now was destroyed by the act; a new one is to be ingested.
    pub fn after_act(&mut self, upstream: &mut Upstream<'_>) {
        let view = View::of(upstream);
        self.note_sent(&view);
        self.may.extend(view.staged().map(|(_, digest)| digest.clone()));
        let writer = self.writer.as_ref().map(|writer| writer.path.clone());
        let (mut complete, mut unwanted) = (BTreeSet::new(), BTreeSet::new());
        for (path, digest) in view.staged().filter(|(path, _)| is_data(path) && Some(*path) != writer.as_ref()) {
            if upstream.waits(path) {
                continue;
            }
            if self.is_wanted(&view, path, digest) {
                complete.insert(digest.clone());
            } else {
                unwanted.insert(digest.clone());
            }
        }
        let floor = upstream.fork();
        floor.crash_to(Survival::Nothing);
        let durable = View::of(&mut floor.upstream());
        // A content in flight stays due, wherever it is, unless a writer waits for its lease: then it may be moved back. If
        // a content exists nowhere any more, or not whole, its upstream has lost it.
        let aside = view.staging.iter().filter(|(path, _)| is_hidden(path));
        let away = view.warehouse.iter().chain(&view.duplicates).chain(&view.quarantine).chain(aside);
        let mut in_flight: BTreeSet<&Digest> = away.clone().map(|(_, digest)| digest).collect();
        for (path, digest) in away.chain(view.staged()) {
            if upstream.waits(path) {
                in_flight.remove(digest);
            }
        }
        if let Some(writer) = &self.writer {
            // Not left whole, since the process that has it open may write at any time: it is moved back as it is, and its
            // name may be gone already.
            in_flight.remove(&writer.before);
        }
        self.keep_whole_groups(&view, upstream, (&mut complete, &mut unwanted, &mut in_flight));
        self.must.retain(|digest, _| complete.contains(digest) || in_flight.contains(digest));
        self.taken.retain(|(_, digest)| self.promises.must.contains_key(digest));
        for (digest, is_durable) in &mut self.promises.must {
            // If a file was removed from staging but the disk still has it there, it may vanish at any time.
            let is_there = durable.warehouse.values().any(|found| found == digest);
            *is_durable &= is_there || complete.contains(digest) && durable.holds(digest);
        }
        unwanted.extend(view.quarantine.values().cloned());
        let is_sure = self.rules.syncs && !self.lossy;
        unwanted.retain(|digest| (self.rules.quarantines || self.rules.groups) && is_sure && durable.holds(digest));
        self.quarantined = unwanted;
        for digest in complete.into_iter().filter(|digest| !self.torn.contains(digest)) {
            // A write that waited for a lease changed a file that the disk may still hold as it was, and was not synced.
            let is_durable = is_sure && durable.holds(&digest);
            *self.promises.must.entry(digest).or_default() |= is_durable;
        }
    }

    /// In group mode: the contents of the groups that are complete, and whose files do not change, are due. A file in flight
    /// goes back if another one of its group cannot be moved; until then it must not be lost.
    fn keep_whole_groups(
        &mut self,
        view: &View,
        upstream: &mut Upstream<'_>,
        (complete, unwanted, in_flight): (&mut BTreeSet<Digest>, &mut BTreeSet<Digest>, &mut BTreeSet<&Digest>),
    ) {
        if !self.rules.groups {
            return;
        }
        let writer = self.writer.as_ref().map(|writer| &writer.path);
        let all = view.staging.iter().chain(&view.warehouse);
        let shaky = all.filter(|(path, _)| upstream.waits(path) || Some(*path) == writer);
        let mut shaky: BTreeSet<Digest> = shaky.map(|(_, digest)| digest.clone()).collect();
        shaky.extend(self.writer.iter().map(|writer| writer.before.clone()));
        // Across file systems it is a copy, which needs not go back: if its source is gone, the upstream has that.
        let mut device = |path: &Path| upstream.stat(path).map(|stat| stat.identity.device).ok();
        let here = device(Path::new(STAGING));
        let moved = view.warehouse.iter().filter(|(path, _)| device(path) == here);
        unwanted.extend(moved.map(|(_, digest)| digest.clone()));
        unwanted.retain(|digest| !shaky.contains(digest));
        shaky.extend(self.refused(view));
        let due = view.due_without(&shaky, self.names_count());
        unwanted.extend(complete.extract_if(.., |digest| !due.contains(digest)));
        in_flight.retain(|digest| due.contains(*digest) || view.lists(digest));
    }

    /// After a power cut: contents that upstreams had not made durable may be gone, unless they were ingested.
    pub fn after_power_cut(&mut self, upstream: &mut Upstream<'_>) -> Verdict {
        let view = View::of(upstream);
        // The file that was being written is torn in any case.
        self.lossy |= self.writer.take().is_some();
        self.always_but_unsynced(&view)?;
        self.must.retain(|digest, _| view.holds(digest));
        self.keep_due_in_groups(&view);
        for (path, digest) in view.staged().filter(|_| self.rules.syncs && !self.lossy) {
            ensure!(self.may.contains(digest) || !is_data(path), "what was synced is torn: {}", path.display());
        }
        if self.rules.sidecars && !self.rules.syncs {
            // Unsynced sidecars may be gone, or have the content of the sidecar that they replaced and vanish with it, also
            // later.
            let due: BTreeSet<&Digest> = view.warehouse.values().collect();
            self.must.retain(|digest, _| due.contains(digest));
            self.torn.extend(view.staged().map(|(_, digest)| digest.clone()));
        } else if self.withdrew {
            // The power cut may have undone the ingestor's move, but not the withdrawal.
            let mut due: BTreeSet<&Digest> = view.warehouse.values().collect();
            due.extend(view.staged().filter(|(path, digest)| view.is_released(path, digest)).map(|(_, digest)| digest));
            self.must.retain(|digest, _| due.contains(digest));
        }
        self.note_torn(&view);
        Ok(())
    }

    /// A copy that replaced a member's source may be gone, or what was not synced, and the group is not complete any more.
    fn keep_due_in_groups(&mut self, view: &View) {
        if self.rules.groups {
            let due = view.due_without(&self.refused(view), self.names_count());
            self.must.retain(|digest, _| due.contains(digest) || view.lists(digest));
        }
    }

    /// Whatever an unsynced file has become may be ingested like any other, under any name.
    fn note_torn(&mut self, view: &View) {
        let left = view.staging.values().chain(view.duplicates.values()).chain(view.quarantine.values());
        self.torn.extend(left.clone().filter(|digest| !self.promises.may.contains(*digest)).cloned());
        self.may.extend(left.cloned());
        if !self.rules.syncs || self.waited {
            // Moved by mistake, or going back, and then torn.
            let listed: BTreeSet<&Digest> = view.lines.iter().map(|line| &line.sha256).collect();
            self.may.extend(view.warehouse.values().filter(|digest| !listed.contains(digest)).cloned());
        }
    }

    /// A sync failed for data that upstreams had not made durable: it may be gone, since it exists nowhere else.
    pub fn after_failed_sync(&mut self, upstream: &mut Upstream<'_>) -> Verdict {
        let view = View::of(upstream);
        self.always_but_unsynced(&view)?;
        self.must.retain(|digest, _| view.holds(digest));
        self.keep_due_in_groups(&view);
        self.note_torn(&view);
        Ok(())
    }
}
