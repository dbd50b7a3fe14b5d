//! JSON that is safe to print anywhere: characters that would end a line or control a terminal are written as `\uXXXX`,
//! and nothing else is changed.
//!
//! Invariant: all JSON that leaves the program is made here, except the manifests' lines: they are data, and are
//! compared byte by byte with lines that earlier versions wrote.

use serde::Serialize;

use super::escape::is_dangerous;

/// The value on one line.
pub fn text(value: &(impl Serialize + ?Sized)) -> String {
    let mut json = Vec::new();
    append(&mut json, value);
    // serde_json writes only UTF-8.
    String::from_utf8_lossy(&json).into_owned()
}

/// Appends the value, on one line.
pub(super) fn append(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let begin = json.len();
    // Writing numbers and text to memory cannot fail.
    let written = serde_json::to_writer(&mut *json, value);
    assert!(!crate::limits::IS_CHECKED || written.is_ok());
    escape(json, begin);
}

/// The value on several lines, for people, without a line end after the last.
pub fn pretty(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    let mut json = Vec::new();
    let written = serde_json::to_writer_pretty(&mut json, value);
    assert!(!crate::limits::IS_CHECKED || written.is_ok());
    escape(&mut json, 0);
    json
}

/// Escapes dangerous characters from `begin` on. Outside of strings, JSON is ASCII without control characters except
/// line ends; inside of strings, serde_json has escaped those of ASCII, except DEL.
fn escape(json: &mut Vec<u8>, begin: usize) {
    // In most cases there is nothing to do.
    if json[begin..].iter().all(|byte| *byte < 0x7f) {
        return;
    }
    let text = String::from_utf8_lossy(&json[begin..]).into_owned();
    json.truncate(begin);
    for character in text.chars() {
        if character >= '\u{7f}' && is_dangerous(character) {
            // All of them are in the basic plane, where one escape is one character.
            json.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
        } else {
            json.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_characters_are_escaped_and_others_are_not() {
        let value = serde_json::json!({"a\u{85}": ["\u{7f}\u{9f}\u{61c}\u{2028}\u{202e}\u{2069}\n\"é€😀", 1.5, null]});
        let escaped = r#"{"a\u0085":["\u007f\u009f\u061c\u2028\u202e\u2069\n\"é€😀",1.5,null]}"#;
        assert_eq!(text(&value), escaped);
        for json in [text(&value).into_bytes(), pretty(&value)] {
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap(), value);
        }
        let mut json = "\u{85}".as_bytes().to_vec();
        append(&mut json, "\u{86}");
        assert_eq!(json, "\u{85}\"\\u0086\"".as_bytes(), "only what is appended");
    }
}
