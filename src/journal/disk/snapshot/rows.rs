//! Iterates over the rows of a snapshot, for `inspect`, `verify` and compaction.
//!
//! Invariant: a row is handed out only from a block whose checksum is correct.

use super::block::extent;
use super::reader::Snapshot;
use super::row::Row;
use crate::journal::disk::error::Error;
use crate::journal::disk::format::{BLOCK_BYTES, ROW_BLOCK_HEADER_BYTES, ROW_BLOCK_PAGES_MAX, Section};
use crate::journal::disk::frame::u16_at;

/// Bytes read ahead.
const WINDOW_BYTES: usize = 1 << 20;

impl Snapshot {
    /// All rows, in the order of the SHA-256.
    pub fn rows(&self) -> RowReader<'_> {
        RowReader::new(self)
    }

    /// Checks every byte that has a meaning.
    ///
    /// # Errors
    /// Corrupt if something is not as it was written, or contradicts the rest.
    pub fn verify(&self) -> Result<(), Error> {
        self.survivors(&mut |_, _, _| Ok(()))?;
        let mut rows = self.rows();
        let (mut count, mut last) = (0_u32, None);
        while rows.advance()? {
            let block = rows.block();
            let row = self.decode(block, rows.row().unwrap_or(&[]))?;
            if last.is_some_and(|last| last >= row.key) {
                return Err(self.block_fault(block, "rows do not ascend"));
            }
            if row.lsn > self.header.lsn || row.ingest_id.0 >= row.lsn.0 {
                return Err(self.block_fault(block, "a row's LSN is impossible"));
            }
            if !self.index.candidates(&row.key).contains(&count) {
                return Err(self.section_fault(Section::Fragments, "the index does not lead to a row"));
            }
            last = Some(row.key);
            count += 1;
        }
        Ok(())
    }
}

/// Reads rows in order.
pub struct RowReader<'a> {
    snapshot: &'a Snapshot,
    window: Vec<u8>,
    /// The page of the window's first byte.
    window_page: u32,
    /// The number of blocks begun, the current one included.
    blocks_begun: usize,
    /// Offsets in the window: the end of the block, the current row, and the next row.
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

    /// Advances to the next row; false if there is none.
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

    /// The bytes of the current row.
    pub fn row(&self) -> Option<&[u8]> {
        self.row.and_then(|(from, to)| self.window.get(from..to))
    }

    /// Advances to the next row and decodes it.
    pub fn next_row(&mut self) -> Result<Option<Row>, Error> {
        if !self.advance()? {
            return Ok(None);
        }
        self.snapshot.decode(self.block(), self.row().unwrap_or(&[])).map(Some)
    }

    /// The number of the current row's block.
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
