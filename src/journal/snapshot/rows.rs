//! The rows of a snapshot, one after the other: what `inspect`, `verify` and compaction read.
//!
//! Invariant: a row is handed out only from a block whose checksum was right.

use super::{Row, Snapshot};
use crate::journal::error::Error;
use crate::journal::format::{BLOCK_BYTES, ROW_BLOCK_HEADER_BYTES, ROW_BLOCK_PAGES_MAX};
use crate::journal::frame::u16_at;

/// Bytes read ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// The row that begins at `offset` in a block: where its bytes begin and end.
fn extent(block: &[u8], offset: usize) -> Option<(usize, usize)> {
    let length = usize::from(u16::from_le_bytes(block.get(offset..offset + 2)?.try_into().ok()?));
    let (from, to) = (offset + 2, offset + 2 + length);
    (to <= block.len()).then_some((from, to))
}

/// The n-th row of a block, from 0.
pub(super) fn nth(block: &[u8], n: u32) -> Option<&[u8]> {
    let mut offset = ROW_BLOCK_HEADER_BYTES;
    for _ in 0..n {
        offset = extent(block, offset)?.1;
    }
    let (from, to) = extent(block, offset)?;
    block.get(from..to)
}

/// Reads rows in order.
pub struct RowReader<'a> {
    snapshot: &'a Snapshot,
    window: Vec<u8>,
    /// Page of the window's first byte.
    window_page: u32,
    /// The block that is being read, and those before it.
    blocks_begun: usize,
    /// In the window: where the block ends, the row that was gone to, and the next one.
    block_end: usize,
    row: Option<(usize, usize)>,
    next_row: usize,
    rows_left: u32,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> RowReader<'a> {
        RowReader {
            snapshot,
            window: Vec::new(),
            window_page: 0,
            blocks_begun: 0,
            block_end: 0,
            row: None,
            next_row: 0,
            rows_left: 0,
        }
    }

    /// Goes on to the next row; false if there is none.
    pub fn advance(&mut self) -> Result<bool, Error> {
        self.row = None;
        while self.rows_left == 0 {
            if self.blocks_begun == self.snapshot.index.blocks.len() {
                return Ok(false);
            }
            self.begin_block()?;
        }
        let block = &self.window[..self.block_end];
        let fault = || self.snapshot.block_fault(self.block(), "its rows overrun it");
        let (from, to) = extent(block, self.next_row).ok_or_else(fault)?;
        self.row = Some((from, to));
        self.next_row = to;
        self.rows_left -= 1;
        Ok(true)
    }

    /// The bytes of the row that `advance` has gone to.
    pub fn row(&self) -> Option<&[u8]> {
        self.row.and_then(|(from, to)| self.window.get(from..to))
    }

    /// Goes on to the next row and decodes it.
    pub fn next_row(&mut self) -> Result<Option<Row>, Error> {
        if !self.advance()? {
            return Ok(None);
        }
        self.snapshot.decode(self.block(), self.row().unwrap_or(&[])).map(Some)
    }

    /// The number of that row's block.
    pub(super) fn block(&self) -> usize {
        self.blocks_begun.saturating_sub(1)
    }

    fn begin_block(&mut self) -> Result<(), Error> {
        let block = self.blocks_begun;
        let (page, pages) = self.snapshot.block_extent(block);
        if pages > ROW_BLOCK_PAGES_MAX {
            return Err(self.snapshot.block_fault(block, "it is too long"));
        }
        let bytes = pages * BLOCK_BYTES;
        let mut from = page.saturating_sub(self.window_page) as usize * BLOCK_BYTES;
        if from + bytes > self.window.len() {
            self.fill(page)?;
            from = 0;
        }
        let to = (from + bytes).min(self.window.len());
        self.snapshot.check_block(block, &self.window[from..to])?;
        self.rows_left = u32::from(u16_at(&self.window[from..to], 4));
        (self.block_end, self.next_row) = (to, from + ROW_BLOCK_HEADER_BYTES);
        self.blocks_begun += 1;
        Ok(())
    }

    fn fill(&mut self, page: u32) -> Result<(), Error> {
        let offset = u64::from(page) * BLOCK_BYTES as u64;
        let left = self.snapshot.header.rows_extent().end - offset;
        self.window.resize(left.min(WINDOW_BYTES as u64) as usize, 0);
        let read = (self.snapshot.read_at)(&mut self.window, offset)?;
        self.window.truncate(read);
        self.window_page = page;
        Ok(())
    }
}
