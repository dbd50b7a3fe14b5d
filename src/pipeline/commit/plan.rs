//! The decisions of a batch before anything is written: for each file whether it is new, a duplicate, or has to wait.
//!
//! Invariants:
//! - P1: a key is taken at most once among all batches under way, and never if it is durably MOVED.
//! - Two files of equal content never have the same path: recovery recognizes a file at its path by its content.
//! - Where the order is kept, nothing overtakes a file that has to wait.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::claims::{Chosen, Claims};
use super::{Committer, Work};
use crate::fs::Fs;
use crate::journal::record::{
    Abandoned, Discovered, DuplicateAction, Hashed as HashedRecord, Profiled, Quarantined, Record, Sidecar,
    SkippedDuplicate, Uploading,
};
use crate::lake::host::State;
use crate::pipeline::dirs::joined;
use crate::pipeline::quarantine::{QuarantineReason, quarantine_name};
use crate::pipeline::warehouse::names::warehouse_name;
use crate::pipeline::{Error, HashedFile, Outcome, Refusal, Report, Settled, subdir};
use crate::types::{IngestId, Key, Sha256};

fn work<F: Fs>(id: IngestId, file: HashedFile<F>) -> Work<F> {
    let (name, key, parts) = (file.settled.name, file.settled.identity.key(), file.parts);
    Work { id, name, key, held: Some(file.file), leased: file.leased, there: None, parts }
}

/// The decisions of a batch: what to write and which files to move.
pub(super) struct BatchPlan<F: Fs> {
    pub(super) records: Vec<Record>,
    pub(super) ingests: Vec<Work<F>>,
    pub(super) duplicates: Vec<Work<F>>,
    pub(super) claims: Claims,
}

impl<F: Fs> Committer<F> {
    /// Reports a file that was not hashed to its end. If its DISCOVERED is durable, it is abandoned.
    pub(super) fn refuse(&mut self, settled: Settled, refusal: Refusal) -> Report {
        self.pending.noted.retain(|noted| noted.ticket != settled.ticket);
        let interrupted = matches!(refusal, Refusal::Interrupted);
        // An interrupted file stays DISCOVERED: the next start resumes it, with the same time.
        if !interrupted && let Some(ingest_id) = self.pending.tickets.remove(&settled.ticket) {
            let reason = refusal.why().abandon_reason();
            self.metrics.file_abandoned(&self.settings.input.join(&*settled.name), reason);
            self.pending.closings.push(Record::Abandoned(Abandoned { ingest_id, reason }));
        }
        Report { name: settled.name, outcome: Outcome::Refused(refusal) }
    }

    /// Takes the records that the next frame must begin with.
    pub(super) fn take_pending(&mut self, records: &mut Vec<Record>) {
        self.note_clock(records);
        records.append(&mut self.pending.closings);
        for settled in std::mem::take(&mut self.pending.noted) {
            // The DISCOVERED of a kept duplicate ends its hold on the original, which may be old enough to be forgotten.
            // So it goes into the same frame as the record that says what the file is now.
            let is_kept = self.index.kept_at(settled.identity.key()).is_some();
            if is_kept || self.pending.tickets.contains_key(&settled.ticket) {
                continue;
            }
            let id = IngestId(self.journal.next_lsn().0 + records.len() as u64);
            self.pending.tickets.insert(settled.ticket, id);
            records.push(self.discovered(&settled));
        }
    }

    pub(super) fn discovered(&self, settled: &Settled) -> Record {
        let sidecar = settled.sidecar.zip(settled.sidecar_name(self.shared.names.sidecars.as_ref()));
        let sidecar = sidecar.map(|(identity, name)| Sidecar { identity, path: self.settings.input.join(name) });
        Record::Discovered(Discovered {
            identity: settled.identity,
            discovered_at: settled.complete_at,
            source_path: joined(&[&self.settings.input, Path::new(&settled.name)]),
            sidecar,
        })
    }

    /// Decides for each file whether it is new, a duplicate, or has to wait, and adds the records.
    pub(super) fn plan(
        &mut self,
        hashed: Vec<HashedFile<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<BatchPlan<F>, Error> {
        let (records, ingests) = (Vec::with_capacity(2 * hashed.len()), Vec::with_capacity(hashed.len()));
        let mut plan = BatchPlan { records, ingests, duplicates: Vec::new(), claims: Claims::default() };
        self.take_pending(&mut plan.records);
        for file in hashed {
            // The one that waits is ingested in its place if the first of its key fails.
            if self.pending.keeps_order && self.has_deferred() {
                self.pending.deferred.push(file);
                continue;
            }
            let key = self.key_of(&file);
            let original = self.original_unless_forgotten(&key, &file.sha256, &mut plan.records)?;
            let in_lake = if original.is_none() { self.state_in_lake(&file.sha256) } else { State::New };
            if in_lake == State::Claimed {
                reports.push(self.refuse(file.settled, Refusal::ClaimedElsewhere));
                continue;
            }
            if original.is_none() && (self.is_awaited(&key) || !plan.claims.keys.insert(key)) {
                self.pending.deferred.push(file);
                continue;
            }
            let id = self.discover(&file.settled, &mut plan.records);
            // What another host has listed is no file of this journal: the duplicate stands for it.
            let original = original.or((in_lake == State::Listed).then_some(id));
            match original {
                Some(original) => plan.duplicates.push(self.skip(id, file, original, &mut plan.records)),
                None => plan.ingests.push(self.intend(id, file, (&mut plan.records, &mut plan.claims.paths))),
            }
        }
        Ok(plan)
    }

    /// Adds the record of a file whose content is in the warehouse.
    pub(super) fn skip(
        &mut self,
        id: IngestId,
        file: HashedFile<F>,
        of: IngestId,
        records: &mut Vec<Record>,
    ) -> Work<F> {
        records.push(self.skipped(id, &file.settled.name, &file.sha256, of));
        // The warehouse has this content: the copy is useless. If it cannot be removed, the next start removes it.
        if let Some(copy) = &file.copy {
            let _ = self.staging.dirs.discard(&copy.path);
        }
        work(id, file)
    }

    /// Adds the records of a file that is about to be moved.
    pub(super) fn intend(
        &mut self,
        id: IngestId,
        mut file: HashedFile<F>,
        (records, chosen): (&mut Vec<Record>, &mut Chosen),
    ) -> Work<F> {
        if let Some(profile) = file.profile.take() {
            records.push(Record::Profiled(Profiled { ingest_id: id, sha256: file.sha256, profile: *profile }));
        }
        let name = subdir::file_name(&file.settled.name);
        let warehouse_path = match self.lake_path(&file, name) {
            Some(path) => path,
            None => self.first_choice(&file.partition, name, (&file.sha256, id), chosen),
        };
        records.push(Record::Hashed(HashedRecord {
            ingest_id: id,
            sha256: file.sha256,
            warehouse_path,
            copy: file.copy.take().map(|copy| *copy),
            verified_by: file.verified_by,
        }));
        self.upload_stays((id, &file.sha256), records);
        work(id, file)
    }

    /// A content that was hashed again has the parts of its upload, if it is the same.
    fn upload_stays(&self, (ingest_id, sha256): (IngestId, &Sha256), records: &mut Vec<Record>) {
        let before = self.index.ingest(ingest_id).and_then(|ingest| ingest.target.as_ref());
        let upload = before.filter(|target| target.sha256 == *sha256).and_then(|target| target.upload.as_deref());
        let uploading = upload.map(|upload| Uploading { ingest_id, upload: upload.clone() });
        records.extend(uploading.map(Record::Uploading));
    }

    /// The file's key: by the rule in force when it was found.
    pub(super) fn key_of(&self, file: &HashedFile<F>) -> Key {
        let found = self.pending.tickets.get(&file.settled.ticket).and_then(|id| self.index.ingest(*id));
        match found {
            Some(ingest) => ingest.key(&file.sha256),
            None => Key::by(self.shared.identity.same_by, &file.settled.name, &file.sha256),
        }
    }

    /// The first name in `partition`, which is below the warehouse, that no undecided file has, and no other one under
    /// way: files of several directories may have one name. If two HASHED files had one path, the next start could take
    /// the file there for the wrong one of them.
    fn first_choice(
        &self,
        partition: &Path,
        name: &OsStr,
        (sha256, id): (&Sha256, IngestId),
        chosen: &mut Chosen,
    ) -> PathBuf {
        let path = |taken: usize| match taken {
            0 => joined(&[&self.settings.warehouse, partition, Path::new(name)]),
            _ => joined(&[&self.settings.warehouse, partition, Path::new(&warehouse_name(name, sha256, id, taken))]),
        };
        let choice = (0..).map(path).find(|path| self.is_free(path) && chosen.insert(path));
        choice.unwrap_or_else(|| path(0))
    }

    /// The file's ingest id: the LSN of its DISCOVERED, which is added to `records` if it is not already durable.
    fn discover(&mut self, settled: &Settled, records: &mut Vec<Record>) -> IngestId {
        if let Some(id) = self.pending.tickets.remove(&settled.ticket) {
            return id;
        }
        let id = IngestId(self.journal.next_lsn().0 + records.len() as u64);
        records.push(self.discovered(settled));
        id
    }

    /// Adds the records of files that cannot be ingested.
    pub(super) fn plan_quarantine(&mut self, to_quarantine: Vec<(Settled, QuarantineReason)>, plan: &mut BatchPlan<F>) {
        let Some(dir) = self.quarantine.as_ref().map(|quarantine| quarantine.dir.clone()) else { return };
        for (settled, QuarantineReason { cause, line, detail }) in to_quarantine {
            let id = self.discover(&settled, &mut plan.records);
            let name = quarantine_name(subdir::file_name(&settled.name), &self.journal.store(), id, 0);
            let target = dir.join(subdir::dir_of(&settled.name)).join(name);
            plan.records.push(Record::Quarantined(Quarantined { ingest_id: id, cause, line, detail, target }));
            plan.duplicates.push(Work::unopened(id, settled.name, settled.identity.key()));
        }
    }

    pub(super) fn skipped(&self, id: IngestId, name: &OsStr, sha256: &Sha256, of: IngestId) -> Record {
        let target = match (self.settings.duplicates, &self.settings.duplicates_dir) {
            (DuplicateAction::Move, Some(dir)) => {
                let of = subdir::file_name(name);
                Some(dir.join(subdir::dir_of(name)).join(warehouse_name(of, sha256, id, 0)))
            }
            _ => None,
        };
        let action = match self.settings.duplicates {
            DuplicateAction::Move if target.is_none() => DuplicateAction::Keep,
            action => action,
        };
        Record::SkippedDuplicate(SkippedDuplicate { ingest_id: id, sha256: *sha256, duplicate_of: of, action, target })
    }
}
