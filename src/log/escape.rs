//! Escapes text so that it cannot end a line or control a terminal.

use std::fmt::Write as _;
use std::path::Path;

/// The end of a text that was cut.
const CUT: &str = " ...";

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

/// A text of others, in one line, without control characters and not too long: at most `bytes_max`, and what says that more
/// was there.
pub(crate) fn shortened(text: &str, bytes_max: usize) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|character| !character.is_control());
    if line.len() > bytes_max {
        line.truncate(line.floor_char_boundary(bytes_max));
        line.push_str(CUT);
    }
    line
}

/// The path; quoted and escaped if it contains dangerous characters or quotes.
pub fn path_text(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(|c| is_dangerous(c) || c == '"') => text.to_owned(),
        _ => escaped(&path.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_one_short_line() {
        assert_eq!(shortened("a\n b\t\u{7}c\u{1b}[1m", 40), "a b c[1m");
        assert_eq!(shortened(&"x".repeat(40), 40), "x".repeat(40));
        assert_eq!(shortened(&"x".repeat(41), 40), format!("{}{CUT}", "x".repeat(40)));
        assert_eq!(shortened(&"ä".repeat(41), 41), format!("{}{CUT}", "ä".repeat(20)), "no half character");
    }
}
