//! Putting files where they belong: into the warehouse, back, aside and away.
//!
//! Invariants:
//! - No name that exists is ever replaced.
//! - A name is moved first and judged afterwards: what was at a name a moment ago says nothing, since upstreams may
//!   rename over it at any time. What turns out to be something else goes back.
//! - Nothing here is durable until `sync` has returned.

mod back;
mod link;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use link::SECOND;

use super::staging::names::aside_name;
use crate::fs::blame::twice;
use crate::fs::{self, DIR_MODE, FILE_MODE, FileKind, Fs, Open};
use crate::types::{FileIdentity, IngestId};

/// Open directories that are remembered: today's and yesterday's partition, staging, copies, duplicates, and room.
const OPEN_DIRS_MAX: usize = 16;

/// What came of moving a file to its place.
#[derive(Debug)]
pub enum Placed {
    /// It is there (and it is the right one).
    Done,
    /// The name is taken by something else.
    Taken,
    /// The source is gone.
    Vanished,
    /// What has arrived is another file, or was written to: it has to be put back.
    Changed,
    /// A rename cannot do it: another mount.
    NeedsCopy,
    /// The inode has further names, by which the warehouse's file could be written to: it has to be put back, and
    /// copied.
    Linked,
    /// What has arrived has another inode number, and the same size and times. There are file systems that number a file
    /// anew when it is renamed; its content decides.
    Renumbered,
    /// This file cannot be moved; others may.
    Refused(fs::Error),
    /// It was moved, and cannot be looked at: it has to be put back.
    Unseen(fs::Error),
}

/// What came of removing a file.
#[derive(Debug)]
pub enum Removed {
    /// It is gone.
    Done,
    /// Nothing of that identity is there.
    Other,
    /// It cannot be removed; others may.
    Refused(fs::Error),
}

/// Moves files by directories that it keeps open.
pub struct Publisher<F: Fs> {
    fs: F,
    /// Of this journal: part of the names that are given in staging, so that nobody else's are taken for ours.
    store: [u8; 16],
    dirs: Vec<(PathBuf, Arc<F::Dir>)>,
    /// Directories whose own names are durable.
    durable: HashSet<PathBuf>,
    /// Directories that gained names, and those that lost some. The former are synced first: on a file system that
    /// keeps no journal, a file should rather have two names than none.
    gained: BTreeSet<PathBuf>,
    lost: BTreeSet<PathBuf>,
    /// What `write_new` will find written and synced under its unfinished name.
    prepared: HashSet<PathBuf>,
    /// Devices that were seen to number a file anew when it is renamed.
    renumbering: HashSet<u64>,
    /// What was taken aside had another inode number there, and nothing else that was different.
    was_renumbered: bool,
}

impl<F: Fs> Publisher<F> {
    /// Has touched nothing yet.
    pub fn new(fs: F, store: [u8; 16]) -> Publisher<F> {
        Publisher {
            fs,
            store,
            dirs: Vec::new(),
            durable: HashSet::new(),
            gained: BTreeSet::new(),
            lost: BTreeSet::new(),
            prepared: HashSet::new(),
            renumbering: HashSet::new(),
            was_renumbered: false,
        }
    }

    /// The open directory of that path, which must exist.
    pub fn dir(&mut self, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if let Some((_, dir)) = self.dirs.iter().find(|(known, _)| known == path) {
            return Ok(dir.clone());
        }
        let dir = Arc::new(self.fs.open_dir(path)?);
        self.remember(path, dir.clone());
        Ok(dir)
    }

    /// Keeps a directory that was opened elsewhere.
    pub fn remember(&mut self, path: &Path, dir: Arc<F::Dir>) {
        if self.dirs.len() >= OPEN_DIRS_MAX {
            let (forgotten, _) = self.dirs.remove(0);
            self.durable.remove(&forgotten);
        }
        self.dirs.push((path.to_path_buf(), dir));
    }

    /// Closes a directory: what has its path is opened anew.
    pub fn forget(&mut self, path: &Path) {
        self.dirs.retain(|(known, _)| known != path);
        self.durable.remove(path);
    }

    /// Names in a directory that cannot be opened any more need not be made durable: whoever took it away has taken them, too.
    pub fn forget_missing(&mut self, path: &Path) {
        if self.dir(path).is_err() {
            self.gained.remove(path);
            self.lost.remove(path);
        }
    }

    /// The open directory of that path below `root`; it and its name are made, durably, if they are missing.
    pub fn made_dir(&mut self, root: &Path, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if self.durable.contains(path) {
            return self.dir(path);
        }
        let dir = Arc::new(fs::open_dir_durable(&self.fs, root, path, DIR_MODE)?);
        self.forget(path);
        self.remember(path, dir.clone());
        self.durable.insert(path.to_path_buf());
        Ok(dir)
    }

    /// What stands at `path`; None if nothing does, or if its directory is missing.
    pub fn look(&mut self, path: &Path) -> fs::Result<Option<fs::Stat>> {
        let (dir, name) = split(path)?;
        match self.dir(dir) {
            Err(error) if error.is_not_found() => Ok(None),
            dir => self.fs.stat(&*dir?, name),
        }
    }

    /// The same, from the file system itself and not from what it has kept in a cache.
    pub fn look_afresh(&mut self, path: &Path) -> fs::Result<Option<fs::Stat>> {
        let (dir, name) = split(path)?;
        match self.dir(dir) {
            Err(error) if error.is_not_found() => Ok(None),
            dir => self.fs.stat_fresh(&*dir?, name),
        }
    }

    /// Says that names in `to` are about to come from `from`: both are synced, even if the move finds nothing. A killed
    /// process may have moved it without syncing, and a power cut would undo that after we have called it done.
    pub fn touch(&mut self, from: &Path, to: &Path) {
        self.lost.insert(from.to_path_buf());
        self.gained.insert(to.to_path_buf());
    }

    /// Renames `from` to `to` if `to` is free, then checks that the file now at `to` is `identity`. What is not has to
    /// be put back by the caller.
    /// `staged` is the ingest whose file others may replace at `from` at any moment; None for a copy of our own.
    pub fn place(
        &mut self,
        staged: Option<IngestId>,
        from: &Path,
        root: &Path,
        to: &Path,
        identity: &FileIdentity,
    ) -> fs::Result<Placed> {
        match self.bring(staged, from, root, to, identity) {
            Ok(None) => {}
            Ok(Some(placed)) => return Ok(placed),
            Err(error) if error.spares_others() => return Ok(Placed::Refused(error)),
            Err(error) => return Err(error),
        }
        let (to_dir, to_name) = split(to)?;
        let target = self.dir(to_dir)?;
        Ok(match self.fs.stat_fresh(&target, to_name) {
            Ok(Some(stat)) if stat.kind != FileKind::Regular => Placed::Changed,
            Ok(Some(stat)) if !stat.identity.same_but_renamed(identity) => {
                match stat.identity.same_but_renumbered(identity) {
                    // Somebody has given it another name meanwhile, through which it can be written to.
                    true if stat.links > 1 => Placed::Linked,
                    true => Placed::Renumbered,
                    false => Placed::Changed,
                }
            }
            Ok(Some(stat)) if stat.links > 1 => Placed::Linked,
            Ok(Some(_)) => Placed::Done,
            Ok(None) => Placed::Vanished,
            Err(error) if error.spares_others() => Placed::Unseen(error),
            Err(error) => return Err(error),
        })
    }

    /// The rename. None if something stands at `to` now that was at `from`.
    fn bring(
        &mut self,
        staged: Option<IngestId>,
        from: &Path,
        root: &Path,
        to: &Path,
        identity: &FileIdentity,
    ) -> fs::Result<Option<Placed>> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let source = self.dir(from_dir)?;
        let mut target = self.made_dir(root, to_dir)?;
        self.touch(from_dir, to_dir);
        let mut renamed = self.move_name(staged, (&source, from_name), (&target, to_name));
        if let Err(error) = &renamed
            && error.is_not_found()
        {
            if self.fs.stat(&source, from_name)?.is_none() {
                return Ok(Some(Placed::Vanished));
            }
            // Then it is the partition that somebody removed under us.
            self.forget(to_dir);
            target = self.made_dir(root, to_dir)?;
            renamed = self.move_name(staged, (&source, from_name), (&target, to_name));
        }
        match renamed {
            Ok(()) => Ok(None),
            Err(error) if error.is_taken() => Ok(Some(Placed::Taken)),
            Err(error) if error.is_not_found() => Ok(Some(Placed::Vanished)),
            Err(error) if error.is_cross_device() => Ok(Some(Placed::NeedsCopy)),
            // Only the two names tell what came of it.
            Err(error) if error.is_outcome_unknown() && error.spares_others() => {
                let is_it = |stat: Option<fs::Stat>| stat.is_some_and(|stat| stat.identity.same_but_renamed(identity));
                match (self.fs.stat_fresh(&target, to_name), self.fs.stat_fresh(&source, from_name)) {
                    (Ok(there), Ok(None)) if is_it(there) => Ok(None),
                    // Where a rename is made of halves, only the first may have been.
                    (Ok(there), Ok(here)) if is_it(there) && is_it(here) => {
                        self.fs.unlink(&target, to_name)?;
                        Err(error)
                    }
                    (Ok(_), Ok(_)) => Err(error),
                    // What has its old name still was not moved, whatever the other one says.
                    (Err(_), Ok(here)) if is_it(here) => Err(error),
                    _ => Ok(Some(Placed::Unseen(error))),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the file at `path` if it is still `identity`. The file is taken aside first and judged there, so that
    /// one which an upstream renames into place at this very moment is never the one removed; and if `leased` is
    /// given, a writer that came meanwhile (and now waits for the lease) keeps it.
    ///
    /// Repeating it after a crash finishes what was begun. The crash may have given the file its name back but left
    /// the ctime of the renames: `identity` is compared without the ctime, so callers who hold no lease look first.
    pub fn remove(
        &mut self,
        id: IngestId,
        what: &str,
        path: &Path,
        identity: &FileIdentity,
        leased: Option<&F::File>,
    ) -> fs::Result<Removed> {
        match twice(fs::Error::spares_others, || self.take_away(id, what, path, identity, leased)) {
            // One that cannot be looked at, or removed, must not stay hidden.
            Err(error) if error.spares_others() => {
                let (dir_path, name) = split(path)?;
                if let Ok(dir) = self.dir(dir_path) {
                    let _ = self.give_back(id, &dir, &aside_name(&self.store, id, what), &dir, name);
                }
                Ok(Removed::Refused(error))
            }
            removed => removed,
        }
    }

    fn take_away(
        &mut self,
        id: IngestId,
        what: &str,
        path: &Path,
        identity: &FileIdentity,
        leased: Option<&F::File>,
    ) -> fs::Result<Removed> {
        let is_removed = self.resolve_aside(id, what, path, Some(identity), leased)?;
        let (dir_path, name) = split(path)?;
        let dir = self.dir(dir_path)?;
        let aside = aside_name(&self.store, id, what);
        match self.fs.stat(&dir, name)? {
            // A rename made of a link that was cut off has left this name, too.
            Some(stat) if self.is_same(&stat.identity, identity) => {}
            _ if is_removed => return Ok(Removed::Done),
            _ => return Ok(Removed::Other),
        }
        let mut renamed = self.take(&dir, name, &aside);
        if renamed.as_ref().is_err_and(fs::Error::is_taken) {
            // By what came there since a moment ago.
            self.resolve_aside(id, what, path, None, None)?;
            renamed = self.take(&dir, name, &aside);
        }
        match renamed {
            Err(error) if error.is_not_found() => return Ok(Removed::Other),
            result => result?,
        }
        let gone = self.resolve_aside(id, what, path, Some(identity), leased)?;
        Ok(if gone { Removed::Done } else { Removed::Other })
    }

    /// Where `remove` takes a file aside.
    pub fn aside_path(&self, id: IngestId, what: &str, path: &Path) -> fs::Result<PathBuf> {
        Ok(split(path)?.0.join(aside_name(&self.store, id, what)))
    }

    /// Ends what `remove` began: a file that stands aside is removed if it is `identity` and no writer waits for its lease,
    /// true then; anything else gets its name back. The directory is synced in any case, see `touch`.
    pub fn resolve_aside(
        &mut self,
        id: IngestId,
        what: &str,
        path: &Path,
        identity: Option<&FileIdentity>,
        leased: Option<&F::File>,
    ) -> fs::Result<bool> {
        let (dir_path, name) = split(path)?;
        let dir = self.dir(dir_path)?;
        self.touch(dir_path, dir_path);
        let aside = aside_name(&self.store, id, what);
        let Some(there) = self.fs.stat(&dir, &aside)? else { return Ok(false) };
        let is_ours = identity.is_some_and(|identity| self.is_same(&there.identity, identity));
        self.was_renumbered |=
            !is_ours && identity.is_some_and(|identity| there.identity.same_but_renumbered(identity));
        if is_ours && !leased.map_or(Ok(false), |file| self.fs.lease_broken(file))? {
            self.fs.unlink(&dir, &aside)?;
            return Ok(true);
        }
        self.give_back(id, &dir, &aside, &dir, name)?;
        Ok(false)
    }

    /// The file that it was before it was renamed, as far as its inode says.
    fn is_same(&self, now: &FileIdentity, before: &FileIdentity) -> bool {
        now.same_but_renamed(before) || self.renumbering.contains(&now.device) && now.same_but_renumbered(before)
    }

    /// True if something was taken aside since the last question that seemed to be another file by its inode number alone.
    pub fn take_renumbered(&mut self) -> bool {
        std::mem::take(&mut self.was_renumbered)
    }

    /// Whether that is known of a device: where a content is not known, it is what tells the same file from another.
    pub fn renumbers(&self, device: u64) -> bool {
        self.renumbering.contains(&device)
    }

    /// A file on this device was numbered anew, as its content shows, when it was renamed: others will be.
    pub fn note_renumbering(&mut self, device: u64) {
        self.renumbering.insert(device);
    }

    /// Writes a file that nobody sees before it is whole, under a name that must be free; true if it stands there now, as it
    /// may already. Its content is durable; its name is when `sync` has returned.
    pub fn write_new(&mut self, id: IngestId, what: &str, path: &Path, content: &[u8]) -> fs::Result<bool> {
        let (dir_path, name) = split(path)?;
        let dir = self.made_dir(dir_path.parent().unwrap_or(dir_path), dir_path)?;
        self.touch(dir_path, dir_path);
        let is_prepared = self.prepared.remove(path);
        let unfinished = aside_name(&self.store, id, what);
        if self.fs.stat(&dir, name)?.is_some() {
            if is_prepared {
                self.fs.unlink(&dir, &unfinished)?;
            }
            return self.holds(&dir, name, content);
        }
        if !is_prepared {
            let file = self.write_unfinished(&dir, &unfinished, content)?;
            self.fs.sync_all(&file)?;
        }
        match self.fs.rename(&dir, &unfinished, &dir, name) {
            Err(error) if error.is_taken() => self.fs.unlink(&dir, &unfinished).map(|()| false),
            renamed => renamed.map(|()| true),
        }
    }

    /// Does beforehand what `write_new` would do first, for one of many such files: it is synced with all others, by
    /// `sync_prepared`, which must come before `write_new`.
    pub fn prepare_new(&mut self, id: IngestId, what: &str, path: &Path, content: &[u8]) -> fs::Result<()> {
        let (dir_path, name) = split(path)?;
        let dir = self.made_dir(dir_path.parent().unwrap_or(dir_path), dir_path)?;
        if self.fs.stat(&dir, name)?.is_none() {
            self.write_unfinished(&dir, &aside_name(&self.store, id, what), content)?;
            self.prepared.insert(path.to_path_buf());
        }
        Ok(())
    }

    /// What was prepared until now, and not written for good, has been discarded.
    pub fn forget_prepared(&mut self) {
        self.prepared.clear();
    }

    /// One `syncfs` for everything that was prepared, on each file system that it may lie on.
    pub fn sync_prepared(&mut self) -> fs::Result<()> {
        let dirs: BTreeSet<PathBuf> = self.prepared.iter().filter_map(|path| Some(path.parent()?.to_owned())).collect();
        for dir in dirs {
            let dir = self.dir(&dir)?;
            self.fs.sync_fs(&dir)?;
        }
        Ok(())
    }

    fn write_unfinished(&self, dir: &F::Dir, name: &OsStr, content: &[u8]) -> fs::Result<F::File> {
        match self.fs.unlink(dir, name) {
            Err(error) if error.is_not_found() => {}
            removed => removed?,
        }
        let file = self.fs.open(dir, name, Open::Create { mode: FILE_MODE })?;
        fs::write_all_at(&self.fs, &file, content, 0)?;
        Ok(file)
    }

    /// The file of that name has this content, and no more.
    fn holds(&self, dir: &F::Dir, name: &OsStr, content: &[u8]) -> fs::Result<bool> {
        if self.fs.stat(dir, name)?.is_none_or(|stat| stat.kind != FileKind::Regular) {
            return Ok(false);
        }
        let file = match self.fs.open(dir, name, Open::Read) {
            Err(error) if error.is_not_to_be_read() => return Ok(false),
            file => file?,
        };
        let mut found = vec![0; content.len() + 1];
        let read = fs::read_full_at(&self.fs, &file, &mut found, 0)?;
        Ok(&found[..read] == content)
    }

    /// Removes an unfinished copy that will not be published.
    pub fn discard(&mut self, copy: &Path) -> fs::Result<()> {
        let (dir, name) = split(copy)?;
        match self.dir(dir).and_then(|dir| self.fs.unlink(&dir, name)) {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// Makes every directory that was touched durable, once each.
    pub fn sync(&mut self) -> fs::Result<()> {
        let gained = std::mem::take(&mut self.gained);
        let mut lost = std::mem::take(&mut self.lost);
        lost.retain(|path| !gained.contains(path));
        for path in gained.iter().chain(&lost) {
            let dir = self.dir(path)?;
            self.fs.sync_dir(&dir)?;
        }
        Ok(())
    }
}

/// Directory and name of a path.
pub fn split(path: &Path) -> fs::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(fs::Error { op: "open", path: path.to_path_buf(), source: std::io::ErrorKind::InvalidInput.into() }),
    }
}
