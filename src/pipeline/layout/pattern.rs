//! `--name-pattern`: a regular expression with named groups.
//!
//! Invariants:
//! - It works on bytes: `.`, `\d` and `\w` are ASCII, and a name need not be UTF-8.
//! - Its program has a limited size, and the time for a name is at most that size times the name's length.

use std::sync::{Arc, Mutex, PoisonError};

use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::nfa::thompson::{self, BuildError};
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax::{self, parse_with};

use super::error::Error;
use crate::limits::{LAYOUT_TEXT_BYTES_MAX, NAME_PATTERN_NESTING_MAX, NAME_PATTERN_PROGRAM_BYTES_MAX};

/// The option, for messages.
pub(super) const OPTION: &str = "--name-pattern";

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct NamePattern {
    text: String,
    program: PikeVM,
    /// Shared by all clones.
    cache: Arc<Mutex<Cache>>,
    /// The groups' names, each at its number.
    groups: Vec<Option<String>>,
}

impl NamePattern {
    /// Compiles a pattern.
    pub(super) fn new(text: &str) -> Result<NamePattern, Error> {
        if text.len() > LAYOUT_TEXT_BYTES_MAX {
            return Err(Error::whole(OPTION, format!("it is longer than {LAYOUT_TEXT_BYTES_MAX} bytes")));
        }
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(NAME_PATTERN_NESTING_MAX);
        let hir = parse_with(text, &syntax).map_err(|error| match error {
            regex_syntax::Error::Parse(error) => {
                Error::new(OPTION, text, error.span().start.offset, error.kind().to_string())
            }
            regex_syntax::Error::Translate(error) => {
                Error::new(OPTION, text, error.span().start.offset, error.kind().to_string())
            }
            error => Error::whole(OPTION, error.to_string()),
        })?;
        let limits = thompson::Config::new().utf8(false).nfa_size_limit(Some(NAME_PATTERN_PROGRAM_BYTES_MAX));
        let nfa = thompson::Compiler::new().configure(limits).build_from_hir(&hir).map_err(too_large)?;
        let program = PikeVM::new_from_nfa(nfa).map_err(too_large)?;
        let cache = Arc::new(Mutex::new(program.create_cache()));
        let groups = program.get_nfa().group_info().all_names().map(|(_, _, name)| name.map(str::to_owned)).collect();
        Ok(NamePattern { text: text.to_owned(), program, cache, groups })
    }

    /// The pattern, as it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The number of the group with this name.
    pub(super) fn group(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.as_deref() == Some(name))
    }

    /// The groups' names.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flatten().map(String::as_str)
    }

    /// Searches a name; None if nothing in it matches.
    pub(super) fn search(&self, name: &[u8]) -> Option<Captures> {
        let mut found = self.program.create_captures();
        // A cache is valid whatever was done with it before.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        self.program.captures(&mut cache, name, &mut found);
        found.is_match().then_some(found)
    }
}

fn too_large(_: BuildError) -> Error {
    let what = "it takes too much memory: fewer or smaller repetitions such as {1,1000} need less";
    Error::whole(OPTION, what.to_owned())
}
