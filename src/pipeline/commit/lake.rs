//! Batches whose warehouse is a lake.
//!
//! ```text
//! plan ──▶ HASHED ──▶ pack, entry ──▶ CLAIMED ──▶ data, lines ──▶ MOVED ──▶ clean-up
//!               └──▶ UPLOADING ──▶ parts, entry ──▲
//! ```
//!
//! Invariants:
//! - The entry is the commit: what an entry of this host claims for a file is never given up, also not after a crash that
//!   came before CLAIMED. Recovery reads the log.
//! - A part is put after the UPLOADING of its upload is durable: a host that starts again goes on with it.
//! - P2: a source is removed after MOVED, and MOVED is written when the line is in the lake.
//! - A file whose content another host has claimed starts again; when that content is listed, it is a duplicate.
//! - P1: whenever the log was read, the files whose lines are there are MOVED before anything is planned. So no content is new
//!   because the lake has forgotten it, while a file of this journal waits for its line.

mod groups;
pub(in crate::pipeline) mod on_its_way;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashMap;

use super::{Committer, Dropped, Work, ingest};
use crate::fs::Fs;
use crate::journal::hex;
use crate::journal::index::Index;
use crate::journal::ingest::Ingest;
use crate::journal::record::{AbandonReason, Claimed, Hashed as HashedRecord, Record, Uploading};
use crate::lake::host::{Fate, Ingested, State};
use crate::lake::progress::{Journal as _, Progress};
use crate::limits::{LAKE_CLAIMS_MAX, LAKE_PACK_BYTES_MAX};
use crate::metrics::FailureReason;
use crate::pipeline::lake::batch::{Batch, Member, partition_of_dir};
use crate::pipeline::lake::{Lake, Waited, line};
use crate::pipeline::{Error, HashedFile, Report};
use crate::types::{IngestId, Key, Sha256};

/// What is done with the lake and some files.
type Act<'a, F> = &'a mut dyn FnMut(&mut Lake, &Batch<'_, F>) -> Result<(), Error>;

/// How the lake has decided about a file.
pub(in crate::pipeline) enum Verdict {
    /// An entry claims its content for it.
    Ours(Claimed, String),
    /// An entry claims its content for another file.
    Another,
    /// No entry claims its content.
    Nobody,
}

impl<F: Fs> Committer<F> {
    /// The files go to this lake from now on.
    pub fn use_lake(&mut self, lake: Lake) {
        self.lake = Some(Box::new(lake));
    }

    /// True if files go to a lake.
    pub fn has_lake(&self) -> bool {
        self.lake.is_some()
    }

    /// Takes a batch, which is HASHED, as far as it gets: files whose entry cannot be finished now wait.
    pub(super) fn commit_to_lake(&mut self, works: Vec<Work<F>>, reports: &mut Vec<Report>) -> Result<(), Error> {
        let mut dropped = Vec::new();
        let claimed = self.claim(works, &mut dropped)?;
        self.pending.claimed.extend(claimed);
        // A host that always has something to do has no turns.
        let now = self.fs.now();
        self.lake.as_mut().map_or(Ok(()), |lake| lake.forget_old(now))?;
        self.record_moves(&[], dropped, reports)?;
        let to_clear = self.pending.under_way.pop_front().map(|batch| batch.to_clear).unwrap_or_default();
        self.finish_listed(to_clear, reports)
    }

    /// What is done between batches: the log is read now and then, and what is due is finished. Reports files whose lines
    /// are there now.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn turn_lake(&mut self) -> Result<Vec<Report>, Error> {
        let mut reports = Vec::new();
        let Some(lake) = &mut self.lake else { return Ok(reports) };
        lake.turn()?;
        lake.forget_old(self.fs.now())?;
        self.finish_listed(Vec::new(), &mut reports)?;
        Ok(reports)
    }

    /// True if all entries that this host knows are finished, and no file waits for one.
    pub fn is_lake_idle(&self) -> bool {
        self.pending.claimed.is_empty() && self.lake.as_ref().is_none_or(|lake| lake.host.is_idle())
    }

    /// Waits until the lines of all files that are claimed are there, or until the process is not to wait: then the next
    /// start goes on.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn await_lake(&mut self) -> Result<Vec<Report>, Error> {
        let mut reports = self.turn_lake()?;
        let mut waited = Duration::ZERO;
        while !self.pending.claimed.is_empty() {
            if self.lake.as_mut().is_none_or(|lake| lake.wait_a_little(&mut waited) != Waited::Enough) {
                break;
            }
            reports.extend(self.turn_lake()?);
        }
        Ok(reports)
    }

    /// Brings the contents into entries. Returns the files for which an entry claims them. When the process is to stop, files
    /// whose bytes are under way, or that have to wait for entries of others, stay HASHED for the next start.
    fn claim(&mut self, works: Vec<Work<F>>, dropped: &mut Vec<Dropped<F>>) -> Result<Vec<Work<F>>, Error> {
        self.take_over_uploads(&works)?;
        let (mut left, mut claimed) = (works, Vec::new());
        while !left.is_empty() {
            let mut fates = HashMap::new();
            let goes_on = self.append_entries(&left, &mut fates)?;
            let (mut records, mut again) = (Vec::new(), Vec::new());
            for work in left {
                match self.verdict(work.id)? {
                    Verdict::Ours(claim, url) => {
                        self.record_claim(claim, &url, &mut records)?;
                        claimed.push(work);
                    }
                    Verdict::Another => {
                        dropped.push(Dropped { work, reason: AbandonReason::ClaimedElsewhere, error: None });
                    }
                    Verdict::Nobody => match self.why_not_claimed(&work, &fates)? {
                        Some(reason) => dropped.push(Dropped { work, reason, error: None }),
                        None => again.push(work),
                    },
                }
            }
            self.write_with_uploads(records, &again)?;
            let is_stopping = self.is_stopping();
            again.retain(|work| goes_on && !(is_stopping && self.is_uploaded(work)));
            left = again;
        }
        // While the bytes are at hand, no pack needs to be read.
        self.with_batch(&claimed, &mut |lake, batch| lake.help(batch))?;
        Ok(claimed)
    }

    /// True if the file's content goes to the lake in parts.
    fn is_uploaded(&self, work: &Work<F>) -> bool {
        let size = self.index.ingest(work.id).map(|ingest| ingest.identity.size);
        self.lake.as_ref().zip(size).is_some_and(|(lake, size)| lake.host.is_large(size))
    }

    /// True if a signal has said that nothing new is to begin.
    fn is_stopping(&self) -> bool {
        self.shared.signalled.load(Ordering::Relaxed)
    }

    /// Writes UPLOADING for those of these files whose contents are uploaded already, for files that have dropped out: before
    /// a part is put for these.
    fn take_over_uploads(&mut self, works: &[Work<F>]) -> Result<(), Error> {
        let Some(lake) = &mut self.lake else { return Ok(()) };
        let targets = works.iter().filter_map(|work| self.index.ingest(work.id)?.target.as_ref());
        let open: Vec<Progress> = targets.filter_map(|target| lake.host.open_upload(&target.sha256)).collect();
        lake.notes.note(&open)?;
        self.write_with_uploads(Vec::new(), works)
    }

    /// Writes records, and UPLOADING for those of these files whose uploads the host has noted.
    fn write_with_uploads(&mut self, mut records: Vec<Record>, works: &[Work<F>]) -> Result<(), Error> {
        let Some(notes) = self.lake.as_ref().map(|lake| lake.notes.clone()) else { return self.write(records) };
        for work in works {
            let Some(target) = &self.ingest(work.id)?.target else { continue };
            let upload = notes.upload_of(&target.sha256);
            if let Some(upload) = upload.filter(|upload| target.upload.as_deref() != Some(upload)) {
                records.push(Record::Uploading(Uploading { ingest_id: work.id, upload }));
            }
        }
        self.write(records)?;
        notes.are_recorded();
        Ok(())
    }

    /// Why no entry will claim the file's content; None if it did not fit, and has its turn in the next entry.
    fn why_not_claimed(&self, work: &Work<F>, fates: &HashMap<Sha256, Fate>) -> Result<Option<AbandonReason>, Error> {
        let ingest = self.ingest(work.id)?;
        let content = ingest.target.as_ref().map(|target| target.sha256);
        Ok(match content.and_then(|content| fates.get(&content)) {
            Some(Fate::Differs) => Some(AbandonReason::Changed),
            Some(Fate::Unfit(why)) => {
                self.metrics.file_failed(&ingest.source_path, FailureReason::NotMoved, why, None);
                Some(AbandonReason::Failed)
            }
            _ => None,
        })
    }

    /// Claims as many of the contents as fit into an entry of each shard, and adds what became of each. False if the process
    /// is stopping, and entries have to be finished before these contents are claimed.
    fn append_entries(&mut self, works: &[Work<F>], fates: &mut HashMap<Sha256, Fate>) -> Result<bool, Error> {
        let (mut goes_on, mut waited) = (true, Duration::ZERO);
        self.with_batch(works, &mut |lake, batch| {
            let contents = batch.contents();
            let bytes = contents.iter().map(|content| content.size).sum::<u64>();
            lake.keep_pace(contents.len() >= LAKE_CLAIMS_MAX || bytes >= LAKE_PACK_BYTES_MAX);
            loop {
                let outcome = lake.patiently(&mut |host| {
                    let outcome = host.ingest_each(&contents, batch);
                    outcome.error.clone().map_or(Ok(outcome), Err)
                })?;
                let is_busy = outcome.shards.contains(&Ingested::Busy);
                fates.extend(outcome.fates);
                if !is_busy || !lake.notes.is_durable() {
                    return Ok(());
                }
                lake.help(batch)?;
                match lake.wait_a_little(&mut waited) {
                    Waited::Enough => {}
                    Waited::TooLong => return Err(unfinished()),
                    Waited::Stopping => {
                        goes_on = false;
                        return Ok(());
                    }
                }
            }
        })?;
        Ok(goes_on)
    }

    /// Calls `act` with the lake, and these files as it sees them.
    fn with_batch(&mut self, works: &[Work<F>], act: Act<'_, F>) -> Result<(), Error> {
        let Some(lake) = &mut self.lake else { return Ok(()) };
        let member = |work| member(&self.index, work);
        let members = works.iter().filter_map(member);
        let batch = Batch::new(&self.fs, hex(&self.journal.store()), lake.warehouse.clone(), members);
        act(lake, &batch)
    }

    /// Finds out who claims a file's content, as far as the log was read.
    pub(in crate::pipeline) fn verdict(&mut self, id: IngestId) -> Result<Verdict, Error> {
        let journal = hex(&self.journal.store());
        let ingest = ingest(&self.index, id)?;
        let (Some(lake), Some(target)) = (&mut self.lake, &ingest.target) else { return Ok(Verdict::Nobody) };
        let last = lake.patiently(&mut |host| host.last_claim_of(&target.sha256))?;
        let Some(claim) = last.filter(|last| line::is_of(&last.claim.line, &journal, id)) else {
            return Ok(match lake.state(&target.sha256) {
                State::New => Verdict::Nobody,
                State::Claimed | State::Listed => Verdict::Another,
            });
        };
        let key = lake.url(&claim.claim.key);
        Ok(Verdict::Ours(Claimed { ingest_id: id, shard: claim.shard, entry: claim.entry }, key))
    }

    /// Adds CLAIMED, and before it a HASHED with the path that the entry has chosen, if that is another one.
    pub(in crate::pipeline) fn record_claim(
        &self,
        claim: Claimed,
        url: &str,
        records: &mut Vec<Record>,
    ) -> Result<(), Error> {
        let ingest = self.ingest(claim.ingest_id)?;
        let target = ingest.target.clone().ok_or(Error::Transition("a claimed file has no target", claim.ingest_id))?;
        if target.warehouse_path.as_os_str() != url {
            records.push(Record::Hashed(HashedRecord {
                ingest_id: claim.ingest_id,
                sha256: target.sha256,
                warehouse_path: PathBuf::from(url),
                copy: None,
                verified_by: target.verified_by,
            }));
        }
        if ingest.claimed != Some((claim.shard, claim.entry)) {
            records.push(Record::Claimed(claim));
        }
        Ok(())
    }

    /// How far a content is in the lake.
    pub(super) fn state_in_lake(&mut self, content: &Sha256) -> State {
        let Some(lake) = &mut self.lake else { return State::New };
        let state = lake.state(content);
        if state == State::Claimed {
            lake.host.wants(content);
        }
        state
    }

    /// The file of this journal that brought a content, unless the lake has forgotten it since: then a record says so.
    pub(super) fn original_unless_forgotten(
        &self,
        key: &Key,
        content: &Sha256,
        records: &mut Vec<Record>,
    ) -> Result<Option<IngestId>, Error> {
        let original = self.index.original(key)?.map(|original| original.ingest_id);
        let is_new = |lake: &Lake| lake.state(content) == State::New;
        if original.is_some() && self.lake.as_deref().is_some_and(is_new) {
            records.push(Record::Forgotten(*key));
            return Ok(None);
        }
        Ok(original)
    }

    /// The URL that a file gets in the lake.
    pub(super) fn lake_path(&self, file: &HashedFile<F>, name: &OsStr) -> Option<PathBuf> {
        let lake = self.lake.as_ref()?;
        let dir = partition_of_dir(&lake.warehouse, &file.partition);
        Some(PathBuf::from(lake.next_url(&dir, name.as_bytes(), &file.sha256)))
    }

    /// Finishes the entries that are due.
    pub(in crate::pipeline) fn help_lake(&mut self) -> Result<(), Error> {
        self.lake.as_mut().map_or(Ok(()), |lake| lake.finish_due())
    }

    /// The files that wait, and whose lines are there now. The others are closed meanwhile: their bytes are in the lake.
    pub(in crate::pipeline) fn take_listed(&mut self) -> Result<Vec<Work<F>>, Error> {
        let (mut listed, mut waiting) = (Vec::new(), Vec::new());
        for mut work in std::mem::take(&mut self.pending.claimed) {
            let claimed = ingest(&self.index, work.id)?.claimed;
            let is_finished = |lake: &Lake| claimed.is_some_and(|(shard, entry)| lake.host.is_finished(shard, entry));
            if self.lake.as_deref().is_some_and(is_finished) {
                listed.push(work);
            } else {
                work.held = None;
                waiting.push(work);
            }
        }
        self.pending.claimed = waiting;
        Ok(listed)
    }
}

/// Too many entries of the lake stay unfinished.
fn unfinished() -> Error {
    Error::StoreAway("too many entries of the lake are unfinished, and cannot be finished now".to_owned())
}

/// A file of a batch, with its records.
fn member<'a, F: Fs>(index: &Index, work: &'a Work<F>) -> Option<Member<'a, F>> {
    Some(Member { ingest: index.ingest(work.id)?.clone(), file: work.held.as_ref(), parts: &work.parts })
}

/// True for a duplicate of a content that another host of the lake had listed when this was recorded. Nothing undoes a line,
/// but a host that has started since may not know yet whether it is there.
pub(super) fn was_listed_by_another(ingest: &Ingest) -> bool {
    is_for_lake(ingest) && ingest.duplicate.as_ref().is_some_and(|duplicate| duplicate.of == ingest.id)
}

/// True for a file that goes to a lake, or is there.
pub(in crate::pipeline) fn is_for_lake(ingest: &Ingest) -> bool {
    ingest.settings.is_lake()
}
