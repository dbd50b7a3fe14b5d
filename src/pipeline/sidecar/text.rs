//! Decodes a sidecar's bytes to text, whatever encoding its writer uses.
//!
//! Invariant: the returned text has no NUL byte, and the bytes of names that are not UTF-8 are kept as they are.

use std::borrow::Cow;

const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16_LE_MARK: &[u8] = b"\xff\xfe";
const UTF_16_BE_MARK: &[u8] = b"\xfe\xff";

/// The text, and whether it contained NUL bytes. Accepts UTF-8 with or without a byte order mark, and UTF-16 with one, or
/// without one if the zeros show it. Remaining NUL bytes are removed if they are half of all bytes (UTF-32) or at the
/// end; elsewhere they become line ends, as `sha256sum --zero` writes them.
pub(super) fn decode(bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let text = if let Some(rest) = bytes.strip_prefix(UTF_8_MARK) {
        Cow::Borrowed(rest)
    } else if let Some(rest) = bytes.strip_prefix(UTF_16_LE_MARK) {
        utf_16(rest, u16::from_le_bytes)
    } else if let Some(rest) = bytes.strip_prefix(UTF_16_BE_MARK) {
        utf_16(rest, u16::from_be_bytes)
    } else {
        match zeros(bytes) {
            (true, false) => utf_16(bytes, u16::from_be_bytes),
            (false, true) => utf_16(bytes, u16::from_le_bytes),
            _ => Cow::Borrowed(bytes),
        }
    };
    let has_zeros = text.contains(&0);
    let text = if has_zeros { Cow::Owned(without_zeros(&text)) } else { text };
    // A tool that joins files leaves one mark after another.
    match text {
        Cow::Owned(text) if text.starts_with(UTF_8_MARK) => (Cow::Owned(text[UTF_8_MARK.len()..].to_vec()), has_zeros),
        text => (text, has_zeros),
    }
}

fn without_zeros(text: &[u8]) -> Vec<u8> {
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = &text[..end];
    let zeros = text.iter().filter(|byte| **byte == 0).count();
    if 2 * zeros + 1 >= text.len() {
        return text.iter().copied().filter(|byte| *byte != 0).collect();
    }
    text.iter().map(|byte| if *byte == 0 { b'\n' } else { *byte }).collect()
}

/// The first flag: most pairs have a zero as first byte, and none has one as second byte. The second flag: the reverse.
fn zeros(bytes: &[u8]) -> (bool, bool) {
    let pairs = bytes.chunks_exact(2);
    let (count, mut first, mut second) = (pairs.len(), 0, 0);
    for pair in pairs {
        first += usize::from(pair[0] == 0);
        second += usize::from(pair[1] == 0);
    }
    (2 * first > count && second == 0, 2 * second > count && first == 0)
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'static, [u8]> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    Cow::Owned(String::from_utf16_lossy(&units).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "d41d8cd9  größe.csv\r\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [UTF_8_MARK, text.as_bytes()].concat(),
            [UTF_16_LE_MARK, &little].concat(),
            [UTF_16_BE_MARK, &big].concat(),
            little,
            big,
            [text.as_bytes(), &[0; 9]].concat(),
        ] {
            assert_eq!(&*decode(&bytes).0, text.as_bytes(), "{bytes:?}");
        }
        let ascii: Vec<u8> = b"abc".iter().flat_map(|byte| u32::from(*byte).to_le_bytes()).collect();
        assert_eq!(&*decode(&[&[0xff, 0xfe, 0, 0], &ascii[..]].concat()).0, b"abc");
        let big: Vec<u8> = b"abc".iter().flat_map(|byte| u32::from(*byte).to_be_bytes()).collect();
        assert_eq!(&*decode(&big).0, b"abc");
        assert_eq!(&*decode(b"one  a.csv\0two  b.csv\0").0, b"one  a.csv\ntwo  b.csv");
        assert_eq!(decode(b"\0\0\0"), (Cow::Borrowed(&b""[..]), true));
        assert_eq!(decode(b"\xffname"), (Cow::Borrowed(&b"\xffname"[..]), false));
    }
}
