//! What happens to requests, and what can be seen of them.
//!
//! Invariant: these are only values.

/// How often, in 1/1000 of the requests, each thing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Reads that get no answer.
    pub reads_fail: u64,
    /// Requests with an effect that never arrive.
    pub never: u64,
    /// Requests with an effect that arrive late.
    pub late: u64,
    /// Requests with an effect whose answer is lost.
    pub unanswered: u64,
    /// Requests with an effect that arrive a second time, later.
    pub twice: u64,
    /// Requests that are refused with 429, 503 or, creates only, 409.
    pub refused: u64,
    /// Listings that are stale.
    pub stale: u64,
    /// Creates of a key that exists that are reported as successes.
    pub lies: u64,
}

impl Faults {
    /// Everything arrives once and is answered.
    pub const NONE: Faults =
        Faults { reads_fail: 0, never: 0, late: 0, unanswered: 0, twice: 0, refused: 0, stale: 0, lies: 0 };
    /// A bad day.
    pub const MANY: Faults =
        Faults { reads_fail: 50, never: 40, late: 60, unanswered: 80, twice: 30, refused: 40, stale: 300, lies: 0 };
}

/// What has changed in the store.
#[derive(Debug)]
pub enum Effect<'a> {
    /// A new object.
    Created {
        /// Its key in the store.
        key: &'a str,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// An object is gone.
    Deleted {
        /// Its key in the store.
        key: &'a str,
    },
}

/// Called at each effect, in their order.
pub type Watch = Box<dyn FnMut(&Effect<'_>) + Send>;
