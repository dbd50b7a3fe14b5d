//! What has happened to the requests of one call.
//!
//! Invariants:
//! - A call has one trace, in its own task: calls that run at once do not see each other's.
//! - The trace is written where requests leave and answers arrive ([`super::transport`]), so it is right whatever the client
//!   library makes of an answer.

use std::sync::{Arc, Mutex, PoisonError};

/// An answer, as far as errors are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The store's own name of the error, or nothing.
    pub(super) code: String,
    /// Its explanation, or nothing.
    pub(super) message: String,
}

/// The state of the last request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Last {
    /// None has been made.
    #[default]
    Nothing,
    /// It is under way.
    Begun,
    /// There was no connection, so it was not sent.
    Unsent(String),
    /// It was sent, perhaps in part, and there is no answer, or only a part of one.
    Lost(String),
    /// It was answered.
    Answered(Answer),
}

/// Bytes whose SHA-256 the caller knows.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Where they begin in memory: other bytes of the same length are others.
    address: usize,
    length: usize,
    sha256: [u8; 32],
}

/// The trace of one call.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The last request.
    pub(super) last: Last,
    /// Credentials are being fetched, or could not be: no request has gone to the store.
    pub(super) for_credentials: bool,
    /// Headers that the next request to the store gets in addition.
    headers: Vec<(&'static str, String)>,
    known: Option<Known>,
}

/// A trace that a task and its caller share.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Trace>>);

tokio::task_local! {
    static CURRENT: Shared;
}

impl Shared {
    /// The future, with this trace as its own.
    pub(super) fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), future)
    }

    /// Reads or changes the trace.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Trace) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads or changes the trace of the present call; None outside of a call.
pub(super) fn with<T>(act: impl FnOnce(&mut Trace) -> T) -> Option<T> {
    CURRENT.try_with(|trace| trace.with(act)).ok()
}

/// Remembers the SHA-256 of bytes that are about to be sent, so that the worker does not compute it again.
pub(super) fn know(bytes: &[u8], sha256: [u8; 32]) {
    let known = Known { address: bytes.as_ptr() as usize, length: bytes.len(), sha256 };
    with(|trace| trace.known = Some(known));
}

/// The SHA-256 of these bytes, if they are the ones that are about to be sent.
pub(super) fn known(bytes: &[u8]) -> Option<[u8; 32]> {
    let is_it = |known: &Known| known.address == bytes.as_ptr() as usize && known.length == bytes.len();
    with(|trace| trace.known.filter(is_it).map(|known| known.sha256)).flatten()
}

/// Gives the next request to the store a header that is not signed.
pub(super) fn add_header(name: &'static str, value: String) {
    with(|trace| trace.headers.push((name, value)));
}

/// Takes the headers of the request that is about to be sent; none for a request for credentials.
pub(super) fn take_headers() -> Vec<(&'static str, String)> {
    with(|trace| if trace.for_credentials { Vec::new() } else { std::mem::take(&mut trace.headers) })
        .unwrap_or_default()
}
