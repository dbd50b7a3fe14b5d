//! The bytes of one file: sparse pages that are cheap to copy, and writes that have not reached the disk.
//!
//! Invariants:
//! - A missing page reads as zeros, so a file of zeros takes no memory, whatever its size.
//! - Copies share their pages until one of them writes.
//! - A [`Write`] holds whole sectors, as in the page cache just after the write: the kernel would send these to the
//!   disk, and so each sector survives independently of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rng::{Fate, Odds};

/// The unit that a disk writes atomically.
pub(super) const SECTOR: u64 = 512;
/// The unit of the page cache, and of charged space.
pub(super) const PAGE: u64 = 4096;

type Page = [u8; PAGE as usize];

const ZEROS: Page = [0; PAGE as usize];

/// The bytes of a file; its size is kept elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: Arc<BTreeMap<u64, Arc<Page>>>,
}

/// The part of `offset..end` in the page of `offset`: the page's number, and the range within it.
fn in_page(offset: u64, end: u64) -> (u64, std::ops::Range<usize>) {
    let page = offset / PAGE;
    let start = offset - page * PAGE;
    let stop = (end - page * PAGE).min(PAGE);
    (page, start as usize..stop as usize)
}

/// Compares with memcmp(3): most writes of a simulation are zeros written ahead.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|piece| *piece == ZEROS[..piece.len()])
}

impl Content {
    /// Fills `buffer` from `offset` on.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset + buffer.len() as u64;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (page, range) = in_page(at, end);
            let (now, later) = rest.split_at_mut(range.len());
            match self.pages.get(&page) {
                Some(bytes) => now.copy_from_slice(&bytes[range.clone()]),
                None => now.fill(0),
            }
            at += range.len() as u64;
            rest = later;
        }
    }

    /// True if `from..to` is all zeros.
    fn is_zero(&self, from: u64, to: u64) -> bool {
        self.pages.range(from / PAGE..to.div_ceil(PAGE)).all(|(page, bytes)| {
            let (_, range) = in_page(from.max(page * PAGE), to);
            is_zero(&bytes[range])
        })
    }

    /// Puts `bytes` at `offset`.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (page, range) = in_page(at, end);
            let (now, later) = rest.split_at(range.len());
            at += range.len() as u64;
            rest = later;
            if !self.pages.contains_key(&page) && is_zero(now) {
                continue;
            }
            let target = Arc::make_mut(&mut self.pages).entry(page).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(target)[range].copy_from_slice(now);
        }
    }

    /// Zeroes `from..to`; missing pages cost nothing.
    pub(super) fn zero(&mut self, from: u64, to: u64) {
        let touched: Vec<u64> = match from < to {
            true => self.pages.range(from / PAGE..to.div_ceil(PAGE)).map(|(page, _)| *page).collect(),
            false => return,
        };
        let pages = if touched.is_empty() { return } else { Arc::make_mut(&mut self.pages) };
        for page in touched {
            let (_, range) = in_page(from.max(page * PAGE), to);
            if range.len() == PAGE as usize {
                pages.remove(&page);
            } else if let Some(bytes) = pages.get_mut(&page)
                && !is_zero(&bytes[range.clone()])
            {
                Arc::make_mut(bytes)[range].fill(0);
            }
        }
    }

    /// Zeroes everything from `len` on.
    pub(super) fn truncate(&mut self, len: u64) {
        let end = self.pages.last_key_value().map_or(0, |(page, _)| (page + 1) * PAGE);
        self.zero(len, end);
    }

    /// Takes every page from `other` except those in `except`.
    pub(super) fn revert(&mut self, other: &Content, except: &BTreeSet<u64>) {
        let mut pages = (*other.pages).clone();
        for page in except {
            match self.pages.get(page) {
                Some(bytes) => pages.insert(*page, bytes.clone()),
                None => pages.remove(page),
            };
        }
        self.pages = Arc::new(pages);
    }
}

/// A write that is in the page cache and not on the disk.
#[derive(Clone, Debug)]
pub(super) struct Write {
    first: u64,
    sectors: u64,
    /// None for zeros, so that a zero-filled segment costs nothing.
    bytes: Option<Arc<[u8]>>,
}

impl Write {
    /// The sectors of `offset..offset + len`, as in `cache`.
    pub(super) fn capture(cache: &Content, offset: u64, len: u64) -> Write {
        let first = offset / SECTOR;
        let sectors = if len == 0 { 0 } else { (offset + len).div_ceil(SECTOR) - first };
        if cache.is_zero(first * SECTOR, (first + sectors) * SECTOR) {
            return Write { first, sectors, bytes: None };
        }
        let mut bytes = vec![0; (sectors * SECTOR) as usize];
        cache.read(first * SECTOR, &mut bytes);
        Write { first, sectors, bytes: Some(bytes.into()) }
    }

    /// The writes for a file whose `from..to` was cut off: the rest of the sector of `from`, then zeros.
    pub(super) fn cut(cache: &Content, from: u64, to: u64) -> [Write; 2] {
        let whole = from.next_multiple_of(SECTOR).min(to);
        let first = from.div_ceil(SECTOR);
        let sectors = to.div_ceil(SECTOR).saturating_sub(first);
        [Write::capture(cache, from, whole - from), Write { first, sectors, bytes: None }]
    }

    /// The whole write reaches the disk.
    pub(super) fn apply(&self, disk: &mut Content) {
        match &self.bytes {
            Some(bytes) => disk.write(self.first * SECTOR, bytes),
            None => disk.zero(self.first * SECTOR, (self.first + self.sectors) * SECTOR),
        }
    }

    /// Sectors `index..index + count` of this write reach the disk.
    fn apply_part(&self, disk: &mut Content, index: u64, count: u64) {
        let start = (self.first + index) * SECTOR;
        match &self.bytes {
            Some(bytes) => disk.write(start, &bytes[(index * SECTOR) as usize..((index + count) * SECTOR) as usize]),
            None => disk.zero(start, start + count * SECTOR),
        }
    }

    /// The pages that it makes dirty.
    pub(super) fn pages(&self) -> std::ops::Range<u64> {
        self.first * SECTOR / PAGE..((self.first + self.sectors) * SECTOR).div_ceil(PAGE)
    }
}

/// Each sector independently keeps its state, or gets the state after any one of the writes to it.
pub(super) fn apply_some(writes: &[Write], disk: &mut Content, fate: &mut Fate, odds: Odds) {
    match odds.certain() {
        Some(false) => return,
        Some(true) => return writes.iter().for_each(|write| write.apply(disk)),
        None => {}
    }
    // For each sector: the number of writes to it, then the number of the last one that survives.
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    for write in writes {
        for sector in write.first..write.first + write.sectors {
            *last.entry(sector).or_default() += 1;
        }
    }
    for count in last.values_mut() {
        *count = fate.pick(odds, *count);
    }
    for write in writes {
        let mut run = 0;
        for index in 0..write.sectors {
            let mine = last.get_mut(&(write.first + index)).is_some_and(|left| {
                let mine = *left == 1;
                *left = left.wrapping_sub(1);
                mine
            });
            // Adjacent sectors are written together: a page is copied once, not eight times.
            if mine {
                run += 1;
            } else if run > 0 {
                write.apply_part(disk, index - run, run);
                run = 0;
            }
        }
        if run > 0 {
            write.apply_part(disk, write.sectors - run, run);
        }
    }
}
