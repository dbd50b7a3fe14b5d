//! A lake's id.
//!
//! Invariant: it is written as 32 lower-case hex digits, and in no other way.

use std::fmt;

use crate::types::Sha256;

/// Identifies a lake: random, drawn when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LakeId(pub [u8; 16]);

impl LakeId {
    /// Reads 32 lower-case hex digits.
    pub(super) fn from_hex(text: &str) -> Option<LakeId> {
        let digits = (text.len() == 32).then(|| text.repeat(2))?;
        let Sha256(twice) = Sha256::from_hex(digits.as_bytes())?;
        let id = LakeId(std::array::from_fn(|at| twice[at]));
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for LakeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
