//! Random identifiers: a journal's UUID, and the salts of its files.
//!
//! Invariant: [`from_hex`] accepts exactly the output of [`hex`].

use crate::fs::Fs;

/// Lower-case hex of a UUID.
pub fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

/// Parses the output of [`hex`].
pub fn from_hex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let store = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    store.map(u128::to_be_bytes)
}

/// A salt for a new file.
pub(in crate::journal) fn random_u32<F: Fs>(fs: &F) -> u32 {
    let bytes = fs.random();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
