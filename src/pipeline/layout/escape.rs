//! Escapes values for the names of directories.
//!
//! Invariant: what comes out is UTF-8, has no `/`, and belongs to one value only.

/// The characters that Hive escapes besides control characters: `charToEscape` in Hive's
/// `common/src/java/org/apache/hadoop/hive/common/FileUtils.java` (`escapePathName`). Spark has the same list in
/// `ExternalCatalogUtils.scala`.
const ESCAPED: &[u8] = b"\"#%'*/:=?\\\x7f{[]^";

/// True for a byte that [`escape`] does not keep. Bytes of characters beyond ASCII are kept.
pub(super) fn is_escaped(byte: u8) -> bool {
    byte < b' ' || ESCAPED.contains(&byte)
}

/// Appends a value, with `%` and two upper-case hex digits for each byte that Hive escapes, and for each byte that is
/// not part of UTF-8: readers take names for text.
pub(super) fn escape(value: &[u8], out: &mut Vec<u8>) {
    for chunk in value.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            if is_escaped(byte) { put(byte, out) } else { out.push(byte) }
        }
        chunk.invalid().iter().for_each(|byte| put(*byte, out));
    }
}

fn put(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("%{byte:02X}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(value: &[u8]) -> String {
        let mut out = Vec::new();
        escape(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Why: readers unescape by Hive's list. What it does not have must stay as it is.
    #[test]
    fn it_escapes_what_hive_escapes_and_nothing_else() {
        for (value, expected) in [
            ("plain-1.2_x", "plain-1.2_x"),
            ("a b,c;d&e!f$g(h)i+j@k~l`m|n<o>p}q", "a b,c;d&e!f$g(h)i+j@k~l`m|n<o>p}q"),
            ("a/b", "a%2Fb"),
            ("50%", "50%25"),
            ("\"#%'*/:=?\\{[]^", "%22%23%25%27%2A%2F%3A%3D%3F%5C%7B%5B%5D%5E"),
            ("\u{1}\n\u{1f}\u{7f}", "%01%0A%1F%7F"),
            ("größe", "größe"),
        ] {
            assert_eq!(escaped(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!(escaped(b"gr\xf6\xdfe"), "gr%F6%DFe");
        assert_eq!(escaped(b"\xe2\x82"), "%E2%82");
    }
}
