//! What the journal's records add up to: the one fold that start, recovery and the running ingestor share.
//!
//! Invariants:
//! - The state is a function of the records in LSN order, and of nothing else.
//! - A content is in `contents` if and only if a MOVED record of it is durable; no content is moved twice.
//! - `open` holds what is unfinished and nothing else, so it is as small as the number of files in flight.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use super::record::{Copy, Discovered, DuplicateAction, Record, Settings, Sidecar};
use crate::types::{FileIdentity, IngestId, Lsn, Sha256, UnixMillis};

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FileState {
    /// Found complete.
    Discovered,
    /// Content known and durable; on its way to the warehouse.
    Hashed,
    /// In the warehouse; on its way to the manifest.
    Moved,
    /// Done.
    Manifested,
    /// Its content was ingested before.
    SkippedDuplicate,
    /// Vanished or changed before it was moved.
    Abandoned,
}

impl FileState {
    /// All of them, in the order of their numbers.
    pub const ALL: [FileState; 6] = [
        FileState::Discovered,
        FileState::Hashed,
        FileState::Moved,
        FileState::Manifested,
        FileState::SkippedDuplicate,
        FileState::Abandoned,
    ];

    /// As the contract writes it.
    pub fn text(self) -> &'static str {
        match self {
            FileState::Discovered => "DISCOVERED",
            FileState::Hashed => "HASHED",
            FileState::Moved => "MOVED",
            FileState::Manifested => "MANIFESTED",
            FileState::SkippedDuplicate => "SKIPPED_DUPLICATE",
            FileState::Abandoned => "ABANDONED",
        }
    }
}

/// A file that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Its name for life.
    pub id: IngestId,
    /// How far it has come.
    pub state: FileState,
    /// Which file, in which state.
    pub identity: FileIdentity,
    /// When it was found complete.
    pub discovered_at: UnixMillis,
    /// Where it was found.
    pub source_path: PathBuf,
    /// What released it.
    pub sidecar: Option<Sidecar>,
    /// The directories in force when it was found.
    pub settings: Arc<Settings>,
    /// From HASHED on.
    pub target: Option<Target>,
    /// From SKIPPED_DUPLICATE on.
    pub duplicate: Option<Duplicate>,
}

/// Where an ingest's content goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of its content.
    pub sha256: Sha256,
    /// Its place in the warehouse.
    pub warehouse_path: PathBuf,
    /// The copy that gets that name, if the file itself does not.
    pub copy: Option<Copy>,
}

/// What is being done with a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The file that brought the content.
    pub of: IngestId,
    /// Of its content.
    pub sha256: Sha256,
    /// What is done.
    pub action: DuplicateAction,
    /// Where `move` moves it.
    pub target: Option<PathBuf>,
}

/// A content that is in the warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The file that brought it.
    pub ingest_id: IngestId,
    /// Where it is.
    pub warehouse_path: Box<Path>,
}

/// A duplicate that stays in staging, so that it is not hashed again at each scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The file as it was hashed.
    pub identity: FileIdentity,
    /// Of its content.
    pub sha256: Sha256,
    /// The sidecar that released it: it must not release a successor.
    pub sidecar: Option<FileIdentity>,
}

/// The sum of all records.
#[derive(Clone, Debug, Default)]
pub struct State {
    settings: Option<Arc<Settings>>,
    open: BTreeMap<IngestId, Ingest>,
    contents: HashMap<Sha256, Original>,
    kept: HashMap<(u64, u64), Kept>,
    counts: [u64; FileState::ALL.len()],
}

impl State {
    /// The settings of the last start.
    pub fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }

    /// What is unfinished, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Ingest> {
        self.open.values()
    }

    /// One unfinished file.
    pub fn ingest(&self, id: IngestId) -> Option<&Ingest> {
        self.open.get(&id)
    }

    /// Who brought this content, if it is durably in the warehouse.
    pub fn original(&self, sha256: &Sha256) -> Option<&Original> {
        self.contents.get(sha256)
    }

    /// Duplicates that stay in staging.
    pub fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values()
    }

    /// The kept duplicate with that (device, inode).
    pub fn kept_at(&self, key: (u64, u64)) -> Option<&Kept> {
        self.kept.get(&key)
    }

    /// Contents that are remembered.
    pub fn remembered(&self) -> usize {
        self.contents.len()
    }

    /// How many files are in `state`.
    pub fn count(&self, state: FileState) -> u64 {
        self.counts[state as usize]
    }

    /// Adds the record with this LSN. An error says why it cannot come after those before it; the state is then as
    /// it was.
    pub fn apply(&mut self, lsn: Lsn, record: &Record) -> Result<(), &'static str> {
        match record {
            Record::Settings(settings) => self.settings = Some(Arc::new(settings.clone())),
            Record::Discovered(found) => self.discover(IngestId(lsn.0), found)?,
            Record::Hashed(hashed) => {
                let ingest = self.open.get_mut(&hashed.ingest_id).ok_or("HASHED without DISCOVERED")?;
                if !matches!(ingest.state, FileState::Discovered | FileState::Hashed) {
                    return Err("HASHED after MOVED");
                }
                if self.contents.contains_key(&hashed.sha256) {
                    return Err("HASHED of a content that is in the warehouse");
                }
                ingest.target = Some(Target {
                    sha256: hashed.sha256,
                    warehouse_path: hashed.warehouse_path.clone(),
                    copy: hashed.copy.clone(),
                });
                Self::enter(&mut self.counts, ingest, FileState::Hashed);
            }
            Record::Moved(id) => {
                let ingest = self.open.get_mut(id).ok_or("MOVED without HASHED")?;
                let (FileState::Hashed, Some(target)) = (ingest.state, &ingest.target) else {
                    return Err("MOVED without HASHED");
                };
                let original =
                    Original { ingest_id: *id, warehouse_path: target.warehouse_path.clone().into_boxed_path() };
                if self.contents.try_insert(target.sha256, original).is_err() {
                    return Err("a content is MOVED twice");
                }
                Self::enter(&mut self.counts, ingest, FileState::Moved);
            }
            Record::Manifested(id) => self.finish(*id, &[FileState::Moved], FileState::Manifested).map(drop)?,
            Record::SkippedDuplicate(skipped) => {
                let ingest = self.open.get_mut(&skipped.ingest_id).ok_or("SKIPPED_DUPLICATE without DISCOVERED")?;
                if ingest.state == FileState::Moved {
                    return Err("SKIPPED_DUPLICATE after MOVED");
                }
                ingest.duplicate = Some(Duplicate {
                    of: skipped.duplicate_of,
                    sha256: skipped.sha256,
                    action: skipped.action,
                    target: skipped.target.clone(),
                });
                Self::enter(&mut self.counts, ingest, FileState::SkippedDuplicate);
                if skipped.action == DuplicateAction::Keep {
                    let kept = Kept {
                        identity: ingest.identity,
                        sha256: skipped.sha256,
                        sidecar: ingest.sidecar.as_ref().map(|sidecar| sidecar.identity),
                    };
                    self.kept.insert(kept.identity.key(), kept);
                    self.open.remove(&skipped.ingest_id);
                }
            }
            Record::DuplicateCleared(id) => {
                self.finish(*id, &[FileState::SkippedDuplicate], FileState::SkippedDuplicate).map(drop)?;
            }
            Record::Abandoned(abandoned) => {
                let from = [FileState::Discovered, FileState::Hashed];
                self.finish(abandoned.ingest_id, &from, FileState::Abandoned).map(drop)?;
            }
        }
        Ok(())
    }

    fn discover(&mut self, id: IngestId, found: &Discovered) -> Result<(), &'static str> {
        let settings = self.settings.clone().ok_or("DISCOVERED before any settings")?;
        // The file is looked at anew, so what was known of this inode is history.
        self.kept.remove(&found.identity.key());
        let ingest = Ingest {
            id,
            state: FileState::Discovered,
            identity: found.identity,
            discovered_at: found.discovered_at,
            source_path: found.source_path.clone(),
            sidecar: found.sidecar.clone(),
            settings,
            target: None,
            duplicate: None,
        };
        self.counts[FileState::Discovered as usize] += 1;
        self.open.insert(id, ingest);
        Ok(())
    }

    fn enter(counts: &mut [u64; FileState::ALL.len()], ingest: &mut Ingest, state: FileState) {
        counts[ingest.state as usize] -= 1;
        counts[state as usize] += 1;
        ingest.state = state;
    }

    fn finish(&mut self, id: IngestId, from: &[FileState], to: FileState) -> Result<Ingest, &'static str> {
        match self.open.get(&id) {
            Some(ingest) if from.contains(&ingest.state) => {}
            Some(_) => return Err("a file is finished in a state from which it cannot be"),
            None => return Err("a file is finished that is not open"),
        }
        let mut ingest = self.open.remove(&id).ok_or("a file is finished that is not open")?;
        Self::enter(&mut self.counts, &mut ingest, to);
        Ok(ingest)
    }
}
