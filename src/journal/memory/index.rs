//! The index: the sum of the journal's records. Start, recovery and the running ingestor share this one fold.
//!
//! Invariants:
//! - The index is a function of the records in LSN order, and of nothing else: a snapshot plus the records after it
//!   gives the same result as all records.
//! - A key is known if and only if a MOVED record of a file with it is durable and it has not expired; a file with a known
//!   key is not moved. Each file's key follows from its own records: two files with different rules are not compared.
//! - An expired content stays expired: cutoffs only grow, and no new duplicate refers to a content that is not known.
//! - `open` holds exactly the unfinished files, so it is as small as the number of files in flight.

mod evidence;
mod notes;
mod relocate;

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::groups::OpenGroup;
use super::ingest::{Duplicate, Ingest, Kept, Order, Original, Target};
use crate::journal::disk::error::{Error, Rejected};
use crate::journal::disk::expired::Expired;
use crate::journal::disk::lifecycle::{FileState, ON_ITS_WAY, StateCounts};
use crate::journal::disk::record::{
    Claimed, Discovered, DuplicateAction, Hashed, Identity, KeyRule, LayoutRule, Moved, Record, Rules, Settings,
    SkippedDuplicate, Uploading,
};
use crate::journal::disk::relocations::Relocations;
use crate::journal::disk::snapshot::Snapshot;
use crate::journal::log::clock::Clock;
use crate::journal::log::replay::Visitor;
use crate::types::{IngestId, Key, Lsn, UnixMillis};

const NOT_OPEN: &str = "a record of a file that is not open";

/// The sum of all records.
#[derive(Clone, Debug, Default)]
pub struct Index {
    settings: Option<Arc<Settings>>,
    rules: Rules,
    layout: LayoutRule,
    /// Shared with the thread that moves files.
    open: HashMap<IngestId, Arc<Ingest>>,
    /// Contents of files that were finished up to this snapshot.
    snapshot: Option<Arc<Snapshot>>,
    /// The other contents. If both hold a content, this entry counts: the snapshot's has expired.
    recent: HashMap<Key, Original>,
    notes: notes::Notes,
    /// The last FORGOTTEN of each key: a file with it that finished earlier has expired.
    forgotten: HashMap<Key, Lsn>,
    kept: HashMap<(u64, u64), Kept>,
    /// The number of kept duplicates with each key.
    kept_of: HashMap<Key, u32>,
    counts: StateCounts,
}

impl Index {
    /// The sum of all records up to a snapshot.
    pub fn from_snapshot(snapshot: &Arc<Snapshot>) -> Result<Index, Error> {
        let mut state = Index::default();
        snapshot.survivors(&mut |lsn, at, record| {
            // The records between two of them are gone.
            state.notes.last_seq = record.seq().map_or(state.notes.last_seq, |seq| seq.saturating_sub(1));
            if record.seq().is_some_and(|seq| seq > snapshot.header().last_seq) {
                return Err("MOVED with a number that is behind the last one".into());
            }
            state.take(lsn, at, record)
        })?;
        for (count, finished) in state.counts.iter_mut().zip(snapshot.header().finished) {
            *count += finished;
        }
        state.notes.last_seq = snapshot.header().last_seq;
        state.snapshot = Some(snapshot.clone());
        Ok(state)
    }

    /// Adopts a newer snapshot of records that are part of this index: its contents are looked up in it from now on.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        let folded_in = snapshot.header().lsn;
        self.recent.retain(|_, original| original.finished.is_none_or(|lsn| lsn > folded_in));
        self.recent.shrink_to(self.recent.len() * 2);
        self.snapshot = Some(snapshot);
    }

    /// The settings of the last start.
    pub fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }

    /// The rules of the last start.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The layout of the last start.
    pub fn layout(&self) -> &LayoutRule {
        &self.layout
    }

    /// By what two files are one and the same since the last start, and what happens to empty ones. None if no record says
    /// it: then by their content, and they are ingested.
    pub fn identity(&self) -> Option<Identity> {
        self.notes.identity
    }

    /// The unfinished files, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Ingest> {
        let mut open: Vec<&Ingest> = self.open.values().map(|ingest| &**ingest).collect();
        open.sort_unstable_by_key(|ingest| ingest.id);
        open.into_iter()
    }

    /// One unfinished file.
    pub fn ingest(&self, id: IngestId) -> Option<&Arc<Ingest>> {
        self.open.get(&id)
    }

    /// The id of the lake with which the journal works, if it works with one.
    pub fn lake(&self) -> Option<[u8; 16]> {
        self.notes.lake
    }

    /// The number of the last manifest line that a record numbers; 0 if none does.
    pub fn last_seq(&self) -> u64 {
        self.notes.last_seq
    }

    /// The expiries so far.
    pub fn expired(&self) -> &Expired {
        &self.notes.expired
    }

    /// The wall clock's jumps.
    pub fn clock(&self) -> &Clock {
        &self.notes.clock
    }

    /// The directories that were moved.
    pub fn relocations(&self) -> &Relocations {
        &self.notes.relocations
    }

    /// The groups that are not done, oldest first.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<OpenGroup>> {
        self.notes.groups.open()
    }

    /// True if a file is unfinished and past DISCOVERED, or a group is not done, so that directories must not be relocated.
    pub fn is_half_done(&self) -> bool {
        !self.notes.groups.is_empty() || self.open.values().any(|ingest| ingest.state != FileState::Discovered)
    }

    /// The file that first had this key, if the key is known: durably in the warehouse, and not forgotten.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is damaged there.
    pub fn original(&self, key: &Key) -> Result<Option<Original>, Error> {
        if let Some(recent) = self.recent.get(key) {
            return Ok(Some(recent).filter(|original| !self.has_expired(key, original)).cloned());
        }
        let Some(snapshot) = &self.snapshot else { return Ok(None) };
        let original = snapshot.find(key)?.map(|row| Original::of_row(&row, self.relocations()));
        Ok(original.filter(|original| !self.has_expired(key, original)))
    }

    fn is_known(&self, key: &Key) -> Result<bool, Error> {
        Ok(self.original(key)?.is_some())
    }

    /// True if this key may have been known and forgotten since: it is old enough, or an operator asked for it.
    pub fn may_have_forgotten(&self, key: &Key, id: IngestId, ingested_at: UnixMillis) -> bool {
        self.notes.expired.excuses(Lsn(id.0), ingested_at) || self.forgotten.contains_key(key)
    }

    /// True if [`Index::original`] looks for this key in the snapshot.
    pub fn is_looked_up(&self, key: &Key) -> bool {
        self.snapshot.is_some() && !self.recent.contains_key(key)
    }

    /// True if the content is old enough to be forgotten (or an operator asked for it), its file is finished, and no
    /// duplicate of it is in staging: a duplicate that is kept there must not turn into a new file.
    fn has_expired(&self, key: &Key, original: &Original) -> bool {
        let refers = |ingest: &Arc<Ingest>| ingest.refers_to() == Some(*key);
        let Some(finished) = original.finished else { return false };
        let is_old = self.notes.expired.covers(finished, original.listed_at, original.discovered_at)
            || self.forgotten.get(key).is_some_and(|forgotten| finished < *forgotten);
        is_old && !self.kept_of.contains_key(key) && !self.open.values().any(refers)
    }

    /// Duplicates that stay in staging.
    pub fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values()
    }

    /// The kept duplicate with that (device, inode).
    pub fn kept_at(&self, key: (u64, u64)) -> Option<&Kept> {
        self.kept.get(&key)
    }

    /// Contents that are remembered, including those that have expired since the last compaction.
    pub fn remembered(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.header().rows) + self.recent.len() as u64
    }

    /// Contents since the last compaction: each takes about 200 bytes of memory; one in the snapshot takes five.
    pub fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Bytes of the last snapshot's file.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.header().file_bytes)
    }

    /// The number of files in `state`.
    pub fn count(&self, state: FileState) -> u64 {
        self.counts[state as usize]
    }

    /// As `apply_at`, for a record whose time is unknown: it looks as young as possible.
    pub fn apply(&mut self, lsn: Lsn, record: &Record) -> Result<(), Rejected> {
        self.apply_at(lsn, UnixMillis(u64::MAX), record)
    }

    /// As [`Index::take`], for a record that is still needed.
    pub fn apply_at(&mut self, lsn: Lsn, at: UnixMillis, record: &Record) -> Result<(), Rejected> {
        match record {
            Record::Discovered(_) | Record::Hashed(_) => self.take(lsn, at, record.clone()),
            record => self.add(lsn, at, record),
        }
    }

    /// Adds the record with this LSN, which was written at `at`. An error says why the record cannot follow those
    /// before it; the index is then unchanged.
    pub fn take(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<(), Rejected> {
        match record {
            // There is one of each for every file: their paths are not copied.
            Record::Discovered(found) => self.discover(IngestId(lsn.0), found),
            Record::Hashed(hashed) => self.hash(hashed),
            record => self.add(lsn, at, &record),
        }
    }

    fn add(&mut self, lsn: Lsn, at: UnixMillis, record: &Record) -> Result<(), Rejected> {
        match record {
            Record::Settings(settings) => self.settings = Some(Arc::new(settings.clone())),
            Record::Rules(rules) => self.rules = rules.clone(),
            Record::Layout(layout) => self.layout = layout.clone(),
            Record::Discovered(found) => self.discover(IngestId(lsn.0), found.clone())?,
            Record::Expired(before) => drop(self.notes.expired.take_open(lsn, *before)),
            Record::Hashed(hashed) => self.hash(hashed.clone())?,
            Record::Moved(moved) => self.move_in(lsn, moved, record)?,
            Record::Manifested(id) => {
                let ingest = self.close(*id, record)?;
                let key = ingest.target.as_ref().map(|target| ingest.key(&target.sha256));
                let original = key.and_then(|key| self.recent.get_mut(&key));
                let original = original.ok_or("MANIFESTED of an unknown content")?;
                (original.finished, original.listed_at) = (Some(lsn), at);
            }
            Record::SkippedDuplicate(skipped) => self.skip(skipped, record)?,
            Record::DuplicateCleared(id) | Record::QuarantineDone(id) => drop(self.close(*id, record)?),
            Record::Profiled(profiled) => {
                self.enter(profiled.ingest_id, record)?.profiled = Some(Box::new(profiled.clone()));
            }
            Record::Quarantined(quarantined) => {
                self.must_be_unclaimed(quarantined.ingest_id)?;
                let ingest = self.enter(quarantined.ingest_id, record)?;
                ingest.quarantined = Some(Box::new(quarantined.clone()));
            }
            Record::Forgotten(key) => self.forget(lsn, key),
            Record::Claimed(claimed) => self.claim(claimed, record)?,
            Record::Uploading(uploading) => self.upload(uploading, record)?,
            Record::Abandoned(abandoned) => {
                self.must_be_unclaimed(abandoned.ingest_id)?;
                drop(self.close(abandoned.ingest_id, record)?);
            }
            Record::ClockJumped(_)
            | Record::ExpiredRanges(_)
            | Record::KeptGone(_)
            | Record::Relocated(_)
            | Record::Group(_)
            | Record::GroupDone(_)
            | Record::Identity(_)
            | Record::Lake(_) => self.note(lsn, at, record)?,
        }
        Ok(())
    }

    /// Adds a record that is about no single file.
    fn note(&mut self, lsn: Lsn, at: UnixMillis, record: &Record) -> Result<(), Rejected> {
        match record {
            Record::ClockJumped(jumped) => self.notes.clock.take(lsn, at, jumped),
            Record::ExpiredRanges(ranges) => self.notes.expired.take(lsn, ranges)?,
            Record::Identity(identity) => self.notes.identity = Some(*identity),
            Record::Lake(id) => self.notes.lake = Some(*id),
            Record::KeptGone(gone) => self.unkeep((gone.device, gone.inode)),
            Record::Relocated(_) if self.is_half_done() => return Err(ON_ITS_WAY.into()),
            Record::Relocated(roots) => {
                self.notes.relocations.take(lsn, at, roots)?;
                self.relocate(roots);
            }
            Record::Group(group) => self.notes.groups.begin(lsn, group)?,
            Record::GroupDone(of) => {
                self.notes.groups.end(*of, |id| self.open.get(id).map(|ingest| ingest.identity.inode))?
            }
            _ => {}
        }
        Ok(())
    }

    fn discover(&mut self, id: IngestId, found: Discovered) -> Result<(), Rejected> {
        let settings = self.settings.clone().ok_or("DISCOVERED before any settings")?;
        // The file is processed again, so an earlier kept duplicate with this inode no longer counts.
        self.unkeep(found.identity.key());
        let same_by = self.notes.identity.unwrap_or_default().same_by;
        let ingest = Ingest {
            id,
            state: FileState::Discovered,
            identity: found.identity,
            discovered_at: found.discovered_at,
            key_rule: KeyRule::new(same_by, &settings.input, &found.source_path),
            source_path: found.source_path,
            sidecar: found.sidecar,
            settings,
            target: None,
            claimed: None,
            order: Order::default(),
            duplicate: None,
            profiled: None,
            quarantined: None,
            group: self.notes.groups.of(id, found.identity.inode).cloned(),
        };
        self.counts[FileState::Discovered as usize] += 1;
        self.open.insert(id, Arc::new(ingest));
        Ok(())
    }

    fn hash(&mut self, hashed: Hashed) -> Result<(), Rejected> {
        let ingest = self.open.get(&hashed.ingest_id).ok_or(NOT_OPEN)?;
        let next = ingest.state.after_hashed()?;
        if self.is_known(&ingest.key(&hashed.sha256))? {
            return Err("HASHED of a content that is in the warehouse".into());
        }
        let ingest = self.set_state(hashed.ingest_id, next)?;
        // Hashed again after CLAIMED: an operator had the lake forget the content meanwhile.
        ingest.claimed = None;
        ingest.target = Some(Target {
            sha256: hashed.sha256,
            warehouse_path: hashed.warehouse_path,
            copy: hashed.copy,
            verified_by: hashed.verified_by,
            upload: None,
        });
        Ok(())
    }

    fn move_in(&mut self, lsn: Lsn, moved: &Moved, record: &Record) -> Result<(), Rejected> {
        let id = moved.ingest_id;
        let (ingest, _) = self.next_state(id, record)?;
        let target = ingest.target.as_ref().ok_or("MOVED without HASHED")?;
        let key = ingest.key(&target.sha256);
        if self.is_known(&key)? {
            return Err("a content is MOVED twice".into());
        }
        let warehouse_path = target.warehouse_path.clone().into_boxed_path();
        let last_seq = moved.number_after(self.notes.last_seq)?;
        let ingest = self.enter(id, record)?;
        ingest.order = Order { moved_at: Some(lsn), seq: moved.seq };
        let discovered_at = ingest.discovered_at;
        let (published, finished, listed_at) = (moved.published, None, UnixMillis(0));
        let original = Original { ingest_id: id, warehouse_path, discovered_at, finished, published, listed_at };
        self.recent.insert(key, original);
        self.notes.last_seq = last_seq;
        Ok(())
    }

    fn skip(&mut self, skipped: &SkippedDuplicate, record: &Record) -> Result<(), Rejected> {
        self.must_be_unclaimed(skipped.ingest_id)?;
        let ingest = self.enter(skipped.ingest_id, record)?;
        ingest.duplicate = Some(Duplicate {
            of: skipped.duplicate_of,
            sha256: skipped.sha256,
            action: skipped.action,
            target: skipped.target.clone(),
        });
        if skipped.action == DuplicateAction::Keep {
            let sidecar = ingest.sidecar.as_ref().map(|sidecar| sidecar.identity);
            let key = ingest.key(&skipped.sha256);
            let kept = Kept { identity: ingest.identity, sha256: skipped.sha256, key, sidecar };
            self.open.remove(&skipped.ingest_id);
            self.unkeep(kept.identity.key());
            *self.kept_of.entry(kept.key).or_default() += 1;
            self.kept.insert(kept.identity.key(), kept);
        }
        Ok(())
    }

    fn claim(&mut self, claimed: &Claimed, record: &Record) -> Result<(), Rejected> {
        self.enter(claimed.ingest_id, record)?.claimed = Some((claimed.shard, claimed.entry));
        Ok(())
    }

    fn upload(&mut self, uploading: &Uploading, record: &Record) -> Result<(), Rejected> {
        if self.is_claimed(uploading.ingest_id) {
            return Err("UPLOADING after CLAIMED".into());
        }
        let target = self.enter(uploading.ingest_id, record)?.target.as_mut().ok_or("UPLOADING without HASHED")?;
        target.upload = Some(Box::new(uploading.upload.clone()));
        Ok(())
    }

    fn is_claimed(&self, id: IngestId) -> bool {
        self.open.get(&id).is_some_and(|ingest| ingest.claimed.is_some())
    }

    /// What an entry of a lake claims is never given up.
    fn must_be_unclaimed(&self, id: IngestId) -> Result<(), &'static str> {
        let is_claimed = self.is_claimed(id);
        if is_claimed { Err("a file that is CLAIMED is given up") } else { Ok(()) }
    }

    /// Kept duplicates of a forgotten content are processed again: the first of them becomes an original.
    fn forget(&mut self, lsn: Lsn, key: &Key) {
        self.forgotten.insert(*key, lsn);
        if self.kept_of.remove(key).is_some() {
            self.kept.retain(|_, kept| kept.key != *key);
        }
    }

    fn unkeep(&mut self, key: (u64, u64)) {
        let Some(kept) = self.kept.remove(&key) else { return };
        if let Some(count) = self.kept_of.get_mut(&kept.key) {
            *count -= 1;
            if *count == 0 {
                self.kept_of.remove(&kept.key);
            }
        }
    }

    fn next_state(&self, id: IngestId, record: &Record) -> Result<(&Ingest, FileState), &'static str> {
        let ingest = self.open.get(&id).ok_or(NOT_OPEN)?;
        Ok((ingest, ingest.state.after(record)?))
    }

    /// Moves a file to its next state, and updates the counts. An UPLOADING does not hold any more.
    fn enter(&mut self, id: IngestId, record: &Record) -> Result<&mut Ingest, &'static str> {
        let (_, next) = self.next_state(id, record)?;
        let ingest = self.set_state(id, next)?;
        if let Some(target) = &mut ingest.target {
            target.upload = None;
        }
        Ok(ingest)
    }

    fn set_state(&mut self, id: IngestId, next: FileState) -> Result<&mut Ingest, &'static str> {
        let ingest = self.open.get_mut(&id).ok_or(NOT_OPEN)?;
        self.counts[ingest.state as usize] -= 1;
        self.counts[next as usize] += 1;
        let ingest = Arc::make_mut(ingest);
        ingest.state = next;
        Ok(ingest)
    }

    /// As `enter`, for the last record of a file. What is returned still has the state before.
    fn close(&mut self, id: IngestId, record: &Record) -> Result<Arc<Ingest>, &'static str> {
        let Entry::Occupied(open) = self.open.entry(id) else { return Err(NOT_OPEN) };
        let (before, next) = (open.get().state, open.get().state.after(record)?);
        self.counts[before as usize] -= 1;
        self.counts[next as usize] += 1;
        Ok(open.remove())
    }
}

impl Visitor for Index {
    fn restart(&mut self) {
        *self = Index::default();
    }

    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        *self = Index::from_snapshot(snapshot)?;
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected> {
        self.take(lsn, written_at, record)
    }
}
