//! Text that a line or a terminal obeys in nothing.

use std::fmt::Write as _;
use std::path::Path;

/// True for what a line or a terminal would obey: control characters, line separators, and what reorders text.
pub fn is_dangerous(character: char) -> bool {
    let reorders =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || reorders
}

/// Quoted, with every control character (those above ASCII too, which terminals obey) and every character that
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

/// The text with control characters escaped, unquoted.
pub(crate) fn escaped_line(text: &str) -> String {
    if text.chars().any(is_dangerous) { escaped(text) } else { text.to_owned() }
}

/// A path as it is, or quoted and escaped if it holds characters that a line or a terminal would obey.
pub fn path_text(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(|c| is_dangerous(c) || c == '"') => text.to_owned(),
        _ => escaped(&path.to_string_lossy()),
    }
}
