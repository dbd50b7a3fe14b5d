//! The values of `--include` and `--exclude`.
//!
//! Invariant: a pattern is checked when it is read, and again, all together, when they are compiled.

use crate::config;
use crate::pipeline::scan::patterns::{self, Patterns};

/// Reads one `--include`.
pub(super) fn checked_include(pattern: &str) -> Result<String, patterns::Error> {
    let pattern = [pattern.to_owned()];
    Patterns::of_wanted(&pattern).map(|_| pattern.concat())
}

/// Reads one `--exclude`.
pub(super) fn checked_exclude(pattern: &str) -> Result<String, patterns::Error> {
    let pattern = [pattern.to_owned()];
    Patterns::new(&pattern).map(|_| pattern.concat())
}

/// The patterns of `--include`.
pub(super) fn include(patterns: &[String]) -> Result<Option<Patterns>, config::Error> {
    Patterns::of_wanted(patterns).map_err(|error| refused("--include", &error))
}

/// The patterns of `--exclude`.
pub(super) fn exclude(patterns: &[String]) -> Result<Option<Patterns>, config::Error> {
    Patterns::new(patterns).map_err(|error| refused("--exclude", &error))
}

fn refused(option: &str, error: &patterns::Error) -> config::Error {
    config::Error::Options(format!("{option}: {error}"))
}
