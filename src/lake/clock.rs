//! What a host needs besides the store: time and randomness.
//!
//! Invariant: nothing that safety rests on asks for the time.

use std::time::Duration;

/// A clock that only goes forward, a way to wait, and random bytes.
pub trait Clock: Send + Sync {
    /// Time since some moment.
    fn steady(&self) -> Duration;
    /// Waits.
    fn pause(&self, time: Duration);
    /// Random bytes, which no other host draws.
    fn random(&self) -> [u8; 16];
}
