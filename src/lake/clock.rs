//! What a host needs besides the store: time and randomness.
//!
//! Invariant: nothing that safety rests on asks for the time.

use std::sync::Arc;
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

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn steady(&self) -> Duration {
        (**self).steady()
    }

    fn pause(&self, time: Duration) {
        (**self).pause(time);
    }

    fn random(&self) -> [u8; 16] {
        (**self).random()
    }
}
