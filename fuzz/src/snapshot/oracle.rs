//! A second reader of snapshots, written only from `journal-format.md`, in the simplest way: all checks of a reader, at
//! once, in memory.

use super::parts::PAGE;
use crate::oracle::{number, record};

/// Why a snapshot is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Damaged.
    Corrupt,
    /// Written in a newer format.
    Newer,
}

/// The content of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The rows in their order.
    pub rows: Vec<Row>,
    /// LSN, milliseconds and bytes of the surviving records.
    pub survivors: Vec<(u64, u64, Vec<u8>)>,
}

/// A row, with all numbers as absolute values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: [u8; 32],
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// When the file was found complete, its id, the LSN of its MANIFESTED, device, inode, size, and when MANIFESTED was
    /// written.
    pub numbers: [u64; 7],
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Path in staging.
    pub source: Vec<u8>,
    /// Path in the warehouse.
    pub warehouse: Vec<u8>,
    /// The file's identity when it was published: device, inode, size, and two times of seconds and nanoseconds.
    pub published: Option<([u64; 3], [(i64, u32); 2])>,
}

/// Reads the snapshot with the name of this LSN.
pub fn read(bytes: &[u8], name: u64) -> Result<Whole, Refusal> {
    if bytes.len() < PAGE || !bytes.starts_with(b"CSVI-SNP") {
        return Err(Refusal::Corrupt);
    }
    if u64::from(crc32c::crc32c(&bytes[..4092])) != number(bytes, 4092, 4) {
        return Err(Refusal::Corrupt);
    }
    if number(bytes, 8, 2) != 1 || number(bytes, 16, 4) & !1023 != 0 {
        return Err(Refusal::Newer);
    }
    header_agrees(bytes, name).and_then(|()| whole(bytes)).ok_or(Refusal::Corrupt)
}

/// Checks that the header agrees with itself, with the name, and with the file's length.
fn header_agrees(bytes: &[u8], name: u64) -> Option<()> {
    let lsn = number(bytes, 40, 8);
    let folded_until = number(bytes, 72, 8).max(number(bytes, 88, 8));
    let spare = match number(bytes, 100, 4) {
        0 => number(bytes, 104, 8) == 0,
        spare => spare == 1 && number(bytes, 104, 8) < lsn,
    };
    let length = number(bytes, 48, 8) == bytes.len() as u64;
    let [forgotten, manifested, skipped, abandoned, quarantined] =
        [128, 136, 144, 152, 288].map(|at| u128::from(number(bytes, at, 8)));
    let counts = manifested + skipped + abandoned + quarantined <= u128::from(lsn) && forgotten <= manifested;
    (counts && lsn > 0 && lsn == name && lsn == folded_until && spare && length).then_some(())
}

/// The bytes of the lists. They follow each other, and the file ends with the last one.
fn lists(bytes: &[u8]) -> Option<[&[u8]; 5]> {
    let (rows, blocks, bits) = (number(bytes, 112, 8), number(bytes, 120, 8), number(bytes, 160, 4));
    if rows >= 1 << 32 || blocks > rows || bits > 30 {
        return None;
    }
    let lengths = [Some(8 * blocks), Some(4 * ((1 << bits) + 1)), Some(4 * rows), None, None];
    let mut lists = [&[][..]; 5];
    let mut end = number(bytes, 168, 8);
    for (index, length) in lengths.into_iter().enumerate() {
        let at = 168 + 24 * index;
        let (offset, actual) = (number(bytes, at, 8), number(bytes, at + 8, 8));
        if !offset.is_multiple_of(4096) || offset != end || length.is_some_and(|length| length != actual) {
            return None;
        }
        let behind = offset.checked_add(actual)?;
        let list = bytes.get(usize::try_from(offset).ok()?..usize::try_from(behind).ok()?)?;
        let covered = [&bytes[20..24], &(index as u32).to_le_bytes(), list].concat();
        if u64::from(crc32c::crc32c(&covered)) != number(bytes, at + 16, 4) {
            return None;
        }
        lists[index] = list;
        end = behind.next_multiple_of(4096);
    }
    (end == bytes.len() as u64).then_some(lists)
}

fn whole(bytes: &[u8]) -> Option<Whole> {
    let [blocks, buckets, fragments, directories, survivors] = lists(bytes)?;
    let directories = self::directories(directories)?;
    let lsn = number(bytes, 40, 8);
    let mut rows: Vec<Row> = Vec::new();
    let mut page = 1;
    for block in blocks.chunks(8) {
        if number(block, 0, 4) != rows.len() as u64 || number(block, 4, 4) != page as u64 {
            return None;
        }
        page += self::block(bytes, page, &directories, &mut rows)?;
    }
    let in_order = rows.windows(2).all(|pair| pair[0].key < pair[1].key);
    let all_here = rows.len() as u64 == number(bytes, 112, 8) && (page * PAGE) as u64 == number(bytes, 168, 8);
    let known = rows.iter().all(|row| row.numbers[2] <= lsn && row.numbers[1] < row.numbers[2]);
    if !in_order || !all_here || !known || !index_agrees(&rows, number(bytes, 160, 4), buckets, fragments) {
        return None;
    }
    Some(Whole { rows, survivors: self::survivors(survivors, lsn)? })
}

/// Adds the rows of the block at a page; returns its length in pages.
fn block(bytes: &[u8], page: usize, directories: &[&[u8]], rows: &mut Vec<Row>) -> Option<usize> {
    let front = bytes.get(page * PAGE..page * PAGE + 8)?;
    let (count, pages) = (number(front, 4, 2), number(front, 6, 2) as usize);
    if !(1..=3).contains(&pages) || count == 0 {
        return None;
    }
    let block = bytes.get(page * PAGE..(page + pages) * PAGE)?;
    let covered = [&bytes[20..24], &(page as u32).to_le_bytes(), &block[4..]].concat();
    if u64::from(crc32c::crc32c(&covered)) != number(block, 0, 4) {
        return None;
    }
    let mut rest = &block[8..];
    for _ in 0..count {
        let (row, behind) = counted(rest, number(rest.get(..2)?, 0, 2), 2)?;
        rows.push(self::row(row, directories)?);
        rest = behind;
    }
    Some(pages)
}

/// `length` bytes after the first `skip`, and the rest.
fn counted(bytes: &[u8], length: u64, skip: usize) -> Option<(&[u8], &[u8])> {
    bytes.get(skip..)?.split_at_checked(usize::try_from(length).ok()?)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u128;
    for index in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u128::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return u64::try_from(value).ok();
        }
    }
    None
}

fn zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let value = varint(bytes)?;
    let half = (value / 2) as i64;
    Some(if value.is_multiple_of(2) { half } else { -half - 1 })
}

fn row(bytes: &[u8], directories: &[&[u8]]) -> Option<Row> {
    let (key, mut rest) = bytes.split_first_chunk::<32>()?;
    let (found, id, mut manifested_lsn) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
    let mut sha256 = key;
    if manifested_lsn == 0 {
        (sha256, rest) = rest.split_first_chunk::<32>()?;
        manifested_lsn = varint(&mut rest)?;
    }
    let (device, inode, size) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
    let (mtime, took) = (zigzag(&mut rest)?, zigzag(&mut rest)?);
    let (source_directory, warehouse_directory) = (varint(&mut rest)?, varint(&mut rest)?);
    let length = varint(&mut rest)?;
    let (source_name, mut rest) = counted(rest, length, 0)?;
    let length = varint(&mut rest)?;
    let (warehouse_name, mut rest) = if length == 0 { (source_name, rest) } else { counted(rest, length - 1, 0)? };
    let path = |directory: u64, name: &[u8]| {
        let path = match directory {
            0 => name.to_vec(),
            _ => [*directories.get(usize::try_from(directory - 1).ok()?)?, b"/", name].concat(),
        };
        (path.len() <= 4096).then_some(path)
    };
    let published = match rest.is_empty() {
        true => None,
        false => {
            let mut from = |before: u64| Some(before.wrapping_add(zigzag(&mut rest)? as u64));
            let numbers = [from(device)?, from(inode)?, from(size)?];
            let mut time = |before: u64| {
                let sec = before.wrapping_add(zigzag(&mut rest)? as u64) as i64;
                Some((sec, u32::try_from(varint(&mut rest)?).ok()?))
            };
            Some((numbers, [time(mtime as u64)?, time(found / 1000)?]))
        }
    };
    let row = Row {
        key: *key,
        sha256: *sha256,
        // The time is a difference of any two numbers of 64 bits.
        numbers: [found, id, id.checked_add(manifested_lsn)?, device, inode, size, found.wrapping_add(took as u64)],
        mtime,
        source: path(source_directory, source_name)?,
        warehouse: path(warehouse_directory, warehouse_name)?,
        published,
    };
    rest.is_empty().then_some(row)
}

fn directories(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut directories = Vec::new();
    while !bytes.is_empty() {
        let (directory, rest) = counted(bytes, number(bytes.get(..2)?, 0, 2), 2)?;
        if directory.len() > 4096 {
            return None;
        }
        directories.push(directory);
        bytes = rest;
    }
    Some(directories)
}

/// Checks that the lists of buckets and fragments are those of these rows.
fn index_agrees(rows: &[Row], bits: u64, buckets: &[u8], fragments: &[u8]) -> bool {
    let front = |row: &Row| u128::from_be_bytes(row.key[..16].try_into().unwrap_or_default());
    let bucket = |row: &Row| front(row) >> 64 >> (64 - bits);
    let fragment = |row: &Row| (front(row) >> (96 - bits)) as u32;
    let expected: Vec<u8> = rows.iter().flat_map(|row| fragment(row).to_le_bytes()).collect();
    let first = |wanted: u128| rows.iter().position(|row| bucket(row) >= wanted).unwrap_or(rows.len()) as u64;
    let mut listed = buckets.chunks(4).map(|entry| number(entry, 0, 4));
    fragments == expected && (0..=1_u128 << bits).all(|wanted| listed.next() == Some(first(wanted)))
}

fn survivors(mut bytes: &[u8], until: u64) -> Option<Vec<(u64, u64, Vec<u8>)>> {
    let (mut survivors, mut last) = (Vec::new(), 0);
    while !bytes.is_empty() {
        let record = record(bytes.get(16..)?)?;
        let (lsn, at) = (number(bytes, 0, 8), number(bytes, 8, 8));
        if lsn <= last || lsn > until {
            return None;
        }
        survivors.push((lsn, at, record.to_vec()));
        last = lsn;
        bytes = &bytes[16 + record.len()..];
    }
    Some(survivors)
}
