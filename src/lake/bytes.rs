//! Little-endian fields, and texts with their lengths before them.
//!
//! Invariant: reading never panics, and never reads past the end: a field that is not there is None.

use sha2::Digest as _;

use crate::types::Sha256;

/// The SHA-256 of these bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// What is left to be read.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn digest(&mut self) -> Option<Sha256> {
        self.array().map(Sha256)
    }

    /// A text of at most `max` bytes, with its length in a u16 before it.
    pub(super) fn text(&mut self, max: usize) -> Option<String> {
        let length = usize::from(self.u16()?);
        let bytes = self.take(length).filter(|_| length <= max)?;
        String::from_utf8(bytes.to_vec()).ok()
    }

    /// Bytes, at most `max`, with their number in a u32 before them.
    pub(super) fn blob(&mut self, max: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length).filter(|_| length <= max).map(<[u8]>::to_vec)
    }

    /// A count of items of at least `bytes_min` bytes each, so that a wrong one reserves no memory.
    pub(super) fn count(&mut self, max: usize, bytes_min: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count <= max && count <= self.0.len() / bytes_min.max(1)).then_some(count)
    }
}

/// Appends a text's length and the text.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    assert!(!crate::limits::IS_CHECKED || u16::try_from(text.len()).is_ok(), "the limits on texts are below 64 KiB");
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends the number of bytes and the bytes.
pub(super) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a count.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    assert!(!crate::limits::IS_CHECKED || u32::try_from(count).is_ok(), "the limits on counts are below 2^32");
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    /// Tests check what the program takes for granted.
    #[test]
    #[should_panic(expected = "below 64 KiB")]
    fn a_text_that_is_too_long_is_noticed_in_tests() {
        super::put_text(&mut Vec::new(), &"x".repeat(1 << 16));
    }
}
