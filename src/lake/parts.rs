//! How a content that is too large for a pack is cut into the parts of an upload.
//!
//! Invariants:
//! - The cut depends on the content's size alone, so that a host that starts again finds the same parts.
//! - All parts but the last have one size, as some stores demand, and there are at most [`LAKE_PARTS_MAX`] of them.

use sha2::Digest as _;

use crate::limits::{
    LAKE_PACKED_FILE_BYTES_MAX, LAKE_PART_BYTES, LAKE_PARTS_BYTES_MAX, LAKE_PARTS_IN_FLIGHT, LAKE_PARTS_MAX,
};
use crate::types::Sha256;

/// Where contents are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of a content that goes into a pack, at most.
    pub packed_max: u64,
    /// Bytes of a part, unless the content would have too many of them. At least 1.
    pub part: u64,
}

impl Cut {
    /// Where hosts cut.
    pub const USUAL: Cut = Cut { packed_max: LAKE_PACKED_FILE_BYTES_MAX, part: LAKE_PART_BYTES };

    /// True for a content that is uploaded in parts.
    pub fn is_large(&self, size: u64) -> bool {
        size > self.packed_max
    }

    /// Bytes of each part but the last.
    pub fn part_bytes(&self, size: u64) -> u64 {
        let part = self.part.max(1);
        part.saturating_mul(size.div_ceil(part.saturating_mul(LAKE_PARTS_MAX as u64)).max(1))
    }

    /// The number of parts, at least 1.
    pub fn parts(&self, size: u64) -> usize {
        usize::try_from(size.div_ceil(self.part_bytes(size)).max(1)).unwrap_or(usize::MAX)
    }

    /// Where a part, from 0, begins, and its bytes.
    pub fn range(&self, size: u64, part: usize) -> (u64, u64) {
        let bytes = self.part_bytes(size);
        let begin = bytes.saturating_mul(part as u64).min(size);
        (begin, bytes.min(size - begin))
    }

    /// The number of parts that may be in memory at once.
    pub fn at_once(&self, size: u64) -> usize {
        let fit = usize::try_from(LAKE_PARTS_BYTES_MAX / self.part_bytes(size)).unwrap_or(usize::MAX);
        fit.clamp(1, LAKE_PARTS_IN_FLIGHT)
    }
}

/// Computes the SHA-256 of each part while a content is read for its own.
pub struct PartSums {
    part_bytes: u64,
    hasher: sha2::Sha256,
    /// Bytes that the present part still takes.
    left: u64,
    sums: Vec<Sha256>,
}

impl PartSums {
    /// For a content of this size; None for one that is not cut.
    pub fn of(size: u64, cut: &Cut) -> Option<PartSums> {
        let part_bytes = cut.part_bytes(size);
        let sums = PartSums { part_bytes, hasher: sha2::Sha256::new(), left: part_bytes, sums: Vec::new() };
        cut.is_large(size).then_some(sums)
    }

    /// Takes the content's next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let now = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.hasher.update(&bytes[..now]);
            (bytes, self.left) = (&bytes[now..], self.left - now as u64);
            if self.left == 0 {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        self.sums.push(Sha256(self.hasher.finalize_reset().into()));
        self.left = self.part_bytes;
    }

    /// The sums, when the content is over.
    pub fn finish(mut self) -> Vec<Sha256> {
        if self.left < self.part_bytes {
            self.end_part();
        }
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_parts_whatever_the_pieces() {
        let cut = Cut { packed_max: 10, part: 16 };
        assert!(PartSums::of(10, &cut).is_none());
        for size in [11, 16, 17, 32, 75] {
            let bytes: Vec<u8> = (0..size).collect();
            let parts = bytes.chunks(16).map(|part| Sha256(sha2::Sha256::digest(part).into()));
            let expected: Vec<Sha256> = parts.collect();
            assert_eq!(expected.len(), cut.parts(u64::from(size)));
            for piece in [1, 7, 16, 40, 100] {
                let mut sums = PartSums::of(u64::from(size), &cut).unwrap();
                bytes.chunks(piece).for_each(|piece| sums.update(piece));
                assert_eq!(sums.finish(), expected, "{size} bytes in pieces of {piece}");
            }
        }
    }
    use crate::limits::LAKE_FILE_BYTES_MAX;

    #[test]
    fn parts_cover_contents_of_any_size() {
        let mib = 1 << 20;
        for (size, part_bytes, parts, at_once) in [
            (0, 16 * mib, 1, 4),
            (16 * mib, 16 * mib, 1, 4),
            (16 * mib + 1, 16 * mib, 2, 4),
            (5 << 30, 16 * mib, 320, 4),
            (100_000_000_000, 16 * mib, 5_961, 4),
            (160_000 * mib, 16 * mib, 10_000, 4),
            (160_000 * mib + 1, 32 * mib, 5_001, 2),
            (LAKE_FILE_BYTES_MAX, 528 * mib, 9_930, 1),
        ] {
            let cut = Cut::USUAL;
            assert_eq!((cut.part_bytes(size), cut.parts(size), cut.at_once(size)), (part_bytes, parts, at_once));
            let mut end = 0;
            for part in 0..parts {
                let (begin, bytes) = cut.range(size, part);
                assert!(begin == end && (bytes == part_bytes || part + 1 == parts), "{size}: part {part}");
                end += bytes;
            }
            assert_eq!(end, size);
        }
    }
}
