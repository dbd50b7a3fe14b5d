//! Removes used sidecars and group files, and no others.
//!
//! Invariant (P2): the journal has the identity of such a file, but not its content. Where its identity is not exactly that one
//! any more, or proves nothing because a rename changes inode numbers, it is removed only if no file needs what it says: the
//! ingested file has the sums that it demands, or the contents of the group are all in the warehouse, or were brought or known
//! by it.

use std::path::Path;

use super::{Committer, Work};
use crate::fs::blame::twice;
use crate::fs::{self, Fs, Open, Stat};
use crate::journal::groups::OpenGroup;
use crate::journal::ingest::Ingest;
use crate::journal::record::{KnownMember, Sidecar};
use crate::limits::GROUP_FILE_BYTES_MAX;
use crate::pipeline::dirs::split;
use crate::pipeline::group::Member;
use crate::pipeline::hash::sums_of;
use crate::pipeline::sidecar::{Demand, SIDECAR_BYTES_MAX, Statement, statement};
use crate::pipeline::staging::names::Aside;
use crate::pipeline::staging::{Expected, Removed};
use crate::pipeline::{Error, group, subdir};
use crate::types::{FileIdentity, IngestId, Sha256};

/// The longest sidecar or group file that releases anything.
const MARKER_BYTES_MAX: usize =
    if SIDECAR_BYTES_MAX > GROUP_FILE_BYTES_MAX { SIDECAR_BYTES_MAX } else { GROUP_FILE_BYTES_MAX };

/// Whose marker it is.
#[derive(Clone, Copy)]
enum Of<'a> {
    Ingest(&'a Ingest),
    Group(&'a OpenGroup),
}

/// What is at a marker's name, or at its name aside.
enum There {
    /// The marker, or nothing.
    Used,
    /// What it says is no longer needed. Its SHA-256.
    Spent(Sha256),
    /// A new one.
    New,
}

impl<F: Fs> Committer<F> {
    /// Removes the sidecar, if it is unchanged and no other file needs it; returns one that stays.
    pub(super) fn remove_used_sidecar(
        &mut self,
        work: &Work<F>,
        ingest: &Ingest,
    ) -> Result<Option<FileIdentity>, Error> {
        let Some(sidecar) = &ingest.sidecar else { return Ok(None) };
        // A removal that an earlier run began is finished: back at its name, the sidecar would look as if it were new.
        if self.is_needed(ingest, &sidecar.path, &sidecar.identity)?
            && self.staging.dirs.look(&self.staging.aside_path(work.id, Aside::Sidecar, &sidecar.path)?)?.is_none()
        {
            return Ok(Some(sidecar.identity));
        }
        let removed = self.remove_marker(work.id, Of::Ingest(ingest), (&sidecar.path, &sidecar.identity))?;
        self.report_refused(&sidecar.path, &removed);
        match removed {
            Removed::Refused(_) => self.back_at_its_name(sidecar).map(Some),
            Removed::Done | Removed::Other => Ok(None),
        }
    }

    /// The identity of a sidecar that could not be removed: it may have been renamed there and back, which changes it.
    fn back_at_its_name(&mut self, sidecar: &Sidecar) -> Result<FileIdentity, Error> {
        let there = match self.staging.dirs.look(&sidecar.path) {
            Err(error) if error.spares_others() => None,
            there => there?.map(|stat| stat.identity),
        };
        Ok(there.filter(|there| there.same_but_renumbered(&sidecar.identity)).unwrap_or(sidecar.identity))
    }

    /// Removes a group file, if it is unchanged.
    pub(in crate::pipeline) fn remove_group_file(&mut self, open: &OpenGroup) -> Result<Removed, Error> {
        self.remove_marker(IngestId(open.lsn.0), Of::Group(open), (&open.group.path, &open.group.identity))
    }

    fn remove_marker(
        &mut self,
        id: IngestId,
        of: Of<'_>,
        (path, identity): (&Path, &FileIdentity),
    ) -> Result<Removed, Error> {
        let aside = self.staging.aside_path(id, Aside::Sidecar, path)?;
        let there = match twice(Error::spares_others, || self.look_at_marker(of, (path, &aside), identity)) {
            Err(Error::Io(error)) if error.spares_others() => {
                // An earlier run may have set it aside.
                self.resolve_aside(id, Aside::Sidecar, path, None)?;
                return Ok(Removed::Refused(error));
            }
            there => there?,
        };
        let sha256 = match &there {
            There::Used => None,
            There::Spent(sha256) => Some(sha256),
            There::New => {
                self.resolve_aside(id, Aside::Sidecar, path, None)?;
                return Ok(Removed::Other);
            }
        };
        self.remove(id, Aside::Sidecar, path, Expected { identity, sha256 }, None)
    }

    fn look_at_marker(
        &mut self,
        of: Of<'_>,
        (path, aside): (&Path, &Path),
        identity: &FileIdentity,
    ) -> Result<There, Error> {
        let is_aside = self.pending.is_recovering && self.staging.dirs.look(aside)?.is_some();
        let at = if is_aside { aside } else { path };
        let Some(Stat { identity: there, .. }) = self.staging.dirs.look(at)? else { return Ok(There::Used) };
        let renumbers = self.staging.renumbers(there.device);
        if there == *identity && !renumbers || !there.same_but_renumbered(identity) {
            return Ok(There::Used);
        }
        // Only a crash can have undone a rename and kept the ctime that it had set.
        if !is_aside && !self.pending.is_recovering && there.inode != identity.inode && there.ctime > identity.ctime {
            return Ok(There::New);
        }
        if there.size == 0 {
            // It counts without read permission, too.
            return Ok(There::Used);
        }
        let (sha256, content) = self.read_marker(at, &there)?;
        // It is the one that was used; the rename aside shows whether another one of this size and mtime came just now.
        let is_it = there == *identity && !is_aside;
        Ok(if is_it || self.is_spent(of, path, &content)? { There::Spent(sha256) } else { There::New })
    }

    /// True if no file needs what a sidecar says that an earlier run has set aside.
    pub(in crate::pipeline) fn is_spent_aside(&mut self, ingest: &Ingest, aside: &Path) -> Result<bool, Error> {
        match self.staging.dirs.look(aside)?.map(|stat| stat.identity) {
            Some(there) if there.size > 0 => {
                let (_, content) = self.read_marker(aside, &there)?;
                self.is_spent(Of::Ingest(ingest), aside, &content)
            }
            _ => Ok(true),
        }
    }

    fn read_marker(&mut self, path: &Path, there: &FileIdentity) -> Result<(Sha256, Vec<u8>), Error> {
        let (dir, name) = split(path)?;
        let dir = self.staging.dirs.dir(dir)?;
        let file = self.fs.open(&dir, name, Open::Read)?;
        let mut content = vec![0; MARKER_BYTES_MAX.min(usize::try_from(there.size).unwrap_or(usize::MAX))];
        let read = fs::read_full_at(&self.fs, &file, &mut content, 0)?;
        content.truncate(read);
        Ok((sums_of(&self.fs, &file, &Demand::default())?.sha256, content))
    }

    /// True if no file needs what a marker of this content says.
    fn is_spent(&mut self, of: Of<'_>, path: &Path, content: &[u8]) -> Result<bool, Error> {
        match of {
            Of::Ingest(ingest) => match statement(content, subdir::file_name(ingest.source_path.as_os_str())) {
                Statement::Demands(demand) => self.has_sums(ingest, &demand),
                Statement::Silent | Statement::Other => Ok(true),
                // Such a sidecar releases nothing.
                Statement::Odd(_) => Ok(false),
            },
            Of::Group(open) => {
                let name = subdir::name_in(&self.settings.input, path);
                let Ok(members) = group::parse(name, content) else { return Ok(false) };
                for member in &members {
                    if !self.is_part_of(member, open) && self.index.original(&self.key_of_member(member))?.is_none() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// True if the group brought the member's content, or knew it: whatever its lake has forgotten since.
    fn is_part_of(&self, member: &Member, open: &OpenGroup) -> bool {
        let is_known = |known: &KnownMember| known.name == member.name && known.sha256 == member.sha256;
        let target = |id: &IngestId| self.index.ingest(*id)?.target.as_ref();
        let mut targets = open.group.moving.iter().filter_map(target);
        open.group.known.iter().any(is_known) || targets.any(|target| target.sha256 == member.sha256)
    }

    /// True if the ingest's content has the sums. That of a file in quarantine may lack them. A failed read may be momentary:
    /// then it is tried again.
    fn has_sums(&mut self, ingest: &Ingest, demand: &Demand) -> Result<bool, Error> {
        let sha256 = ingest.target.as_ref().map(|target| target.sha256);
        let sha256 = sha256.or_else(|| ingest.duplicate.as_ref().map(|duplicate| duplicate.sha256));
        let Some(sha256) = sha256 else { return Ok(true) };
        let Some(original) = self.index.original(&ingest.key(&sha256))? else { return Ok(true) };
        let (dir, name) = split(&original.warehouse_path)?;
        let file = self.fs.open_dir(dir).and_then(|dir| self.fs.open(&dir, name, Open::Read));
        match file.and_then(|file| sums_of(&self.fs, &file, demand)) {
            Err(error) if error.is_not_found() || error.is_not_to_be_read() => Ok(false),
            sums => Ok(demand.check(&sums?).is_ok()),
        }
    }
}
