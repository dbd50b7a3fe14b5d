//! What the lake's host notes, on its way into the ingestor's journal.
//!
//! Invariants:
//! - The host puts no part while a note is here, and a note leaves when its record is durable.
//! - Only uploads are here: the host's other steps follow from the ingestor's own records and from the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::record::Upload;
use crate::lake::Error;
use crate::lake::progress::{Journal, Progress, Step};
use crate::types::Sha256;

/// The notes that are not durable yet; the host and the committer share them.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<(Sha256, Upload)>>>);

impl Notes {
    fn all(&self) -> MutexGuard<'_, Vec<(Sha256, Upload)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload that was noted last for a content.
    pub(in crate::pipeline) fn upload_of(&self, content: &Sha256) -> Option<Upload> {
        self.all().iter().rev().find(|(of, _)| of == content).map(|(_, upload)| upload.clone())
    }

    /// The records of all notes are durable.
    pub(in crate::pipeline) fn are_recorded(&self) {
        self.all().clear();
    }
}

impl Journal for Notes {
    fn note(&mut self, notes: &[Progress]) -> Result<(), Error> {
        let upload = |note: &Progress| match &note.step {
            Step::Uploading { upload: id, key, since } => {
                let (generation, since, key, id) = (note.generation, *since, key.clone(), id.clone());
                Some((note.content, Upload { generation, since, key, id }))
            }
            Step::Hashed { .. } | Step::Claimed { .. } | Step::Moved | Step::Manifested => None,
        };
        self.all().extend(notes.iter().filter_map(upload));
        Ok(())
    }

    fn is_durable(&self) -> bool {
        self.all().is_empty()
    }
}
