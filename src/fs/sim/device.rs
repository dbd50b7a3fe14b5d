//! One file system: its inodes, its names and its space.
//!
//! Invariants:
//! - An inode stays in the table while programs see it, or while the disk may still hold a name of it.
//! - The number of an inode that no program sees any more is free, and the lowest free number is used first, as on
//!   ext4. On the disk, a new file waits for the removal that freed its number: two files never have the same number.
//! - Each file is charged its size in whole pages, each directory one page.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use super::content::PAGE;
use super::names::{Half, NameChange, NameLog};
use super::node::{Both, Change, Meta, Node, NodeId};
use super::rng::Fate;
use super::units::errno;
use crate::fs::FileKind;
use crate::types::FileTime;

/// ext4 reserves the numbers before 11 and gives 2 to the root.
const FIRST_NUMBER: u64 = 11;
const ROOT_NUMBER: u64 = 2;
/// Longest name (limits.h, `NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;
/// Free space that `statvfs` reports for a device without a limit.
const UNLIMITED_BYTES: u64 = 1 << 46;

/// One file system.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// `st_dev`.
    pub(super) number: u64,
    pub(super) root: NodeId,
    /// Bytes; None for no limit.
    pub(super) capacity: Option<u64>,
    pub(super) journal: NameLog,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    node_ids: NodeId,
    /// Numbers below `next_number` that no program sees any more.
    free: BTreeSet<u64>,
    next_number: u64,
    /// Free numbers of files whose removal will never reach the disk, because a sync failed.
    stuck: BTreeSet<u64>,
    /// True if a failed sync of names ends all writing, until a power cut.
    pub(super) aborts: bool,
    pub(super) aborted: bool,
    /// Inodes that may exist only on the disk.
    dead: Vec<NodeId>,
    used: u64,
}

/// Bytes that an inode is charged.
fn charge(node: &Node) -> u64 {
    match node.kind {
        FileKind::Regular => node.size.next_multiple_of(PAGE),
        FileKind::Directory => PAGE,
        FileKind::Symlink | FileKind::Special => 0,
    }
}

/// Checks that a name is valid in a directory.
fn checked(name: &OsStr) -> io::Result<()> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(errno(libc::EINVAL));
    }
    if bytes.len() > NAME_BYTES_MAX { Err(errno(libc::ENAMETOOLONG)) } else { Ok(()) }
}

impl Device {
    pub(super) fn new(number: u64, now: FileTime) -> Device {
        let meta = Meta { mode: 0o755, mtime: now, ctime: now, born: now };
        let mut root = Node::new(ROOT_NUMBER, FileKind::Directory, meta);
        root.links = Both { seen: 1, durable: 1 };
        Device {
            number,
            root: 1,
            capacity: None,
            journal: NameLog::default(),
            nodes: BTreeMap::from([(1, Arc::new(root))]),
            node_ids: 1,
            free: BTreeSet::new(),
            next_number: FIRST_NUMBER,
            stuck: BTreeSet::new(),
            aborts: false,
            aborted: false,
            dead: Vec::new(),
            used: PAGE,
        }
    }

    pub(super) fn node(&self, id: NodeId) -> io::Result<&Node> {
        self.nodes.get(&id).map(|node| &**node).ok_or_else(|| errno(libc::ESTALE))
    }

    /// The inode for changing; copied if a fork shares it.
    pub(super) fn node_mut(&mut self, id: NodeId) -> io::Result<&mut Node> {
        self.nodes.get_mut(&id).map(Arc::make_mut).ok_or_else(|| errno(libc::ESTALE))
    }

    /// The inode that programs see with this number.
    pub(super) fn by_number(&self, number: u64) -> Option<NodeId> {
        let seen = |node: &Node| node.number == number && (node.links.seen > 0 || node.open > 0);
        self.nodes.iter().find(|(_, node)| seen(node)).map(|(id, _)| *id)
    }

    /// The inode that programs see under this name.
    pub(super) fn find(&self, dir: NodeId, name: &OsStr) -> io::Result<Option<NodeId>> {
        checked(name)?;
        let dir = self.node(dir)?;
        if dir.kind == FileKind::Directory {
            Ok(dir.entries.seen.get(name).copied())
        } else {
            Err(errno(libc::ENOTDIR))
        }
    }

    /// EROFS once the file system has aborted.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        if self.aborted { Err(errno(libc::EROFS)) } else { Ok(()) }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity.unwrap_or(UNLIMITED_BYTES).saturating_sub(self.used)
    }

    /// A number for a new inode, and the changes that must reach the disk before it does.
    fn take_number(&mut self) -> (u64, Vec<u64>) {
        let lowest = self.free.iter().find(|number| !self.stuck.contains(number)).copied();
        let number = lowest.unwrap_or(self.next_number);
        self.next_number = self.next_number.max(number + 1);
        self.free.remove(&number);
        let formerly = self.dead.iter().filter(|id| self.nodes.get(id).is_some_and(|node| node.number == number));
        (number, formerly.flat_map(|id| self.journal.removals_of(*id)).collect())
    }

    /// Gives an inode another number.
    pub(super) fn renumber(&mut self, id: NodeId) -> io::Result<()> {
        let (number, after) = self.take_number();
        let node = self.node_mut(id)?;
        let before = std::mem::replace(&mut node.number, number);
        node.after.extend(after);
        self.free.insert(before);
        Ok(())
    }

    /// Creates an inode with one name.
    pub(super) fn make(&mut self, dir: NodeId, name: &OsStr, kind: FileKind, meta: Meta) -> io::Result<NodeId> {
        self.check_writable()?;
        if self.find(dir, name)?.is_some() {
            return Err(errno(libc::EEXIST));
        }
        if self.node(dir)?.links.seen == 0 {
            return Err(errno(libc::ENOENT));
        }
        if kind == FileKind::Directory && self.free_bytes() < PAGE {
            return Err(errno(libc::ENOSPC));
        }
        let (number, after) = self.take_number();
        self.node_ids += 1;
        let id = self.node_ids;
        let mut node = Node::new(number, kind, meta);
        node.after = after.clone();
        self.used += charge(&node);
        self.nodes.insert(id, Arc::new(node));
        let half = self.set_entry(dir, name.into(), Some(id), meta.ctime)?;
        self.journal.push(vec![half], after);
        Ok(id)
    }

    /// Changes an entry as programs see it, and the link counts; the change is not logged and no inode is freed yet.
    fn set_entry(&mut self, dir: NodeId, name: Arc<OsStr>, now: Option<NodeId>, time: FileTime) -> io::Result<Half> {
        let node = self.node_mut(dir)?;
        let entries = Arc::make_mut(&mut node.entries.seen);
        let was = match now {
            Some(id) => entries.insert(name.clone(), id),
            None => entries.remove(&name),
        };
        node.touch(time);
        for (id, gain) in [(now, true), (was, false)] {
            let Some(id) = id else { continue };
            let node = self.node_mut(id)?;
            node.links.seen = if gain { node.links.seen + 1 } else { node.links.seen.saturating_sub(1) };
            node.set_meta(Meta { ctime: time, ..node.meta });
        }
        Ok(Half { dir, name, was, now })
    }

    /// Adds a name to an inode.
    pub(super) fn link(&mut self, id: NodeId, dir: NodeId, name: &OsStr, time: FileTime) -> io::Result<()> {
        self.check_writable()?;
        if self.find(dir, name)?.is_some() {
            return Err(errno(libc::EEXIST));
        }
        let node = self.node(id)?;
        if node.kind == FileKind::Directory {
            return Err(errno(libc::EPERM));
        }
        let after = node.after.clone();
        let half = self.set_entry(dir, name.into(), Some(id), time)?;
        self.journal.push(vec![half], after);
        Ok(())
    }

    /// unlink(2), and rmdir(2) of an empty directory.
    pub(super) fn remove(&mut self, dir: NodeId, name: &OsStr, time: FileTime) -> io::Result<()> {
        self.check_writable()?;
        let id = self.find(dir, name)?.ok_or_else(|| errno(libc::ENOENT))?;
        let node = self.node(id)?;
        if !node.entries.seen.is_empty() {
            return Err(errno(libc::ENOTEMPTY));
        }
        // The removal must not take files with it that were moved out of the directory.
        let after = if node.kind == FileKind::Directory { self.journal.changes_in(id) } else { Vec::new() };
        let half = self.set_entry(dir, name.into(), None, time)?;
        self.journal.push(vec![half], after);
        self.reap(id);
        Ok(())
    }

    /// rename(2); without `replace` as with `RENAME_NOREPLACE`.
    pub(super) fn rename(
        &mut self,
        (from, from_name): (NodeId, &OsStr),
        (to, to_name): (NodeId, &OsStr),
        replace: bool,
        time: FileTime,
    ) -> io::Result<()> {
        self.check_writable()?;
        let id = self.find(from, from_name)?.ok_or_else(|| errno(libc::ENOENT))?;
        let is_dir = self.node(id)?.kind == FileKind::Directory;
        let taken = self.find(to, to_name)?;
        match taken {
            Some(_) if !replace => return Err(errno(libc::EEXIST)),
            Some(other) if other == id => return Ok(()),
            Some(other) => self.check_replaced(other, is_dir)?,
            None => {}
        }
        if self.node(to)?.links.seen == 0 {
            return Err(errno(libc::ENOENT));
        }
        if is_dir && self.is_inside(to, id) {
            return Err(errno(libc::EINVAL));
        }
        let mut after = self.node(id)?.after.clone();
        after.extend(taken.iter().flat_map(|other| self.journal.changes_in(*other)));
        if is_dir {
            after.extend(self.directory_renames());
        }
        let new = self.set_entry(to, to_name.into(), Some(id), time)?;
        let old = self.set_entry(from, from_name.into(), None, time)?;
        self.journal.push_rename(old, new, after, is_dir);
        if let Some(other) = taken {
            self.reap(other);
        }
        Ok(())
    }

    fn check_replaced(&self, id: NodeId, by_dir: bool) -> io::Result<()> {
        let node = self.node(id)?;
        match (node.kind == FileKind::Directory, by_dir) {
            (true, false) => Err(errno(libc::EISDIR)),
            (false, true) => Err(errno(libc::ENOTDIR)),
            _ if !node.entries.seen.is_empty() => Err(errno(libc::ENOTEMPTY)),
            _ => Ok(()),
        }
    }

    /// Unsynced moves of directories: they reach the disk in order; otherwise two of them could make a loop that is
    /// detached from the root.
    fn directory_renames(&self) -> Vec<u64> {
        let is_dir = |id| self.node(id).is_ok_and(|node| node.kind == FileKind::Directory);
        self.journal.ids_of(|change| change.halves.len() > 1 && change.halves[0].now.is_some_and(is_dir))
    }

    fn is_inside(&self, dir: NodeId, top: NodeId) -> bool {
        let children = |id| self.node(id).map(|node| node.entries.seen.clone()).unwrap_or_default();
        dir == top || children(top).values().any(|child| self.is_inside(dir, *child))
    }

    /// Frees an inode that no program can reach any more.
    fn reap(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.links.seen == 0 && node.open == 0) else { return };
        self.free.insert(node.number);
        self.used = self.used.saturating_sub(charge(node));
        if node.links.durable > 0 || self.journal.mentions(id) {
            self.dead.push(id);
        } else {
            self.nodes.remove(&id);
        }
    }

    /// Drops the dead inodes of which the disk has no name either.
    fn forget_dead(&mut self) {
        let (nodes, journal) = (&mut self.nodes, &self.journal);
        self.dead.retain(|id| {
            let kept = nodes.get(id).is_some_and(|node| node.links.durable > 0) || journal.mentions(*id);
            if !kept {
                nodes.remove(id);
            }
            kept
        });
    }

    pub(super) fn opened(&mut self, id: NodeId) -> io::Result<()> {
        self.node_mut(id)?.open += 1;
        Ok(())
    }

    pub(super) fn closed(&mut self, id: NodeId) {
        if let Ok(node) = self.node_mut(id) {
            node.open = node.open.saturating_sub(1);
            self.reap(id);
        }
    }

    /// pwrite(2): short if the space ends within `bytes`.
    pub(super) fn write(&mut self, id: NodeId, offset: u64, bytes: &[u8], now: FileTime) -> io::Result<usize> {
        self.check_writable()?;
        let node = self.node(id)?;
        let before = charge(node);
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(|| errno(libc::EFBIG))?;
        let end_max = before.saturating_add(self.free_bytes() / PAGE * PAGE);
        if end > end_max && offset >= end_max {
            return Err(errno(libc::ENOSPC));
        }
        let count = usize::try_from(end.min(end_max) - offset).unwrap_or(bytes.len());
        let node = self.node_mut(id)?;
        node.write(offset, &bytes[..count], now);
        let after = charge(node);
        self.used += after - before;
        Ok(count)
    }

    /// ftruncate(2). Holes are charged as if they were written.
    pub(super) fn set_len(&mut self, id: NodeId, len: u64, now: FileTime) -> io::Result<()> {
        self.check_writable()?;
        let before = charge(self.node(id)?);
        if len > before.saturating_add(self.free_bytes() / PAGE * PAGE) {
            return Err(errno(libc::ENOSPC));
        }
        let node = self.node_mut(id)?;
        node.set_len(len, now);
        let after = charge(node);
        self.used = (self.used + after).saturating_sub(before);
        Ok(())
    }

    /// Carries out a change of content by another program.
    pub(super) fn change(&mut self, id: NodeId, change: &Change, now: FileTime) -> io::Result<()> {
        let (offset, bytes) = match change {
            Change::At(offset, bytes) => (*offset, bytes),
            Change::Append(bytes) => (self.node(id)?.size, bytes),
            Change::Length(len) => return self.set_len(id, *len, now),
        };
        let written = self.write(id, offset, bytes, now)?;
        if written < bytes.len() { Err(errno(libc::ENOSPC)) } else { Ok(()) }
    }

    /// fsync(2) of a directory: its names and its own inode.
    pub(super) fn sync_dir(&mut self, dir: NodeId) -> io::Result<()> {
        self.check_writable()?;
        let changes = self.journal.take_dir(dir);
        self.apply(&changes);
        self.node_mut(dir)?.sync_meta();
        self.forget_dead();
        Ok(())
    }

    /// Writes the unsynced changes of one name, and those for which they wait, to the disk.
    pub(super) fn sync_name(&mut self, dir: NodeId, name: &OsStr) {
        let changes = self.journal.take_name(dir, name);
        self.apply(&changes);
        self.forget_dead();
    }

    /// A failed fsync of a directory: its unsynced names will never reach the disk.
    pub(super) fn fail_sync_dir(&mut self, dir: NodeId) {
        self.aborted |= self.aborts;
        let changes = self.journal.take_failed(dir);
        self.note_stuck(&changes);
    }

    /// syncfs(2).
    pub(super) fn sync_fs(&mut self) {
        if self.aborted {
            return;
        }
        let changes = self.journal.take_all();
        self.apply(&changes);
        for node in self.nodes.values_mut().filter(|node| !node.is_synced()) {
            Arc::make_mut(node).sync_all();
        }
        self.forget_dead();
    }

    /// A failed syncfs.
    pub(super) fn fail_sync_fs(&mut self, mut fate: Option<Fate>) {
        // With a journal, data could not be written; the names can still be synced later.
        if !self.aborts {
            let changes = self.journal.take_all();
            self.note_stuck(&changes);
        }
        for node in self.nodes.values_mut().filter(|node| !node.is_synced()) {
            Arc::make_mut(node).fail_sync(fate.as_mut());
        }
    }

    fn note_stuck(&mut self, changes: &[Arc<NameChange>]) {
        for half in changes.iter().flat_map(|change| &change.halves) {
            let Some(was) = half.was else { continue };
            let durable = self.node(half.dir).ok().and_then(|dir| dir.entries.durable.get(&half.name).copied());
            if durable == Some(was) {
                self.stuck.extend(self.node(was).map(|node| node.number).ok());
            }
        }
    }

    fn apply(&mut self, changes: &[Arc<NameChange>]) {
        for half in changes.iter().flat_map(|change| &change.halves) {
            let Ok(dir) = self.node_mut(half.dir) else { continue };
            let entries = Arc::make_mut(&mut dir.entries.durable);
            let was = match half.now {
                Some(id) => entries.insert(half.name.clone(), id),
                None => entries.remove(&half.name),
            };
            if let Some(node) = half.now.and_then(|id| self.node_mut(id).ok()) {
                node.links.durable += 1;
            }
            if let Some(node) = was.and_then(|id| self.node_mut(id).ok()) {
                node.links.durable = node.links.durable.saturating_sub(1);
            }
        }
    }

    /// A power cut: first chooses the surviving names, then the state of each inode that still has one.
    pub(super) fn crash(&mut self, fate: &mut Fate) {
        self.aborted = false;
        let survivors = self.journal.take_survivors(fate);
        self.apply(&survivors);
        let links = self.durable_tree();
        self.nodes.retain(|id, _| links.contains_key(id));
        for (id, node) in &mut self.nodes {
            let count = links.get(id).copied().unwrap_or(0);
            if node.links.durable != count || !node.is_settled() {
                let node = Arc::make_mut(node);
                node.links.durable = count;
                node.crash(fate);
            }
        }
        self.recount();
    }

    /// The number of names of each inode that can be reached from the root on the disk.
    fn durable_tree(&self) -> BTreeMap<NodeId, u64> {
        let mut links = BTreeMap::from([(self.root, 1)]);
        let mut dirs = vec![self.root];
        while let Some(dir) = dirs.pop() {
            let Ok(node) = self.node(dir) else { continue };
            for id in node.entries.durable.values() {
                let count = links.entry(*id).or_insert(0);
                *count += 1;
                if *count == 1 {
                    dirs.push(*id);
                }
            }
        }
        links
    }

    fn recount(&mut self) {
        let used: BTreeSet<u64> = self.nodes.values().map(|node| node.number).collect();
        self.next_number = used.last().map_or(0, |last| last + 1).max(FIRST_NUMBER);
        self.free = (FIRST_NUMBER..self.next_number).filter(|number| !used.contains(number)).collect();
        self.used = self.nodes.values().map(|node| charge(node)).sum();
        self.stuck.clear();
        self.dead.clear();
    }

    /// Drops the whole page cache: see [`Node::drop_cache`].
    pub(super) fn drop_caches(&mut self) {
        for node in self.nodes.values_mut() {
            if !node.is_settled() {
                Arc::make_mut(node).drop_cache();
            }
        }
    }
}
