//! What upstreams of a simulated machine did, beside what was promised of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use csv_ingestor::fs::sim::{Survival, Upstream, WriterId};

use super::view::{Digest, View, is_data, is_hidden};
use crate::common::promises::{Promises, Rules};
pub(super) use crate::common::promises::{Verdict, ensure};

/// The promises, and what those have to know who act on the machine from outside.
#[derive(Clone)]
pub struct Model {
    promises: Promises,
    /// Leases are to be had.
    pub leases: bool,
    /// What stood at each name in staging when somebody had last acted.
    seen: BTreeMap<PathBuf, Digest>,
    /// Contents that upstreams were seen to have put into staging.
    sent: BTreeSet<Digest>,
    /// Contents that a power cut or a failed sync made of what nobody had synced: they may go as well as stay.
    torn: BTreeSet<Digest>,
    /// A file that an upstream has open for writing.
    pub writer: Option<Writer>,
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
        let (seen, sent, torn) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Model { promises: Promises::new(rules), leases, seen, sent, torn, writer: None }
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
            if self.is_wanted(&view, path, digest) {
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
        for (digest, is_durable) in &mut self.promises.must {
            // What the disk still has in staging of a file that was removed there may go at any time.
            let is_there = durable.warehouse.values().any(|found| found == digest);
            *is_durable &= is_there || complete.contains(digest) && durable.holds(digest);
        }
        unwanted.extend(view.quarantine.values().cloned());
        let is_sure = self.rules.syncs && !self.lossy;
        unwanted.retain(|digest| self.rules.quarantines && is_sure && durable.holds(digest));
        self.confined = unwanted;
        for digest in complete.into_iter().filter(|digest| !self.torn.contains(digest)) {
            // What waited for a lease was written over a file that the disk may still hold as it was, and synced by nobody.
            let is_durable = is_sure && durable.holds(&digest);
            *self.promises.must.entry(digest).or_default() |= is_durable;
        }
    }

    /// After a power cut: what upstreams had not made durable may be gone, if it was not ingested either.
    pub fn after_power_cut(&mut self, upstream: &mut Upstream<'_>) -> Verdict {
        let view = View::of(upstream);
        // What was being written is torn anyhow.
        self.lossy |= self.writer.take().is_some();
        self.always_but_unsynced(&view)?;
        self.must.retain(|digest, _| view.holds(digest));
        for (path, digest) in view.staged().filter(|_| self.rules.syncs && !self.lossy) {
            ensure!(self.may.contains(digest) || !is_data(path), "what was synced is torn: {}", path.display());
        }
        if self.rules.sidecars && !self.rules.syncs {
            // Sidecars that nobody synced may be gone; or look like the one they were written over, and go with that, later, too.
            let due: BTreeSet<&Digest> = view.warehouse.values().collect();
            self.must.retain(|digest, _| due.contains(digest));
            self.torn.extend(view.staged().map(|(_, digest)| digest.clone()));
        } else if self.withdrew {
            // The cut may have undone our move, but not that.
            let mut due: BTreeSet<&Digest> = view.warehouse.values().collect();
            due.extend(view.staged().filter(|(path, digest)| view.is_released(path, digest)).map(|(_, digest)| digest));
            self.must.retain(|digest, _| due.contains(digest));
        }
        self.note_torn(&view);
        Ok(())
    }

    /// What a file has become that was not synced may be ingested like any other; under whatever name it stands.
    fn note_torn(&mut self, view: &View) {
        let left = view.staging.values().chain(view.duplicates.values()).chain(view.quarantine.values());
        self.torn.extend(left.clone().filter(|digest| !self.promises.may.contains(*digest)).cloned());
        self.may.extend(left.cloned());
        if !self.rules.syncs {
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
}
