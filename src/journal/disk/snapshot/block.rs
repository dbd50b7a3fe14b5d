//! A block of rows, and the checksums of blocks and lists.
//!
//! Invariant: a checksum covers the file's salt and the position, so that bytes of another file or position never pass.

use crate::journal::disk::format::{ROW_BLOCK_HEADER_BYTES, Section};

/// The start value of a list's checksum.
pub(super) fn section_checksum(salt: u32, section: Section) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &(section as u32).to_le_bytes())
}

/// The checksum of a block of rows at a page, without its own field.
pub(super) fn block_checksum(salt: u32, page: u32, block: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &page.to_le_bytes());
    crc32c::crc32c_append(place, block.get(4..).unwrap_or(&[]))
}

/// Where the bytes of the row at `offset` in a block begin and end.
pub(super) fn extent(block: &[u8], offset: usize) -> Option<(usize, usize)> {
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
