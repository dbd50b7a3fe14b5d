//! One remembered content: the fields of a MANIFESTED file's records, in a simple, compact encoding.
//!
//! Invariants: `decode(encode(row)) == row`, for the same directories; a row is at most [`ROW_BYTES_MAX`] long; rows
//! stay valid when directories are appended.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use crate::journal::disk::format::PATH_BYTES_MAX;
use crate::journal::disk::relocations::Relocations;
use crate::types::{FileIdentity, FileTime, IngestId, Key, Lsn, Sha256, UnixMillis};

/// Bytes of the longest varint: 64 bits, seven in each.
const VARINT_BYTES_MAX: usize = 10;
/// The longest row: two digests, twenty numbers and two names.
pub(super) const ROW_BYTES_MAX: usize = 2 * 32 + 20 * VARINT_BYTES_MAX + 2 * PATH_BYTES_MAX;

/// A content that was ingested, and everything that `inspect` shows about its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key; rows are in its order.
    pub key: Key,
    /// The hash of the content.
    pub sha256: Sha256,
    /// The file.
    pub ingest_id: IngestId,
    /// The LSN of its MANIFESTED.
    pub lsn: Lsn,
    /// `st_dev` of the staged file.
    pub device: u64,
    /// `st_ino` of the staged file.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, in seconds since the epoch.
    pub mtime_sec: i64,
    /// When it was found complete.
    pub discovered_at: UnixMillis,
    /// When its MANIFESTED was written.
    pub manifested_at: UnixMillis,
    /// Its path in staging.
    pub source_path: PathBuf,
    /// Its path in the warehouse.
    pub warehouse_path: PathBuf,
    /// The identity of the file there when it was published, if it was recorded.
    pub published: Option<FileIdentity>,
}

impl Row {
    /// Applies moves of directories to its paths.
    pub fn renew(&mut self, relocations: &Relocations) {
        relocations.renew(Lsn(self.ingest_id.0), &mut self.source_path);
        relocations.renew(self.lsn, &mut self.warehouse_path);
    }

    /// Appends the row's bytes.
    pub fn encode(&self, directories: &mut Directories, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.0);
        put_varint(out, self.discovered_at.0);
        put_varint(out, self.ingest_id.0);
        // A MANIFESTED never has the LSN of its DISCOVERED, so 0 is free to say that the key is not the content's hash.
        if self.key.0 != self.sha256.0 {
            put_varint(out, 0);
            out.extend_from_slice(&self.sha256.0);
        }
        put_varint(out, self.lsn.0.wrapping_sub(self.ingest_id.0));
        put_varint(out, self.device);
        put_varint(out, self.inode);
        put_varint(out, self.size);
        put_varint(out, zigzag(self.mtime_sec));
        put_varint(out, zigzag(self.manifested_at.0.wrapping_sub(self.discovered_at.0) as i64));
        let (source_directory, source_name) = split(&self.source_path);
        let (warehouse_directory, warehouse_name) = split(&self.warehouse_path);
        put_varint(out, directories.number(source_directory));
        put_varint(out, directories.number(warehouse_directory));
        put_varint(out, source_name.len() as u64);
        out.extend_from_slice(source_name);
        // Nearly always it is the same name.
        if warehouse_name == source_name {
            put_varint(out, 0);
        } else {
            put_varint(out, warehouse_name.len() as u64 + 1);
            out.extend_from_slice(warehouse_name);
        }
        if let Some(published) = &self.published {
            self.encode_published(published, out);
        }
    }

    /// Encodes differences to the staged file: a renamed file has the same device, inode, size and mtime, so they are
    /// 0.
    fn encode_published(&self, published: &FileIdentity, out: &mut Vec<u8>) {
        let difference = |now: u64, before: u64| zigzag(now.wrapping_sub(before) as i64);
        put_varint(out, difference(published.device, self.device));
        put_varint(out, difference(published.inode, self.inode));
        put_varint(out, difference(published.size, self.size));
        put_varint(out, difference(published.mtime.sec as u64, self.mtime_sec as u64));
        put_varint(out, u64::from(published.mtime.nsec));
        put_varint(out, difference(published.ctime.sec as u64, self.discovered_at.0 / 1000));
        put_varint(out, u64::from(published.ctime.nsec));
    }

    fn decode_published(&self, fields: &mut Fields<'_>) -> Option<FileIdentity> {
        let mut number = |before: u64| Some(before.wrapping_add(unzigzag(fields.varint()?) as u64));
        let (device, inode, size) = (number(self.device)?, number(self.inode)?, number(self.size)?);
        let mtime_sec = number(self.mtime_sec as u64)? as i64;
        let mtime = FileTime { sec: mtime_sec, nsec: u32::try_from(fields.varint()?).ok()? };
        let ctime_sec = (self.discovered_at.0 / 1000).wrapping_add(unzigzag(fields.varint()?) as u64) as i64;
        let ctime = FileTime { sec: ctime_sec, nsec: u32::try_from(fields.varint()?).ok()? };
        Some(FileIdentity { device, inode, size, mtime, ctime })
    }

    /// Decodes a row that fills `bytes`; None if they are not a row.
    pub fn decode(bytes: &[u8], directories: &Directories) -> Option<Row> {
        let (key, rest) = bytes.split_first_chunk::<32>()?;
        let mut fields = Fields(rest);
        let discovered_at = fields.varint()?;
        let ingest_id = fields.varint()?;
        let (sha256, lsn_difference) = fields.content(key)?;
        let mut row = Row {
            key: Key(*key),
            sha256,
            ingest_id: IngestId(ingest_id),
            lsn: Lsn(ingest_id.wrapping_add(lsn_difference)),
            device: fields.varint()?,
            inode: fields.varint()?,
            size: fields.varint()?,
            mtime_sec: unzigzag(fields.varint()?),
            discovered_at: UnixMillis(discovered_at),
            manifested_at: UnixMillis(discovered_at.wrapping_add(unzigzag(fields.varint()?) as u64)),
            source_path: PathBuf::new(),
            warehouse_path: PathBuf::new(),
            published: None,
        };
        let (source_directory, warehouse_directory) = (fields.varint()?, fields.varint()?);
        let source_length = fields.varint()?;
        let source_name = fields.bytes(source_length)?;
        let warehouse_name = match fields.varint()? {
            0 => source_name,
            length => fields.bytes(length - 1)?,
        };
        row.source_path = directories.join(source_directory, source_name)?;
        row.warehouse_path = directories.join(warehouse_directory, warehouse_name)?;
        if !fields.0.is_empty() {
            row.published = Some(row.decode_published(&mut fields)?);
        }
        fields.0.is_empty().then_some(row)
    }
}

/// The key at the front of a row.
pub(in crate::journal) fn key_of(row: &[u8]) -> Option<Key> {
    row.first_chunk::<32>().map(|digest| Key(*digest))
}

/// The fields that decide whether a row has expired; compaction reads them of every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Stamps {
    /// The LSN of its MANIFESTED, and when it was written.
    pub(in crate::journal) lsn: Lsn,
    pub(in crate::journal) listed_at: UnixMillis,
    /// When the file was found complete.
    pub(in crate::journal) found_at: UnixMillis,
}

/// The stamps of an encoded row.
pub(in crate::journal) fn stamps(row: &[u8]) -> Option<Stamps> {
    let (key, rest) = row.split_first_chunk::<32>()?;
    let mut fields = Fields(rest);
    let (found_at, ingest_id) = (fields.varint()?, fields.varint()?);
    let lsn = Lsn(ingest_id.wrapping_add(fields.content(key)?.1));
    // Device, inode, size and mtime.
    for _ in 0..4 {
        fields.varint()?;
    }
    let listed_at = UnixMillis(found_at.wrapping_add(unzigzag(fields.varint()?) as u64));
    Some(Stamps { lsn, listed_at, found_at: UnixMillis(found_at) })
}

/// A path's directory (None if it has no slash) and its name.
fn split(path: &Path) -> (Option<&[u8]>, &[u8]) {
    let bytes = path.as_os_str().as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (Some(&bytes[..at]), &bytes[at + 1..]),
        None => (None, bytes),
    }
}

/// The directories that rows name by number, so that each is stored once: staging, and one per day in the warehouse. 0
/// means "no directory", so that a path without a slash decodes unchanged.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    names: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u64>,
    /// The last two numbers returned: consecutive rows mostly have the same directories.
    last: [u64; 2],
}

impl Directories {
    fn number(&mut self, name: Option<&[u8]>) -> u64 {
        let Some(name) = name else { return 0 };
        for number in self.last {
            if number.checked_sub(1).and_then(|index| self.names.get(index as usize)).is_some_and(|it| **it == *name) {
                return number;
            }
        }
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => self.push(name),
        };
        self.last = [number, self.last[0]];
        number
    }

    fn push(&mut self, name: &[u8]) -> u64 {
        self.names.push(name.into());
        let number = self.names.len() as u64;
        self.numbers.insert(name.into(), number);
        number
    }

    fn join(&self, number: u64, name: &[u8]) -> Option<PathBuf> {
        let mut path = Vec::new();
        if number > 0 {
            let directory = self.names.get(usize::try_from(number).ok()? - 1)?;
            path.reserve_exact(directory.len() + 1 + name.len());
            path.extend_from_slice(directory);
            path.push(b'/');
        }
        path.extend_from_slice(name);
        (path.len() <= PATH_BYTES_MAX).then(|| PathBuf::from(std::ffi::OsString::from_vec(path)))
    }

    /// The same name for all numbers up to `count`.
    pub(super) fn repeated(name: &[u8], count: u64) -> Directories {
        Directories { names: (0..count).map(|_| name.into()).collect(), ..Directories::default() }
    }

    /// The section's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for name in &self.names {
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(name);
        }
        out
    }

    /// Decodes a section.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Directories> {
        let mut directories = Directories::default();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            if name.len() > PATH_BYTES_MAX {
                return None;
            }
            directories.push(name);
            bytes = rest;
        }
        Some(directories)
    }

    /// All of them, for `inspect` and tests.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.names.iter().map(|name| Path::new(OsStr::from_bytes(name)))
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Maps numbers near 0 of either sign to small numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The unread rest of a row.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(VARINT_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if index == VARINT_BYTES_MAX - 1 && bits > 1 {
                return None;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Some(value);
            }
        }
        None
    }

    /// The hash of the content, which is the key unless a 0 says otherwise, and the number after it.
    fn content(&mut self, key: &[u8; 32]) -> Option<(Sha256, u64)> {
        match self.varint()? {
            0 => {
                let (digest, rest) = self.0.split_first_chunk::<32>()?;
                self.0 = rest;
                Some((Sha256(*digest), self.varint()?))
            }
            number => Some((Sha256(*key), number)),
        }
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_there_and_back() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert!(bytes.len() <= VARINT_BYTES_MAX);
            let mut fields = Fields(&bytes);
            assert_eq!((fields.varint(), fields.0.len()), (Some(value), 0));
            assert_eq!(Fields(&bytes[..bytes.len() - 1]).varint(), None);
        }
        assert_eq!(Fields(&[0xff; 11]).varint(), None);
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn rows_go_there_and_back() {
        let mut directories = Directories::default();
        let row = |source: &str, warehouse: &str| Row {
            key: Key([7; 32]),
            sha256: Sha256([7; 32]),
            ingest_id: IngestId(1 << 40),
            lsn: Lsn((1 << 40) + 3),
            device: u64::MAX,
            inode: 5,
            size: 0,
            mtime_sec: -1,
            discovered_at: UnixMillis(1_000),
            manifested_at: UnixMillis(999),
            source_path: source.into(),
            warehouse_path: warehouse.into(),
            published: None,
        };
        let time = |sec| FileTime { sec, nsec: 999_999_999 };
        let published = FileIdentity { device: 0, inode: u64::MAX, size: 1, mtime: time(i64::MIN), ctime: time(-7) };
        let rows = [
            Row { published: Some(published), ..row("/in/p.csv", "/wh/p.csv") },
            Row { published: Some(FileIdentity::default()), ..row("/in/q.csv", "/wh/q.csv") },
            Row { key: Key([9; 32]), ..row("/in/a.csv", "/wh/ingest_date=2026-01-02/a.csv") },
            row("/in/a.csv", "/wh/ingest_date=2026-01-02/a.csv"),
            row("/in/a.csv", "/wh/ingest_date=2026-01-02/a-00000000.csv"),
            row("/a", "/b"),
            row("", "c"),
            row("/in//a/", "a/"),
        ];
        let encoded: Vec<Vec<u8>> = rows
            .iter()
            .map(|row| {
                let mut bytes = Vec::new();
                row.encode(&mut directories, &mut bytes);
                bytes
            })
            .collect();
        let directories = Directories::decode(&directories.encode()).unwrap();
        for (row, bytes) in rows.iter().zip(&encoded) {
            assert_eq!(Row::decode(bytes, &directories).as_ref(), Some(row));
            assert_eq!(key_of(bytes), Some(row.key));
            let (lsn, listed_at, found_at) = (row.lsn, row.manifested_at, row.discovered_at);
            assert_eq!(stamps(bytes), Some(Stamps { lsn, listed_at, found_at }));
            // Cut off before `published`, it is a row from a version that did not record it.
            let bare = Row { published: None, ..row.clone() };
            let cut: Vec<Row> =
                (0..bytes.len()).filter_map(|length| Row::decode(&bytes[..length], &directories)).collect();
            assert_eq!(cut, if row.published.is_some() { vec![bare] } else { Vec::new() });
        }
    }
}
