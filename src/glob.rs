//! Globs, compiled. They are matched by the same small engine as `--name-pattern`: a faster one would enlarge the program
//! by a quarter of a megabyte, and a name takes this one about a microsecond.
//!
//! Invariant: names are bytes, and are matched as a whole.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use globset::{Glob, GlobBuilder};
use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::util::syntax;

use crate::limits::GLOBS_PROGRAM_BYTES_MAX;

/// Globs, of which one has to match.
#[derive(Clone, Debug)]
pub struct Globs {
    program: PikeVM,
    /// Shared by all clones.
    cache: Arc<Mutex<Cache>>,
}

impl Globs {
    /// Compiles globs.
    ///
    /// # Errors
    /// The message says which glob has what mistake, or that they are too many.
    pub fn new(texts: &[impl AsRef<str>], any_case: bool) -> Result<Globs, String> {
        let glob = |text: &str| GlobBuilder::new(text).case_insensitive(any_case).build();
        let globs: Result<Vec<Glob>, _> = texts.iter().map(|text| glob(text.as_ref())).collect();
        let globs = globs.map_err(|error| error.to_string())?;
        let regexes: Vec<&str> = globs.iter().map(Glob::regex).collect();
        // As globset configures its own engine.
        let syntax = syntax::Config::new().utf8(false).dot_matches_new_line(true);
        let limits = thompson::Config::new().utf8(false).nfa_size_limit(Some(GLOBS_PROGRAM_BYTES_MAX));
        let built = PikeVM::builder().syntax(syntax).thompson(limits).build_many(&regexes);
        let program = built.map_err(|_| "the patterns are too many, or too long".to_owned())?;
        let cache = Arc::new(Mutex::new(program.create_cache()));
        Ok(Globs { program, cache })
    }

    /// True if one of them matches.
    pub fn is_match(&self, name: &OsStr) -> bool {
        // A cache is valid whatever was done with it before.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        self.program.is_match(&mut cache, name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine is not globset's own: the results must be.
    #[test]
    fn they_match_as_globset_does() {
        let globs = [
            "*",
            "*.csv",
            "?.csv",
            "a*b",
            "[a-c]*.csv",
            "[!a]*",
            "{*.csv,*.tsv}",
            "**/*.csv",
            "\\*",
            "ä*",
            "*.gz",
            "exact.csv",
            "",
        ];
        let names: [&[u8]; 14] = [
            b"a.csv",
            b"A.CSV",
            b"ab",
            b"axb",
            b"b.csv",
            b"d.csv",
            b"x.tsv",
            b"*",
            b"\xff.csv",
            b"\xc3\xa4x",
            b"a\n.csv",
            b"exact.csv",
            b"EXACT.csv",
            b"x.csv.gz",
        ];
        for text in globs {
            for any_case in [false, true] {
                let ours = Globs::new(&[text], any_case).unwrap();
                let theirs = GlobBuilder::new(text).case_insensitive(any_case).build().unwrap().compile_matcher();
                for name in names {
                    let name = OsStr::from_bytes(name);
                    assert_eq!(ours.is_match(name), theirs.is_match(name), "{text} {name:?} {any_case}");
                }
            }
        }
        let both = Globs::new(&["*.csv", "*.tsv"], false).unwrap();
        assert!(both.is_match(OsStr::new("a.tsv")) && !both.is_match(OsStr::new("a.txt")));
        assert!(Globs::new(&["["], false).is_err());
    }
}
