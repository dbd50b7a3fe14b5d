//! The name of a consumer.
//!
//! Invariant: a name is a file's name, a label's value and a word of a log line, and needs no escape in any of them.

use std::fmt;
use std::str::FromStr;

use crate::limits::FOLLOW_CONSUMER_BYTES_MAX;

/// A consumer's name: letters, digits, `.`, `_` and `-`, with no dot at its beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Consumer(String);

impl Consumer {
    /// The name.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for Consumer {
    type Err = String;

    fn from_str(text: &str) -> Result<Consumer, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=FOLLOW_CONSUMER_BYTES_MAX).contains(&text.len());
        if !fits || text.starts_with('.') || !text.bytes().all(is_plain) {
            return Err(format!(
                "a consumer's name has 1 to {FOLLOW_CONSUMER_BYTES_MAX} letters, digits, '.', '_' and '-', and does not begin \
                 with '.'"
            ));
        }
        Ok(Consumer(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory_or_forge_a_line() {
        let longest = "x".repeat(FOLLOW_CONSUMER_BYTES_MAX);
        for name in ["a", "A-1_b.c", "-x", "x..", &longest] {
            assert_eq!(name.parse::<Consumer>().unwrap().text(), name);
        }
        let longer = format!("{longest}x");
        for name in ["", ".", "..", ".x", "a/b", "a b", "a\n", "ä", "a\"", &longer] {
            assert!(name.parse::<Consumer>().is_err(), "{name:?}");
        }
    }
}
