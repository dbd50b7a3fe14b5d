//! Errors of the file system as those of a store.
//!
//! Invariant: an error after which the effect may be there says so.

use crate::fs;
use crate::store::{Error, Kind, Result, Verb};

/// An error of the file system as one of a store. `done`: the effect may be there.
pub(super) fn failed(verb: Verb, key: &str, done: bool, error: &fs::Error) -> Error {
    let kind = match done {
        true => Kind::MayHaveHappened,
        false if error.is_taken() => Kind::Exists,
        false if error.is_not_found() => Kind::NotFound,
        false if error.is_denied() => Kind::Denied,
        false => Kind::DidNotHappen,
    };
    Error { verb, key: key.to_owned(), kind, detail: error.to_string() }
}

/// What this store never does.
pub(super) fn refused<T>(verb: Verb, key: &str, why: &str) -> Result<T> {
    Err(Error { verb, key: key.to_owned(), kind: Kind::Refused, detail: why.to_owned() })
}
