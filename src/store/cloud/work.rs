//! The work of a call, and how long it may take.
//!
//! Invariant: every wait for a store has a limit, by the bytes that travel.

use std::time::Duration;

use super::outcome::Failure;
use crate::limits::{STORE_ANSWER_TIMEOUT, STORE_BYTES_PER_SECOND_MIN};
use crate::store::Kind;

/// How long a request with a body of so many bytes, or an answer with one, may take.
pub(super) fn limit(bytes: usize) -> Duration {
    STORE_ANSWER_TIMEOUT + Duration::from_secs(bytes as u64 / STORE_BYTES_PER_SECOND_MIN)
}

/// The result of a call's work.
pub(super) type Work<T> = std::result::Result<T, Failure>;

/// The work, which fails if it takes longer than that.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = Work<T>>) -> Work<T> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Failure::Late(limit)))
}

/// The store has sent something that is not what it should be.
pub(super) fn unreadable(what: &str) -> Failure {
    Failure::Known(Kind::MayHaveHappened, format!("{what} cannot be read"))
}
