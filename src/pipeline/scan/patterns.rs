//! The patterns of `--include` and `--exclude`.
//!
//! Invariant: a pattern that can match nothing, or that looks like several patterns in one, is refused, and the message
//! shows the right form. Otherwise nothing, or too much, would be ingested without any message.

use std::ffi::OsStr;

use super::names::{Ignored, ends_as_temporary, ignored_always};
use crate::glob::Globs;

/// Patterns of names, of which one has to match.
#[derive(Clone, Debug)]
pub struct Patterns {
    exact: Globs,
    any_case: Globs,
    texts: Vec<String>,
}

/// A pattern that is probably not what the user meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The pattern has a syntax error.
    #[error("{0}")]
    Glob(String),
    /// No name is empty.
    #[error("the pattern is empty, so it matches no name; leave the option out, or write '*.csv'")]
    Empty,
    /// No name contains a slash.
    #[error("{pattern:?} holds a '/', so it matches no name: names are matched, not paths; write {right:?}")]
    Slash {
        /// The pattern.
        pattern: String,
        /// Probably what the user meant.
        right: String,
    },
    /// Several patterns in one.
    #[error(
        "{pattern:?} is one pattern, with {separator:?} in it; for alternatives write {right:?} (for the character itself, {literal:?})"
    )]
    Several {
        /// The pattern.
        pattern: String,
        /// The separator between them.
        separator: char,
        /// Probably what the user meant.
        right: String,
        /// How to write the character itself.
        literal: String,
    },
    /// A pattern in quotes, which a shell would have removed.
    #[error("{pattern:?} has quotes in it, so it matches only names with quotes; write {right}")]
    Quoted {
        /// The pattern.
        pattern: String,
        /// Probably what the user meant.
        right: String,
    },
    /// All names that it matches are always ignored.
    #[error("{pattern:?} can match nothing: {why}{}", right.as_ref().map_or(String::new(), |right| format!("; write {right:?}")))]
    Ignored {
        /// The pattern.
        pattern: String,
        /// Why these names are ignored.
        why: &'static str,
        /// Perhaps what the user meant.
        right: Option<String>,
    },
}

/// Characters that users take for separators of alternatives.
const SEPARATORS: [char; 4] = [',', ';', '|', ' '];

impl Patterns {
    /// Compiles patterns; None if there are none.
    pub fn new(texts: &[String]) -> Result<Option<Patterns>, Error> {
        if texts.is_empty() {
            return Ok(None);
        }
        texts.iter().try_for_each(|text| check(text))?;
        let globs = |any_case| Globs::new(texts, any_case).map_err(Error::Glob);
        let (exact, any_case) = (globs(false)?, globs(true)?);
        Ok(Some(Patterns { exact, any_case, texts: texts.to_vec() }))
    }

    /// Compiles patterns of names to be ingested. A pattern for names that are always ignored is refused as well.
    pub fn of_wanted(texts: &[String]) -> Result<Option<Patterns>, Error> {
        let patterns = Patterns::new(texts)?;
        texts.iter().try_for_each(|text| check_wanted(text)).map(|()| patterns)
    }

    /// True if one of them matches.
    pub fn matches(&self, name: &OsStr) -> bool {
        self.exact.is_match(name)
    }

    /// True if none matches, but one would in another case.
    pub fn matches_but_for_case(&self, name: &OsStr) -> bool {
        self.any_case.is_match(name) && !self.exact.is_match(name)
    }

    /// The patterns, as given.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

fn check(text: &str) -> Result<(), Error> {
    let pattern = || text.to_owned();
    if text.trim().is_empty() {
        return Err(Error::Empty);
    }
    let inner = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
        return Err(Error::Quoted { pattern: pattern(), right: inner.to_owned() });
    }
    // `**/` also matches no directory at all.
    if text.trim_start_matches("**/").contains('/') {
        let right = match text.trim_end_matches('/').rsplit('/').next() {
            // A part of a brace group is not a pattern.
            Some(last) if last.contains(['{', '}']) => "{*.csv,*.tsv}",
            Some(last) if !last.is_empty() && last != "**" => last,
            _ => "*.csv",
        };
        return Err(Error::Slash { pattern: pattern(), right: right.to_owned() });
    }
    for separator in SEPARATORS {
        let parts: Vec<&str> = outside_of_groups(text, separator);
        let given: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
        let are_meant = match separator {
            // At an end of the pattern it separates nothing.
            ',' => given.len() < parts.len() || given.iter().all(|part| part.contains(['.', '*', '?', '['])),
            _ => given.iter().all(|part| part.contains('.') && part.contains(['*', '?'])),
        };
        if parts.len() > 1 && are_meant {
            let right = match given.as_slice() {
                [one] => (*one).to_owned(),
                several => format!("{{{}}}", several.join(",")),
            };
            return Err(Error::Several { pattern: pattern(), separator, right, literal: format!("[{separator}]") });
        }
    }
    Ok(())
}

/// The parts of a pattern between separators that are in no braces, in no brackets, and not escaped with a backslash.
fn outside_of_groups(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut begin, mut braces, mut in_class, mut is_escaped) = (Vec::new(), 0, 0_u32, false, false);
    for (at, character) in text.char_indices() {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match character {
            '\\' => is_escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '{' if !in_class => braces += 1,
            '}' if !in_class => braces = braces.saturating_sub(1),
            _ if character == separator && !in_class && braces == 0 => {
                parts.push(&text[begin..at]);
                begin = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Refuses a pattern whose literal beginning or end makes every name that it matches an ignored one.
fn check_wanted(text: &str) -> Result<(), Error> {
    const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];
    let refuse =
        |why: Ignored, right: Option<String>| Err(Error::Ignored { pattern: text.to_owned(), why: why.text(), right });
    if text.starts_with('.') {
        let right = text.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || c == '.').then(|| format!("*{text}"));
        return refuse(Ignored::Hidden, right);
    }
    let end = text.rfind(SPECIAL).map_or(0, |at| at + 1);
    // Whatever the special characters before the end match.
    if end > 0 && ends_as_temporary(format!("x{}", &text[end..]).as_bytes()) {
        return refuse(Ignored::Temporary, None);
    }
    match ignored_always(text.as_bytes()).filter(|_| end == 0) {
        Some(why) => refuse(why, None),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        Patterns::of_wanted(&[text.to_owned()]).err().map(|error| error.to_string())
    }

    /// Why: with such a pattern nothing was ingested, possibly for months, and no message said why.
    #[test]
    fn patterns_that_can_match_nothing_are_refused_with_the_right_form() {
        for (pattern, right) in [
            ("", "*.csv"),
            (" ", "*.csv"),
            ("/data/staging/*.csv", "\"*.csv\""),
            ("sub/*.csv", "\"*.csv\""),
            ("**/sub/*.csv", "\"*.csv\""),
            ("*.csv/", "\"*.csv\""),
            ("sub/**", "\"*.csv\""),
            ("{a/*.csv,b/*.csv}", "{*.csv,*.tsv}"),
            ("*.csv,*.tsv", "{*.csv,*.tsv}"),
            ("*.csv, *.tsv", "{*.csv,*.tsv}"),
            ("*.csv;*.tsv", "{*.csv,*.tsv}"),
            ("*.csv|*.tsv", "{*.csv,*.tsv}"),
            ("*.csv *.tsv", "{*.csv,*.tsv}"),
            ("a.csv,b.csv", "{a.csv,b.csv}"),
            ("*.csv,", "\"*.csv\""),
            ("\"*.csv\"", "write *.csv"),
            ("'*.csv'", "write *.csv"),
            (".csv", "\"*.csv\""),
            (".hidden*", "ignored always"),
            ("*.part", "temporary"),
            ("*.csv.TMP", "temporary"),
            ("Thumbs.db", "no data"),
        ] {
            let message = refused(pattern).unwrap_or_else(|| panic!("{pattern} is taken"));
            assert!(message.contains(right), "{pattern}: {message}");
        }
        assert!(refused("{*.csv").is_some() && refused("[").is_some());
    }

    /// Why: a name may contain any of these characters.
    #[test]
    fn patterns_that_mean_what_they_say_are_taken() {
        for pattern in [
            "*",
            "*.csv",
            "{*.csv,*.tsv}",
            "**/*.csv",
            "Doe, John*.csv",
            "sales[,]*.csv",
            "sales\\,*.csv",
            "daily report *.csv",
            "a;b.csv",
            "{*.csv,*.part}",
            "*[.]csv",
            "[{,]*.csv",
        ] {
            assert_eq!(refused(pattern), None, "{pattern}");
        }
        let hidden = Patterns::new(&[".*".to_owned(), "*.tmp".to_owned()]);
        assert!(hidden.is_ok(), "what is excluded may be ignored anyway");
    }
}
