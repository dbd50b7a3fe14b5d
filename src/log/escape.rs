//! Escapes text so that it cannot end a line or control a terminal.

use std::fmt::Write as _;
use std::path::Path;

/// True for control characters, line separators, and characters that reorder text: they would end a line or control a
/// terminal.
pub fn is_dangerous(character: char) -> bool {
    let reorders =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || reorders
}

/// Quoted, with every control character (including those above ASCII, which terminals obey) and every character that
/// reorders text escaped.
pub fn escaped(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if is_dangerous(character) => {
                let _ = write!(quoted, "\\u{:04x}", character as u32);
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// The text; quoted and escaped if it contains dangerous characters.
pub(crate) fn escaped_line(text: &str) -> String {
    if text.chars().any(is_dangerous) { escaped(text) } else { text.to_owned() }
}

/// The path; quoted and escaped if it contains dangerous characters or quotes.
pub fn path_text(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(|c| is_dangerous(c) || c == '"') => text.to_owned(),
        _ => escaped(&path.to_string_lossy()),
    }
}
