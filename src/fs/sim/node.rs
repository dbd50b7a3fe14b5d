//! One inode: the state that programs see (the page cache), the state on the disk, and the changes between the two.
//!
//! Invariants:
//! - A sync, a failed sync or the end of a process never changes what programs see: only a write, [`Node::drop_cache`]
//!   and a power cut do.
//! - `unsynced` holds every state in which the disk may be, oldest first; programs see the newest.
//! - `disk` is the state that remains if nothing of `unsynced` survives.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::content::{Content, Write, apply_some};
use super::rng::{Fate, Of};
use crate::fs::FileKind;
use crate::types::FileTime;

/// Identifies an inode permanently: never reused, unlike its number.
pub(super) type NodeId = u64;

/// The names in a directory.
pub(super) type Entries = BTreeMap<Arc<OsStr>, NodeId>;

/// The inode's metadata except the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) mtime: FileTime,
    pub(super) ctime: FileTime,
    /// When the inode was created; never changed.
    pub(super) born: FileTime,
}

/// The state that is certainly on the disk.
#[derive(Clone, Debug)]
struct Disk {
    meta: Meta,
    size: u64,
    content: Content,
}

/// Changes that the disk may or may not hold.
#[derive(Clone, Debug, Default)]
struct Unsynced {
    writes: Vec<Write>,
    sizes: Vec<u64>,
    metas: Vec<Meta>,
}

/// A change of the content; it may wait for a lease (see fcntl(2), "Leases").
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A write at this offset.
    At(u64, Arc<[u8]>),
    /// A write at the end of the file, wherever that is by then.
    Append(Arc<[u8]>),
    /// ftruncate(2).
    Length(u64),
}

/// A value as programs see it, and as it is on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Both<T> {
    pub(super) seen: T,
    pub(super) durable: T,
}

/// An inode.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) number: u64,
    pub(super) kind: FileKind,
    /// Changes of names that freed the number: names of this inode reach the disk only after them.
    pub(super) after: Vec<u64>,
    /// The number of its names.
    pub(super) links: Both<u64>,
    /// Open descriptors of all programs.
    pub(super) open: u64,
    /// Opening it gives EACCES.
    pub(super) unreadable: bool,
    /// The target of a symbolic link.
    pub(super) target: Option<Arc<Path>>,
    pub(super) meta: Meta,
    pub(super) size: u64,
    pub(super) entries: Both<Arc<Entries>>,
    /// Writes that wait for a lease, in order.
    pub(super) blocked: Vec<Change>,
    cache: Content,
    disk: Disk,
    unsynced: Unsynced,
    /// Set by a failed sync: from then on clean pages may differ from the disk.
    diverged: bool,
}

impl Node {
    pub(super) fn new(number: u64, kind: FileKind, meta: Meta) -> Node {
        Node {
            number,
            kind,
            after: Vec::new(),
            links: Both::default(),
            open: 0,
            unreadable: false,
            target: None,
            meta,
            size: 0,
            entries: Both::default(),
            blocked: Vec::new(),
            cache: Content::default(),
            disk: Disk { meta, size: 0, content: Content::default() },
            unsynced: Unsynced::default(),
            diverged: false,
        }
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        self.cache.read(offset, &mut buffer[..count]);
        count
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], now: FileTime) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len() as u64;
        self.cache.write(offset, bytes);
        self.unsynced.writes.push(Write::capture(&self.cache, offset, len));
        if offset + len > self.size {
            self.resize(offset + len);
        }
        self.set_meta(Meta { mtime: now, ctime: now, ..self.meta });
    }

    /// ftruncate(2). The part cut off becomes zeros, sector by sector, each of which may reach the disk before the size
    /// does: on ext4 and xfs only those of the last page, here all.
    pub(super) fn set_len(&mut self, len: u64, now: FileTime) {
        if len < self.size {
            self.cache.truncate(len);
            self.unsynced.writes.extend(Write::cut(&self.cache, len, self.size));
        }
        if len != self.size {
            self.resize(len);
        }
        self.set_meta(Meta { mtime: now, ctime: now, ..self.meta });
    }

    fn resize(&mut self, size: u64) {
        self.size = size;
        self.unsynced.sizes.push(size);
    }

    pub(super) fn set_meta(&mut self, meta: Meta) {
        if meta != self.meta {
            self.meta = meta;
            self.unsynced.metas.push(meta);
        }
    }

    /// Updates the times of a directory whose names changed.
    pub(super) fn touch(&mut self, now: FileTime) {
        self.set_meta(Meta { mtime: now, ctime: now, ..self.meta });
    }

    /// fdatasync(2): content, and the size, without which the content could not be read back.
    pub(super) fn sync_data(&mut self) {
        if self.diverged {
            // Only writes since the failure: the pages that it marked clean are not written again.
            self.unsynced.writes.iter().for_each(|write| write.apply(&mut self.disk.content));
        } else {
            self.disk.content = self.cache.clone();
        }
        self.unsynced.writes.clear();
        self.disk.size = self.size;
        self.unsynced.sizes.clear();
    }

    /// fsync(2): content and inode.
    pub(super) fn sync_all(&mut self) {
        self.sync_data();
        self.sync_meta();
    }

    pub(super) fn sync_meta(&mut self) {
        self.disk.meta = self.meta;
        self.unsynced.metas.clear();
    }

    /// A failed sync, as on ext4 (Rebello et al., ATC'20): the pages are marked clean, so they are not written again,
    /// and they stay in the cache, so every program still reads them. The inode is written by the journal and stays
    /// dirty: its size may become durable although the content never does.
    ///
    /// `fate` decides which sectors reached the disk before the failure; without it none did.
    pub(super) fn fail_sync(&mut self, fate: Option<&mut Fate>) {
        if self.unsynced.writes.is_empty() {
            return;
        }
        if let Some(fate) = fate {
            let odds = fate.odds(Of::Content);
            apply_some(&self.unsynced.writes, &mut self.disk.content, fate, odds);
        }
        self.unsynced.writes.clear();
        self.diverged = true;
    }

    /// Drops clean pages, so that the next read returns the content of the disk; dirty pages stay.
    pub(super) fn drop_cache(&mut self) {
        if !self.diverged {
            return;
        }
        let dirty: BTreeSet<u64> = self.unsynced.writes.iter().flat_map(Write::pages).collect();
        self.cache.revert(&self.disk.content, &dirty);
        self.cache.truncate(self.size);
    }

    /// True if a sync has nothing to do.
    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.writes.is_empty() && self.unsynced.sizes.is_empty() && self.unsynced.metas.is_empty()
    }

    /// True if a power cut would not change this inode.
    pub(super) fn is_settled(&self) -> bool {
        self.is_synced()
            && !self.diverged
            && self.open == 0
            && self.links.seen == self.links.durable
            && Arc::ptr_eq(&self.entries.seen, &self.entries.durable)
            && self.blocked.is_empty()
    }

    /// A power cut. Content, size and the rest of the inode each end in an independent state; bytes within the size
    /// that no write reached read as zeros.
    pub(super) fn crash(&mut self, fate: &mut Fate) {
        let unsynced = std::mem::take(&mut self.unsynced);
        if !unsynced.metas.is_empty() {
            let odds = fate.odds(Of::Meta);
            if let Some(last) = fate.pick(odds, unsynced.metas.len()).checked_sub(1) {
                self.disk.meta = unsynced.metas[last];
            }
        }
        if !unsynced.sizes.is_empty() {
            let odds = fate.odds(Of::Size);
            if let Some(last) = fate.pick(odds, unsynced.sizes.len()).checked_sub(1) {
                self.disk.size = unsynced.sizes[last];
            }
        }
        if !unsynced.writes.is_empty() {
            let odds = fate.odds(Of::Content);
            apply_some(&unsynced.writes, &mut self.disk.content, fate, odds);
        }
        if self.diverged || !unsynced.writes.is_empty() || !unsynced.sizes.is_empty() {
            self.disk.content.truncate(self.disk.size);
        }
        self.meta = self.disk.meta;
        self.size = self.disk.size;
        self.cache = self.disk.content.clone();
        self.entries.seen = self.entries.durable.clone();
        self.diverged = false;
        self.open = 0;
        self.links.seen = self.links.durable;
        self.blocked.clear();
    }
}
