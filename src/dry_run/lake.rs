//! A dry run of a host of a lake: what the log says about each content.
//!
//! Invariants:
//! - Only reads: checkpoints and logs at the beginning, and an entry for a content that is no file of this journal.
//! - What other hosts do later is not foreseen.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::engine;
use crate::engine::lake::Reach;
use crate::journal::hex;
use crate::journal::index::Index;
use crate::journal::lifecycle::FileState;
use crate::journal::record::Settings;
use crate::lake::host::{Content, State};
use crate::pipeline::lake::batch::partition_of_dir;
use crate::pipeline::lake::{Lake, line};
use crate::pipeline::{Settled, WhyNot, subdir};
use crate::types::Sha256;

/// The lake as it is, and the journal that is or would be its host's.
pub(super) struct View {
    lake: Lake,
    journal: String,
}

/// What would become of a file.
pub(super) enum Standing {
    /// It would be ingested, or is half ingested: its URL.
    Ready(PathBuf),
    /// Its content is in the lake, at this URL.
    Duplicate(PathBuf),
    /// It would stay, for this reason.
    Waiting(String),
}

impl View {
    /// Reads the log up to its end. `are_groups`: files are ingested in groups.
    ///
    /// # Errors
    /// As a start, as far as reading shows it.
    pub(super) fn open(
        reach: Option<Reach>,
        settings: &Settings,
        (index, journal): (&Index, Option<[u8; 16]>),
        are_groups: bool,
    ) -> Result<View, Error> {
        let journal = journal.unwrap_or_default();
        let lake = engine::lake::foresee(reach, settings, (journal, index), are_groups)?;
        Ok(View { lake, journal: hex(&journal) })
    }

    /// What would become of a complete file with this content and this directory in the warehouse. `path`: in staging.
    pub(super) fn standing(
        &mut self,
        index: &Index,
        (settled, path): (&Settled, &Path),
        sha256: &Sha256,
        dir: &Path,
    ) -> Result<Standing, Error> {
        if let Some(url) = self.half_done(index, (settled, path), sha256)? {
            return Ok(Standing::Ready(url));
        }
        let original = index.original(&(*sha256).into())?.map(|original| original.warehouse_path.to_path_buf());
        match (self.lake.state(sha256), original) {
            // Whatever this journal remembers, the lake may have forgotten it.
            (State::New, _) => Ok(self.new_one(settled, sha256, dir)),
            (_, Some(of)) => Ok(Standing::Duplicate(of)),
            (State::Claimed, None) => Ok(Standing::Waiting(WhyNot::ClaimedElsewhere.text().to_owned())),
            (State::Listed, None) => Ok(Standing::Duplicate(self.object_of(sha256)?)),
        }
    }

    /// How far a content is.
    pub(super) fn state(&self, sha256: &Sha256) -> State {
        self.lake.state(sha256)
    }

    /// The URL of the data object of a content that an entry claims.
    pub(super) fn object_of(&mut self, sha256: &Sha256) -> Result<PathBuf, Error> {
        Ok(self.lake.claimed(sha256)?.map(|(url, _)| PathBuf::from(url)).unwrap_or_default())
    }

    /// The URL of a file that the next start finishes, since an entry claims its content for it.
    pub(super) fn half_done(
        &mut self,
        index: &Index,
        (settled, path): (&Settled, &Path),
        sha256: &Sha256,
    ) -> Result<Option<PathBuf>, Error> {
        let is_it = |target: Option<Sha256>| target == Some(*sha256);
        let open = index.open().find(|ingest| {
            ingest.source_path == *path
                && ingest.identity == settled.identity
                && is_it(ingest.target.as_ref().map(|target| target.sha256))
        });
        let Some(open) = open else { return Ok(None) };
        if open.state == FileState::Moved {
            return Ok(open.target.as_ref().map(|target| target.warehouse_path.clone()));
        }
        let claimed = self.lake.claimed(sha256)?;
        Ok(claimed.filter(|(_, line)| line::is_of(line, &self.journal, open.id)).map(|(url, _)| url.into()))
    }

    /// Why no entry can ever claim a file with this content and this directory in the warehouse.
    pub(super) fn unfit(&self, settled: &Settled, sha256: &Sha256, dir: &Path) -> Option<&'static str> {
        self.lake.unfit(&self.content(settled, sha256, dir))
    }

    fn content(&self, settled: &Settled, sha256: &Sha256, dir: &Path) -> Content {
        let partition = partition_of_dir(&self.lake.warehouse, dir);
        let name: &OsStr = subdir::file_name(&settled.name);
        Content {
            sha256: *sha256,
            size: settled.identity.size,
            partition,
            name: name.as_bytes().to_vec(),
            ingested_at: settled.complete_at,
            parts: None,
        }
    }

    fn new_one(&self, settled: &Settled, sha256: &Sha256, dir: &Path) -> Standing {
        let content = self.content(settled, sha256, dir);
        match self.lake.unfit(&content) {
            Some(why) => Standing::Waiting(why.to_owned()),
            None => Standing::Ready(self.lake.next_url(&content.partition, &content.name, sha256).into()),
        }
    }
}
