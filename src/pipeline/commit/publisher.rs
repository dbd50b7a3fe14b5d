//! Moves the files of a batch to their names in the warehouse, on a thread of its own, while the committer does other
//! things.
//!
//! Invariants:
//! - P3: a batch comes here after its HASHED records are durable, and goes back when all its names are durable and its
//!   leases were checked.
//! - It decides nothing: a file whose name is taken goes back to the committer, which chooses another one.
//! - It has open directories of its own, so each thread syncs what it has changed itself.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Committer, Work};
use crate::fs::Fs;
use crate::journal::ingest::Ingest;
use crate::pipeline::Error;
use crate::pipeline::patience::Patience;
use crate::pipeline::staging::Staging;
use crate::pipeline::warehouse::{Access, Local, Published, Warehouse};

/// Files of one batch that are to be moved.
pub struct Job<F: Fs> {
    files: Vec<(Work<F>, Arc<Ingest>)>,
}

/// The same files, with the result for each.
pub struct Done<F: Fs> {
    pub(super) files: Vec<(Work<F>, Published)>,
}

/// Where a [`Job`] becomes a [`Done`], while the caller goes on. It has one at a time.
pub trait Hands<F: Fs> {
    /// Passes a job on.
    ///
    /// # Errors
    /// There is nobody any more who could do it.
    fn pass(&mut self, job: Job<F>) -> Result<(), Error>;

    /// Waits until the job is done.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    fn wait(&mut self) -> Result<Done<F>, Error>;
}

/// What a thread needs to move files.
pub struct Publisher<F: Fs> {
    staging: Staging<F>,
    warehouse: Box<dyn Warehouse<F>>,
    patience: Patience,
    /// Set when this has failed: the committer must not write any more.
    failed: Arc<AtomicBool>,
}

impl<F: Fs> Publisher<F> {
    /// Moves the files, syncs the directories, and checks the leases.
    ///
    /// # Errors
    /// An effect failed, and going on could break a promise. Where the files are, the next start finds out.
    pub fn publish(&mut self, job: Job<F>) -> Result<Done<F>, Error> {
        let done = self.move_all(job);
        // Before the caller hears of it: after a failed sync nothing may be recorded as done.
        self.failed.fetch_or(done.is_err(), Ordering::Release);
        done
    }

    fn move_all(&mut self, job: Job<F>) -> Result<Done<F>, Error> {
        self.staging.dirs.forget_staged();
        let mut files = job.files;
        // By their directories: only some are kept open, and each that is opened again costs syncs.
        if !files.is_sorted_by_key(|(_, ingest)| partition(ingest)) {
            files.sort_by(|(_, one), (_, other)| partition(one).cmp(&partition(other)));
        }
        let mut access = Access { staging: &mut self.staging, patience: &mut self.patience };
        let ingests: Vec<&Ingest> = files.iter().map(|(_, ingest)| &**ingest).collect();
        let mut results = self.warehouse.publish(&mut access, &ingests)?;
        let arrived = |result: &Published| matches!(result, Published::Done(_));
        let leases = files.iter().zip(&results).filter(|(_, result)| arrived(result));
        let leases: Vec<_> = leases.map(|((work, ingest), _)| (&**ingest, work.lease())).collect();
        let confirmed = self.warehouse.confirm(&mut access, &leases)?;
        for (result, confirmed) in results.iter_mut().filter(|result| arrived(result)).zip(confirmed) {
            if !arrived(&confirmed) {
                *result = confirmed;
            }
        }
        Ok(Done { files: files.into_iter().map(|(work, _)| work).zip(results).collect() })
    }
}

/// Its bytes: to compare paths component by component takes longer.
fn partition(ingest: &Ingest) -> Option<&OsStr> {
    Some(ingest.target.as_ref()?.warehouse_path.parent()?.as_os_str())
}

impl<F: Fs> Committer<F> {
    /// What another thread needs to move this committer's files. `gives_up` tells it not to wait for room on a full disk
    /// any longer.
    pub fn publisher(&self, gives_up: Arc<AtomicBool>) -> Publisher<F> {
        let failed = self.patience.given_up();
        let mut staging = self.staging.sibling();
        staging.dirs.stage(&self.settings.input, Some(self.shared.staging.clone()));
        let warehouse = Box::new(Local::new(self.shared.clone()));
        Publisher { staging, warehouse, patience: self.patience.sibling(gives_up), failed }
    }

    /// The files of a batch, for another thread.
    pub(super) fn job(&self, works: Vec<Work<F>>) -> Result<Job<F>, Error> {
        let with_ingest = |work: Work<F>| {
            let ingest =
                self.index.ingest(work.id).ok_or(Error::Transition("a file in a batch is not open", work.id))?;
            Ok((ingest.clone(), work)).map(|(ingest, work)| (work, ingest))
        };
        Ok(Job { files: works.into_iter().map(with_ingest).collect::<Result<_, Error>>()? })
    }
}
