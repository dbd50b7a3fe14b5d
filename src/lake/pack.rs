//! The bytes of many small files in one object, until they are published.
//!
//! Invariants:
//! - A pack is the contents' bytes, one after the other, and nothing else; where each begins is in the entry.
//! - Its key is random and holds its checksum: it is never used again, and what is at the key is the pack or not whole.
//! - A content taken from a pack is checked against its SHA-256.

use super::bytes::sha256;
use super::keys;
use crate::types::Sha256;

/// A pack and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Its key.
    pub key: String,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where each content begins, in the order in which they were given.
    pub offsets: Vec<u64>,
}

impl Pack {
    /// Packs these contents for an entry of a shard whose number is `since` or a little higher.
    pub fn of(shard: u16, since: u64, random: &[u8; 16], contents: &[Vec<u8>]) -> Pack {
        let mut bytes = Vec::with_capacity(contents.iter().map(Vec::len).sum());
        let mut offsets = Vec::with_capacity(contents.len());
        for content in contents {
            offsets.push(bytes.len() as u64);
            bytes.extend_from_slice(content);
        }
        let sha256 = sha256(&bytes);
        Pack { key: keys::pack(shard, since, random, &sha256), sha256, bytes, offsets }
    }
}

/// The content with this SHA-256, if it is there in the pack.
pub fn content<'a>(pack: &'a [u8], offset: u64, size: u64, expected: &Sha256) -> Option<&'a [u8]> {
    let from = usize::try_from(offset).ok()?;
    let to = usize::try_from(offset.checked_add(size)?).ok()?;
    pack.get(from..to).filter(|bytes| sha256(bytes) == *expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_out_as_they_went_in() {
        let contents = [b"one".to_vec(), Vec::new(), b"three".to_vec()];
        let pack = Pack::of(3, 42, &[1; 16], &contents);
        assert_eq!(keys::pack_place(&pack.key), Some((3, 42)));
        assert!(pack.key.ends_with(&pack.sha256.hex()));
        for (bytes, offset) in contents.iter().zip(&pack.offsets) {
            let taken = content(&pack.bytes, *offset, bytes.len() as u64, &sha256(bytes));
            assert_eq!(taken, Some(bytes.as_slice()));
        }
        assert_eq!(content(&pack.bytes, 0, 3, &sha256(b"two")), None);
        assert_eq!(content(&pack.bytes, 6, 3, &sha256(b"one")), None);
        assert_eq!(content(&pack.bytes, u64::MAX, 3, &sha256(b"one")), None);
    }
}
