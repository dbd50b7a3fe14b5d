//! The crate's interface to an object store.
//!
//! Invariants:
//! - Everything that the lake holds is read and written through [`Store`]: the simulator ([`sim`]) cannot delay or lose a
//!   request that it does not see.
//! - An object is created whole or not at all, and never replaced: there is no call that overwrites.
//! - No call tries again by itself. A second try of a create whose answer was lost finds its own object, and would report
//!   [`Kind::Exists`] for a success.
//! - An error says what is known about the outcome: only the caller can find out the rest, by reading.

#[cfg(feature = "object-store")]
pub mod cloud;
pub mod dir;
pub mod location;
pub mod open;
pub mod patient;
pub mod sim;

use crate::types::{Sha256, UnixMillis};

/// What is known after a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It had no effect and never will: it did not leave this host, or the store refused it.
    DidNotHappen,
    /// Its answer is missing (timeout, reset, 500): it had its effect, will have it later, or never will.
    MayHaveHappened,
    /// There is an object at the key, perhaps our own. Also the answer 409 of a store that decides between two creates:
    /// then there may be none.
    Exists,
    /// There is no object at the key, or no such upload.
    NotFound,
    /// The store wants fewer requests (429, 503). It had no effect.
    SlowDown,
    /// The credentials do not allow it. It had no effect.
    Denied,
    /// There is no such bucket.
    Gone,
    /// The store never accepts this request: the key, the size or the number is out of its limits. It had no effect.
    Refused,
}

impl Kind {
    /// True if the same request may succeed later.
    pub fn may_pass(self) -> bool {
        matches!(self, Kind::DidNotHappen | Kind::MayHaveHappened | Kind::SlowDown)
    }

    /// What is known, for people.
    pub fn text(self) -> &'static str {
        match self {
            Kind::DidNotHappen => "it did not happen",
            Kind::MayHaveHappened => "no answer: it may have happened",
            Kind::Exists => "exists",
            Kind::NotFound => "not found",
            Kind::SlowDown => "the store wants fewer requests",
            Kind::Denied => "permission denied",
            Kind::Gone => "no such bucket",
            Kind::Refused => "the store does not accept this",
        }
    }
}

/// The requests of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// [`Store::create`].
    Create,
    /// [`Store::get`] and [`Store::get_range`].
    Get,
    /// [`Store::head`].
    Head,
    /// [`Store::delete`].
    Delete,
    /// [`Store::list`].
    List,
    /// [`Store::begin_upload`].
    BeginUpload,
    /// [`Store::put_part`].
    PutPart,
    /// [`Store::complete`].
    Complete,
    /// [`Store::abort`].
    Abort,
    /// [`Store::list_parts`].
    ListParts,
}

impl Verb {
    /// The name in messages.
    pub fn text(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Get => "get",
            Verb::Head => "head",
            Verb::Delete => "delete",
            Verb::List => "list",
            Verb::BeginUpload => "begin an upload of",
            Verb::PutPart => "put a part of",
            Verb::Complete => "complete",
            Verb::Abort => "abort",
            Verb::ListParts => "list the parts of",
        }
    }
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {key}: {}{}{detail}", verb.text(), kind.text(), if detail.is_empty() { "" } else { ": " })]
pub struct Error {
    /// The request.
    pub verb: Verb,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// What is known about its outcome.
    pub kind: Kind,
    /// The store's own words, or nothing.
    pub detail: String,
}

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// What a store reports about an object without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// The SHA-256 that its creator put in its metadata; None if there is none, or no well-formed one.
    pub sha256: Option<Sha256>,
}

/// A part of an upload, as the store confirmed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: u16,
    /// Bytes.
    pub size: u64,
    /// The store's name for the part's content.
    pub etag: String,
}

/// A place for immutable objects. Every call blocks until there is an answer or the client gives up.
///
/// After a create that succeeded, every host's get and head of this key find the object: safety rests on this and on the
/// atomicity of [`Store::create`]. Listings may be stale, and nothing but convenience rests on them.
pub trait Store: Send + Sync {
    /// Creates the object if there is none at the key, with this SHA-256 of `bytes` in its metadata.
    fn create(&self, key: &str, bytes: &[u8], sha256: &Sha256) -> Result<()>;
    /// The object's bytes, all of them.
    fn get(&self, key: &str) -> Result<Vec<u8>>;
    /// The bytes from `offset`, exactly `length` of them; [`Kind::Refused`] if the object is shorter.
    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>>;
    /// The object's size and metadata.
    fn head(&self, key: &str) -> Result<Head>;
    /// Deletes the object; succeeds if there is none.
    fn delete(&self, key: &str) -> Result<()>;
    /// Keys that begin with `prefix` and sort after `after`, in order, some 1,000 at a time; none at the end. Each has the
    /// time, on the store's clock, at which the object was written; in a simulated store, the number of requests by then.
    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>>;
    /// The same, without the times.
    fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>> {
        Ok(self.list_ages(prefix, after)?.into_iter().map(|(key, _)| key).collect())
    }

    /// The time, on the store's clock, at which the object was written; None if no listing shows it.
    fn written(&self, key: &str) -> Result<Option<UnixMillis>> {
        Ok(self.list_ages(key, "")?.into_iter().find(|(found, _)| found == key).map(|(_, at)| at))
    }

    /// Begins an upload in parts; the object will have this SHA-256 in its metadata. Returns the upload's id.
    fn begin_upload(&self, key: &str, sha256: &Sha256) -> Result<String>;
    /// Stores a part, and checks its bytes against the SHA-256.
    fn put_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part>;
    /// Makes the parts an object. A store may replace an object that is at the key, so look first.
    fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()>;
    /// Ends the upload and removes its parts; succeeds if there is none.
    fn abort(&self, key: &str, upload: &str) -> Result<()>;
    /// The parts stored so far, by number.
    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>>;

    /// Seconds by which the store's clock is ahead of this host's, as its last answer has shown; None if it does not show
    /// its clock, or has not answered yet.
    fn skew(&self) -> Option<i64> {
        None
    }
}
