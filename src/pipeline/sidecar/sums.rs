//! The checksums that a sidecar demands, and those that the file has.
//!
//! Invariant: besides SHA-256, only demanded checksums are computed, all in one pass.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha384, Sha512};

use crate::types::{Algorithm, Sha256};

/// A checksum, as hex digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// Its digits.
    pub hex: String,
}

/// The checksums that a sidecar demands: from each of these groups, one sum must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    pub(super) groups: Vec<Vec<Sum>>,
}

/// A file that does not have the checksum in its sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The file's sum, by the algorithm of `expected`.
    pub actual: Sum,
    /// The first sum of the group that does not match.
    pub expected: Sum,
    /// How many further sums the group has.
    pub others: usize,
}

impl Demand {
    /// The demand for one SHA-256.
    pub fn sha256(sha256: &Sha256) -> Demand {
        Demand { groups: vec![vec![Sum { algorithm: Algorithm::Sha256, hex: sha256.hex() }]] }
    }

    /// True if every file meets it.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn wants(&self, algorithm: Algorithm) -> bool {
        self.groups.iter().flatten().any(|sum| sum.algorithm == algorithm)
    }

    /// The strongest sum that matched; None if nothing is demanded.
    ///
    /// # Errors
    /// The first group without a match.
    pub fn check(&self, found: &FoundSums) -> Result<Option<Algorithm>, Mismatch> {
        let mut strongest = None;
        for group in &self.groups {
            let matching = group.iter().filter(|sum| found.hex(sum.algorithm).as_ref() == Some(&sum.hex));
            match (matching.map(|sum| sum.algorithm).max(), group.first()) {
                (Some(algorithm), _) => strongest = strongest.max(Some(algorithm)),
                (None, Some(first)) => {
                    let actual = Sum { hex: found.hex(first.algorithm).unwrap_or_default(), ..*first };
                    return Err(Mismatch { actual, expected: first.clone(), others: group.len() - 1 });
                }
                (None, None) => {}
            }
        }
        Ok(strongest)
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (actual, expected) = (&self.actual, &self.expected);
        write!(f, "{} is {}, but the sidecar says {}", actual.algorithm.name(), actual.hex, expected.hex)?;
        match self.others {
            0 => Ok(()),
            others => write!(f, " (and {others} more; none matches)"),
        }
    }
}

impl Mismatch {
    /// The algorithm of the sum that differs.
    pub fn algorithm(&self) -> Algorithm {
        self.expected.algorithm
    }
}

/// Computes the checksums of a file.
pub struct Summer {
    sha256: sha2::Sha256,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha384: Option<Sha384>,
    sha512: Option<Sha512>,
}

/// The checksums of a file.
pub struct FoundSums {
    /// Always computed.
    pub sha256: Sha256,
    others: Vec<Sum>,
}

impl Summer {
    /// Computes SHA-256 and the demanded checksums.
    pub fn new(demand: &Demand) -> Summer {
        Summer {
            sha256: sha2::Sha256::new(),
            md5: demand.wants(Algorithm::Md5).then(Md5::new),
            sha1: demand.wants(Algorithm::Sha1).then(Sha1::new),
            sha384: demand.wants(Algorithm::Sha384).then(Sha384::new),
            sha512: demand.wants(Algorithm::Sha512).then(Sha512::new),
        }
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        fn more<D: Digest>(digest: &mut Option<D>, piece: &[u8]) {
            if let Some(digest) = digest {
                digest.update(piece);
            }
        }
        self.sha256.update(piece);
        more(&mut self.md5, piece);
        more(&mut self.sha1, piece);
        more(&mut self.sha384, piece);
        more(&mut self.sha512, piece);
    }

    /// The checksums of all pieces.
    pub fn finish(self) -> FoundSums {
        fn sum<D: Digest>(digest: Option<D>, algorithm: Algorithm) -> Option<Sum> {
            let digest = digest?.finalize();
            Some(Sum { algorithm, hex: digest.iter().map(|byte| format!("{byte:02x}")).collect() })
        }
        let others = [
            sum(self.md5, Algorithm::Md5),
            sum(self.sha1, Algorithm::Sha1),
            sum(self.sha384, Algorithm::Sha384),
            sum(self.sha512, Algorithm::Sha512),
        ];
        FoundSums { sha256: Sha256(self.sha256.finalize().into()), others: others.into_iter().flatten().collect() }
    }
}

impl FoundSums {
    /// The sum of a demanded algorithm, or SHA-256.
    pub fn hex(&self, algorithm: Algorithm) -> Option<String> {
        match algorithm {
            Algorithm::Sha256 => Some(self.sha256.hex()),
            algorithm => self.others.iter().find(|sum| sum.algorithm == algorithm).map(|sum| sum.hex.clone()),
        }
    }
}
