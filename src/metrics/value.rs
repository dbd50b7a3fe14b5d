//! A number that may be unknown.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that is set, not counted; it may be unknown.
pub(super) struct Value(AtomicU64);

impl Value {
    const UNKNOWN: u64 = u64::MAX;

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.set(Value::UNKNOWN);
    }

    pub(super) fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|value| *value != Value::UNKNOWN)
    }
}

impl Default for Value {
    fn default() -> Value {
        Value(AtomicU64::new(Value::UNKNOWN))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
