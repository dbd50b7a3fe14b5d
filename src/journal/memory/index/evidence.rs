//! A sample of contents, with which a start checks that warehouse and manifests are those of the journal.

use std::path::Path;

use super::Index;
use crate::journal::disk::error::Error;
use crate::journal::memory::ingest::Original;
use crate::limits::{EVIDENCE_MAX, EVIDENCE_ROWS_MAX};
use crate::types::Key;

impl Index {
    /// A content that is in the warehouse and in a manifest, if there is one.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is damaged there.
    pub fn any_listed(&self) -> Result<Option<(Key, Original)>, Error> {
        if let Some((key, original)) = self.recent.iter().find(|(_, original)| original.finished.is_some()) {
            return Ok(Some((*key, original.clone())));
        }
        let row = self.snapshot.as_ref().map(|snapshot| snapshot.row(0)).transpose()?.flatten();
        Ok(row.map(|row| (row.key, Original::of_row(&row, &self.notes.relocations))))
    }

    /// A sample of contents that are in a manifest, and in the warehouse below `root`: a few since the last snapshot,
    /// and a few rows of the snapshot.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is damaged there.
    pub fn listed_below(&self, root: &Path) -> Result<Vec<Original>, Error> {
        let is_below = |original: &Original| original.finished.is_some() && original.warehouse_path.starts_with(root);
        let mut found: Vec<Original> =
            self.recent.values().filter(|it| is_below(it)).take(EVIDENCE_MAX).cloned().collect();
        let Some(snapshot) = &self.snapshot else { return Ok(found) };
        for number in 0..EVIDENCE_ROWS_MAX {
            let Some(row) = snapshot.row(number)? else { break };
            found.extend(Some(Original::of_row(&row, &self.notes.relocations)).filter(|it| is_below(it)));
            if found.len() >= 2 * EVIDENCE_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// True if a file was published at this path in the warehouse, whatever its key. Reads the whole snapshot.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is damaged there.
    pub fn is_published_at(&self, path: &Path) -> Result<bool, Error> {
        if self.recent.values().any(|original| *original.warehouse_path == *path) {
            return Ok(true);
        }
        let Some(snapshot) = &self.snapshot else { return Ok(false) };
        let mut rows = snapshot.rows();
        while let Some(row) = rows.next_row()? {
            if self.notes.relocations.now(row.lsn, &row.warehouse_path) == *path {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
