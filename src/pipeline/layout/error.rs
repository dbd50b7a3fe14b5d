//! Why a layout is refused at the start.

use std::fmt;

/// A template or a pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The option.
    pub option: &'static str,
    /// The character at which it is wrong, from 1; 0 if it is wrong as a whole.
    pub at: usize,
    /// What is wrong.
    pub what: String,
}

impl Error {
    /// The error at a byte of the option's text.
    pub(super) fn new(option: &'static str, text: &str, byte: usize, what: String) -> Error {
        let before = &text[..text.floor_char_boundary(byte)];
        Error { option, at: before.chars().count() + 1, what }
    }

    /// The error of the whole text.
    pub(super) fn whole(option: &'static str, what: String) -> Error {
        Error { option, at: 0, what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            0 => write!(f, "{}: {}", self.option, self.what),
            at => write!(f, "{}, character {at}: {}", self.option, self.what),
        }
    }
}

impl std::error::Error for Error {}
