//! One inode: what programs see of it (the page cache), what the disk holds of it, and what lies between.
//!
//! Invariants:
//! - What programs see is never changed by a sync, a failed sync or the end of a process: only by a write, by
//!   [`Node::drop_cache`] and by a power cut.
//! - `unsynced` holds every state the disk may be in, oldest first; the newest is what programs see.
//! - `disk` is what remains if nothing of `unsynced` survives.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::content::{Content, Write, apply_some};
use super::rng::{Fate, Of};
use crate::fs::FileKind;
use crate::types::FileTime;

/// Names an inode for good: never used again, unlike its number.
pub(super) type NodeId = u64;

/// The names in a directory.
pub(super) type Entries = BTreeMap<Arc<OsStr>, NodeId>;

/// What the inode says beside the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) mtime: FileTime,
    pub(super) ctime: FileTime,
    /// When the inode was made; never changed.
    pub(super) born: FileTime,
}

/// What the disk holds for certain.
#[derive(Clone, Debug)]
struct Disk {
    meta: Meta,
    size: u64,
    content: Content,
}

/// What the disk may or may not hold.
#[derive(Clone, Debug, Default)]
struct Unsynced {
    writes: Vec<Write>,
    sizes: Vec<u64>,
    metas: Vec<Meta>,
}

/// A change of the content that waits for a lease to go (see fcntl(2), "Leases").
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// At this offset.
    At(u64, Arc<[u8]>),
    /// Wherever the file ends by then.
    Append(Arc<[u8]>),
    /// ftruncate(2).
    Length(u64),
}

/// What programs see, and what is on the disk.
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
    /// Changes of names that freed the number: no name of this inode reaches the disk before them.
    pub(super) after: Vec<u64>,
    /// Names that it has.
    pub(super) links: Both<u64>,
    /// Descriptors, ours and the upstreams'.
    pub(super) open: u64,
    /// Opening it gives EACCES.
    pub(super) unreadable: bool,
    /// What a symbolic link says.
    pub(super) target: Option<Arc<Path>>,
    pub(super) meta: Meta,
    pub(super) size: u64,
    pub(super) entries: Both<Arc<Entries>>,
    /// Writes that wait for a lease to go, in order.
    pub(super) blocked: Vec<Change>,
    cache: Content,
    disk: Disk,
    unsynced: Unsynced,
    /// Set by a failed sync: from then on clean pages may show what the disk does not have.
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

    /// ftruncate(2). What is cut off becomes zeros, sector by sector, each of which may reach the disk before the
    /// size does: on ext4 and xfs that holds for the last page only, here for all.
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

    /// A directory's names changed.
    pub(super) fn touch(&mut self, now: FileTime) {
        self.set_meta(Meta { mtime: now, ctime: now, ..self.meta });
    }

    /// fdatasync(2): content, and the size, without which the content could not be read back.
    pub(super) fn sync_data(&mut self) {
        if self.diverged {
            // Only what was written since the failure: the pages it left clean are not written again.
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

    /// A sync that failed. As ext4 does (Rebello et al., ATC'20): the pages are marked clean, so nothing will write
    /// them again, and they stay in the cache, so every program still reads them. The inode goes by the journal
    /// and stays due: the size may become durable over content that never does.
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

    /// Clean pages go, so that the next read shows what the disk has; dirty pages stay.
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

    /// True if a power cut would leave this inode as it is.
    pub(super) fn is_settled(&self) -> bool {
        self.is_synced()
            && !self.diverged
            && self.open == 0
            && self.links.seen == self.links.durable
            && Arc::ptr_eq(&self.entries.seen, &self.entries.durable)
            && self.blocked.is_empty()
    }

    /// A power cut. Content, size and the rest of the inode each end in a state of their own; what the size covers
    /// and no write reached reads as zeros.
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
