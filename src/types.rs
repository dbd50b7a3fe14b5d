//! Small values that all other modules use.
//!
//! Invariants: a value of these types is always well formed; none of these types does I/O.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Log sequence number: the position of a record (or of a segment's header) in the journal. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The LSN `count` places later.
    pub fn plus(self, count: u64) -> Lsn {
        Lsn(self.0.saturating_add(count))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Identifies one file's way through the ingestor: the LSN of its DISCOVERED record, so unique and increasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct IngestId(pub u64);

impl fmt::Display for IngestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

impl Sha256 {
    /// 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        self.digits().as_str().to_owned()
    }

    /// The same, without an allocation.
    pub fn digits(&self) -> HexDigits {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
            pair[1] = HEX_DIGITS[usize::from(byte & 15)];
        }
        HexDigits(digits)
    }

    /// Reads 64 hex digits of either case.
    pub fn from_hex(text: &[u8]) -> Option<Sha256> {
        if text.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Sha256(digest))
    }
}

/// What two files have in common that are one and the same to the ingestor: the SHA-256 of their content, or a digest of
/// their name and that SHA-256 (`--identity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

impl From<Sha256> for Key {
    /// The key by content alone.
    fn from(sha256: Sha256) -> Key {
        Key(sha256.0)
    }
}

/// How a checksum is computed; a later variant is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Algorithm {
    /// 128 bits.
    Md5 = 1,
    /// 160 bits.
    Sha1 = 2,
    /// 256 bits.
    Sha256 = 3,
    /// 384 bits.
    Sha384 = 4,
    /// 512 bits.
    Sha512 = 5,
}

impl Algorithm {
    /// All of them, the weakest first.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

    /// The name in manifest lines.
    pub fn text(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The name in texts for people.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha1 => "SHA-1",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha384 => "SHA-384",
            Algorithm::Sha512 => "SHA-512",
        }
    }

    /// Hex digits of a checksum.
    pub fn hex_digits(self) -> usize {
        match self {
            Algorithm::Md5 => 32,
            Algorithm::Sha1 => 40,
            Algorithm::Sha256 => 64,
            Algorithm::Sha384 => 96,
            Algorithm::Sha512 => 128,
        }
    }
}

/// The hex digits of a [`Sha256`].
pub struct HexDigits([u8; 64]);

impl HexDigits {
    /// As text.
    pub fn as_str(&self) -> &str {
        // They are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({})", self.hex())
    }
}

/// A file's time stamp as the kernel keeps it: exact, and wider than nanoseconds in 64 bits. Packed, since there are two for
/// each of very many files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(Rust, packed(4))]
pub struct FileTime {
    /// Seconds since the epoch, negative before it.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

/// What distinguishes one state of one file from every other: where the file is and when it last changed.
///
/// Inode numbers are reused, so two files count as the same only if all five fields agree; the hash decides the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FileIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content; any program may set it.
    pub mtime: FileTime,
    /// Last change of content or inode; only the kernel sets it.
    pub ctime: FileTime,
}

impl FileIdentity {
    /// (device, inode): the key of a staged file.
    pub fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Same file and, according to the inode, same content, but possibly renamed: rename(2) changes the ctime on most
    /// file systems.
    pub fn same_but_renamed(&self, other: &FileIdentity) -> bool {
        self.key() == other.key() && self.size == other.size && self.mtime == other.mtime
    }

    /// Another inode number, but possibly the same file: some file systems in user space invent these numbers, and give
    /// a file another one when it is renamed. The content has to decide.
    pub fn same_but_renumbered(&self, other: &FileIdentity) -> bool {
        self.device == other.device && self.size == other.size && self.mtime == other.mtime
    }
}

/// Milliseconds since the epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

/// The last instant that RFC 3339 can express: 9999-12-31T23:59:59.999Z.
const RFC3339_LAST_MS: u64 = 253_402_300_799_999;

/// Prefix of the names of the warehouse's partitions.
pub const PARTITION_PREFIX: &str = "ingest_date=";

impl IngestId {
    /// In place of the id of a file that another host of a lake has brought. No file of a journal has it.
    pub const OF_ANOTHER_HOST: IngestId = IngestId(0);
}

impl UnixMillis {
    /// The wall clock's time; an instant before the epoch counts as the epoch.
    pub fn from_system_time(time: SystemTime) -> UnixMillis {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        UnixMillis(u64::try_from(since_epoch.as_millis()).map_or(RFC3339_LAST_MS, |ms| ms.min(RFC3339_LAST_MS)))
    }

    /// The instant `duration` earlier, but not before the epoch.
    pub fn minus(self, duration: Duration) -> UnixMillis {
        UnixMillis(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// RFC 3339, UTC, milliseconds: `2026-11-18T09:30:00.123Z`.
    pub fn rfc3339(self) -> String {
        self.display().to_string()
    }

    /// The same, for a formatter.
    pub fn display(self) -> impl fmt::Display {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(RFC3339_LAST_MS));
        humantime::format_rfc3339_millis(time)
    }

    /// The warehouse's partition directory: `ingest_date=2026-11-18`.
    pub fn date_partition(self) -> String {
        format!("{PARTITION_PREFIX}{}", &self.rfc3339()[..10])
    }

    /// The number of its hour since 1970.
    pub fn hour(self) -> u64 {
        self.0 / 3_600_000
    }

    /// The manifest's directory, one component per level: `["2026", "11", "18", "09"]`.
    pub fn hour_partition(self) -> [String; 4] {
        let text = self.rfc3339();
        [&text[0..4], &text[5..7], &text[8..10], &text[11..13]].map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() {
        let digest = Sha256(std::array::from_fn(|i| (i * 37 + 5) as u8));
        assert_eq!(Sha256::from_hex(digest.hex().as_bytes()), Some(digest));
        assert_eq!(Sha256::from_hex(digest.hex().to_uppercase().as_bytes()), Some(digest));
        assert_eq!(Sha256::from_hex(&[b'g'; 64]), None);
        assert_eq!(Sha256::from_hex(b"00"), None);
    }

    #[test]
    fn partitions_are_utc() {
        let instant = UnixMillis(1_763_458_200_123);
        assert_eq!(instant.rfc3339(), "2025-11-18T09:30:00.123Z");
        assert_eq!(instant.date_partition(), "ingest_date=2025-11-18");
        assert_eq!(instant.hour_partition(), ["2025", "11", "18", "09"]);
        assert_eq!(UnixMillis(u64::MAX).date_partition(), "ingest_date=9999-12-31");
    }
}
