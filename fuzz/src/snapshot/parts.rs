//! A snapshot taken to pieces, and assembled with correct checksums and lists: so that the reader reaches the pieces,
//! however they were changed.

use crate::oracle::number;

pub(super) const PAGE: usize = 4096;
/// Bits of a bucket's number here, at most.
const BUCKET_BITS_MAX: u32 = 12;

/// The pieces.
#[derive(Clone)]
pub struct Parts {
    /// The header block.
    pub header: Vec<u8>,
    /// The rows as they are in the blocks, without their lengths.
    pub rows: Vec<Vec<u8>>,
    /// The list of directories.
    pub directories: Vec<u8>,
    /// The list of surviving records.
    pub survivors: Vec<u8>,
    /// The number of bits of a digest that select its bucket.
    pub bucket_bits: u32,
}

/// The offset of a list, and its length.
pub(super) fn extent(header: &[u8], list: usize) -> (u64, u64) {
    (number(header, 168 + 24 * list, 8), number(header, 176 + 24 * list, 8))
}

/// The bytes of a list, if the file is long enough.
pub(super) fn list(bytes: &[u8], number: usize) -> Option<&[u8]> {
    let (offset, length) = extent(bytes, number);
    bytes.get(usize::try_from(offset).ok()?..usize::try_from(offset.checked_add(length)?).ok()?)
}

fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

impl Parts {
    /// The pieces of an undamaged snapshot.
    pub fn of(bytes: &[u8]) -> Parts {
        let mut rows = Vec::new();
        let mut at = PAGE;
        while at < number(bytes, 168, 8) as usize {
            let (count, pages) = (number(bytes, at + 4, 2), number(bytes, at + 6, 2) as usize);
            let mut row = at + 8;
            for _ in 0..count {
                let length = number(bytes, row, 2) as usize;
                rows.push(bytes[row + 2..row + 2 + length].to_vec());
                row += 2 + length;
            }
            at += pages * PAGE;
        }
        Parts {
            header: bytes[..PAGE].to_vec(),
            rows,
            directories: list(bytes, 3).unwrap().to_vec(),
            survivors: list(bytes, 4).unwrap().to_vec(),
            bucket_bits: number(bytes, 160, 4) as u32,
        }
    }

    /// The assembled file.
    pub fn assemble(&self) -> Vec<u8> {
        let mut file = self.header.clone();
        let mut blocks = Vec::new();
        let mut begin = 0;
        while begin < self.rows.len() {
            let mut block = vec![0; 8];
            let mut end = begin;
            while end < self.rows.len() && (end == begin || block.len() + 2 + self.rows[end].len() <= PAGE) {
                let length = self.rows[end].len().min(usize::from(u16::MAX));
                block.extend_from_slice(&(length as u16).to_le_bytes());
                block.extend_from_slice(&self.rows[end][..length]);
                end += 1;
            }
            block.resize(block.len().next_multiple_of(PAGE), 0);
            put(&mut block, 4, (end - begin) as u64, 2);
            let pages = (block.len() / PAGE) as u64;
            put(&mut block, 6, pages, 2);
            blocks.extend_from_slice(&(begin as u32).to_le_bytes());
            blocks.extend_from_slice(&((file.len() / PAGE) as u32).to_le_bytes());
            file.extend_from_slice(&block);
            begin = end;
        }
        let (buckets, fragments) = self.index();
        put(&mut file, 112, self.rows.len() as u64, 8);
        put(&mut file, 120, blocks.len() as u64 / 8, 8);
        put(&mut file, 160, u64::from(self.bucket_bits), 4);
        let lists = [blocks, buckets, fragments, self.directories.clone(), self.survivors.clone()];
        for (number, bytes) in lists.iter().enumerate() {
            let offset = file.len() as u64;
            put(&mut file, 168 + 24 * number, offset, 8);
            put(&mut file, 176 + 24 * number, bytes.len() as u64, 8);
            file.extend_from_slice(bytes);
            file.resize(file.len().next_multiple_of(PAGE), 0);
        }
        let length = file.len() as u64;
        put(&mut file, 48, length, 8);
        mend(&mut file);
        file
    }

    /// The lists of buckets and of fragments.
    fn index(&self) -> (Vec<u8>, Vec<u8>) {
        let bits = self.bucket_bits.min(BUCKET_BITS_MAX);
        let mut counts = vec![0_u32; (1 << bits) + 1];
        let mut fragments = Vec::new();
        for row in &self.rows {
            let mut front = [0; 8];
            front.iter_mut().zip(row).for_each(|(byte, from)| *byte = *from);
            let front = u128::from(u64::from_be_bytes(front));
            counts[(front >> (64 - bits)) as usize + 1] += 1;
            fragments.extend_from_slice(&((front >> (32 - bits)) as u32).to_le_bytes());
        }
        let mut sum = 0;
        let sums = counts.iter().map(|count| {
            sum += count;
            sum
        });
        (sums.flat_map(u32::to_le_bytes).collect(), fragments)
    }
}

/// Corrects all checksums that are within the file.
pub(super) fn mend(bytes: &mut [u8]) {
    if bytes.len() < PAGE {
        return;
    }
    let first_list = usize::try_from(extent(bytes, 0).0).unwrap_or(usize::MAX).min(bytes.len()) / PAGE;
    let mut page = 1;
    while page < first_list {
        mend_block(bytes, page);
        page += (number(bytes, page * PAGE + 6, 2) as usize).clamp(1, 3);
    }
    mend_lists(bytes);
    mend_header(bytes);
}

/// Corrects the checksum of the page, as that of a block of rows.
pub(super) fn mend_block(bytes: &mut [u8], page: usize) {
    let at = page * PAGE;
    if page == 0 || bytes.len() < at + PAGE {
        return;
    }
    let pages = (number(bytes, at + 6, 2) as usize).clamp(1, 3);
    let end = (at + pages * PAGE).min(bytes.len());
    let place = crc32c::crc32c_append(crc32c::crc32c(&bytes[20..24]), &(page as u32).to_le_bytes());
    let checksum = crc32c::crc32c_append(place, &bytes[at + 4..end]);
    put(bytes, at, u64::from(checksum), 4);
}

/// Corrects the checksums of the lists that are within the file.
pub(super) fn mend_lists(bytes: &mut [u8]) {
    for number in 0..5 {
        let place = crc32c::crc32c_append(crc32c::crc32c(&bytes[20..24]), &(number as u32).to_le_bytes());
        let Some(checksum) = list(bytes, number).map(|list| crc32c::crc32c_append(place, list)) else { continue };
        put(bytes, 184 + 24 * number, u64::from(checksum), 4);
    }
}

/// Corrects the checksum of the header.
pub(super) fn mend_header(bytes: &mut [u8]) {
    let checksum = crc32c::crc32c(&bytes[..4092]);
    put(bytes, 4092, u64::from(checksum), 4);
}
