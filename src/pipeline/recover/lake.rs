//! HASHED files whose warehouse is a lake: the log says what became of them.
//!
//! | the log says | what is done |
//! |---|---|
//! | CLAIMED is recorded | when its line is there, MOVED, and the source is removed: whatever became of the content since |
//! | an entry claims the content for this file | CLAIMED; when its line is there, MOVED, and the source is removed |
//! | an entry claims it for another file, or none does | source unchanged: hashed again, same id and time; else ABANDONED |
//!
//! Invariant: a request of the process that died may still arrive. The file keeps its id, so whatever that request brings
//! is this file's.

use super::{Committer, Dropped, Error, Recovered, work_of};
use crate::fs::Fs;
use crate::journal::lifecycle::FileState;
use crate::pipeline::commit::lake::{Verdict, is_for_lake};

impl<F: Fs> Committer<F> {
    /// HASHED: becomes MOVED, waits for its line, is hashed again, or is abandoned.
    pub(super) fn finish_in_lake(&mut self, recovered: &mut Recovered) -> Result<(), Error> {
        let (mut records, mut claimed, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for ingest in self.open_alone(FileState::Hashed).into_iter().filter(is_for_lake) {
            let work = work_of(&ingest)?;
            if ingest.claimed.is_some() {
                // Also if the lake has forgotten the content since, and another file brought it again.
                claimed.push(work);
                continue;
            }
            match self.verdict(ingest.id)? {
                Verdict::Ours(claim, url) => {
                    self.record_claim(claim, &url, &mut records)?;
                    claimed.push(work);
                }
                Verdict::Another | Verdict::Nobody => match self.resume_source(&ingest, &recovered.resumed)? {
                    Ok(settled) => recovered.resumed.push((ingest.id, settled)),
                    Err(reason) => dropped.push(Dropped { work, reason, error: None }),
                },
            }
        }
        self.write(records)?;
        self.pending.claimed.extend(claimed);
        if self.has_lake() {
            self.help_lake()?;
        }
        let listed = self.take_listed()?;
        recovered.counts.abandoned += dropped.len() as u64;
        self.record_and_tell(&listed, dropped)
    }
}
