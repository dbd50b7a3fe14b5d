//! Recovers a file's salt when its header is lost: every checksum in the file begins with the salt.
//!
//! A CRC of four unknown bytes and many known ones can be run backwards, so each frame (or block) yields the one salt
//! that makes it valid. A good frame yields the true salt, a bad one a random value; two that agree are no accident.

use hashbrown::HashMap;

/// The Castagnoli polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The most frames or blocks that vote.
pub(in crate::journal) const VOTERS_MAX: usize = 1 << 16;

/// One bit of a CRC, backwards.
fn back(register: u32) -> u32 {
    if register & 0x8000_0000 == 0 { register << 1 } else { (register ^ POLYNOMIAL) << 1 | 1 }
}

/// The four bytes before `known` that make the CRC32C of all of it `checksum`.
pub(in crate::journal) fn from_checksum(checksum: u32, known: &[u8]) -> u32 {
    let mut register = !checksum;
    for byte in known.iter().rev() {
        register = (0..8).fold(register, |register, _| back(register)) ^ u32::from(*byte);
    }
    !(0..32).fold(register, |register, _| back(register))
}

/// Counts the votes for each salt.
#[derive(Default)]
pub(in crate::journal) struct Votes(HashMap<u32, u32>);

impl Votes {
    pub(in crate::journal) fn cast(&mut self, salt: u32) {
        *self.0.entry(salt).or_default() += 1;
    }

    /// The salt with the most votes, at least two: a single voter may be damaged, since each one fits its own salt.
    pub(in crate::journal) fn winner(&self) -> Option<u32> {
        let most = self.0.iter().max_by_key(|(salt, count)| (**count, **salt));
        most.filter(|(_, count)| **count >= 2).map(|(salt, _)| *salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_comes_back() {
        for salt in [0_u32, 1, 0x5eed_f00d, u32::MAX] {
            for known in [&b""[..], b"x", b"header and payload", &[0; 4096]] {
                let checksum = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), known);
                assert_eq!(from_checksum(checksum, known), salt);
            }
        }
    }
}
