//! A store whose reads are tried again.
//!
//! Invariants:
//! - Only requests without an effect are repeated: of the others, only the caller can find out what has become of them.
//! - An answer that will not change (not found, denied) is returned at once.

use std::sync::Arc;

use super::{Head, Part, Result, Store};
use crate::limits::STORE_READ_TRIES_MAX;
use crate::types::{Sha256, UnixMillis};

/// Called before the second try and each one after it, with how many there were.
pub type Pause = Arc<dyn Fn(u32) + Send + Sync>;

/// The store, and how it is given time.
pub struct Patient {
    store: Arc<dyn Store>,
    pause: Pause,
}

impl Patient {
    /// Gives `store` time by calling `pause`.
    pub fn new(store: Arc<dyn Store>, pause: Pause) -> Patient {
        Patient { store, pause }
    }

    fn read<T>(&self, request: &dyn Fn() -> Result<T>) -> Result<T> {
        let mut tries = 1;
        loop {
            match request() {
                Err(error) if error.kind.may_pass() && tries < STORE_READ_TRIES_MAX => (self.pause)(tries),
                answer => return answer,
            }
            tries += 1;
        }
    }
}

impl Store for Patient {
    fn create(&self, key: &str, bytes: &[u8], sha256: &Sha256) -> Result<()> {
        self.store.create(key, bytes, sha256)
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.read(&|| self.store.get(key))
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.read(&|| self.store.get_range(key, offset, length))
    }

    fn head(&self, key: &str) -> Result<Head> {
        self.read(&|| self.store.head(key))
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key)
    }

    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        self.read(&|| self.store.list_ages(prefix, after))
    }

    fn written(&self, key: &str) -> Result<Option<UnixMillis>> {
        self.read(&|| self.store.written(key))
    }

    fn begin_upload(&self, key: &str, sha256: &Sha256) -> Result<String> {
        self.store.begin_upload(key, sha256)
    }

    fn put_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part> {
        self.store.put_part(key, upload, number, bytes, sha256)
    }

    fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()> {
        self.store.complete(key, upload, parts)
    }

    fn abort(&self, key: &str, upload: &str) -> Result<()> {
        self.store.abort(key, upload)
    }

    fn skew(&self) -> Option<i64> {
        self.store.skew()
    }

    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>> {
        self.read(&|| self.store.list_parts(key, upload))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::store::Kind;
    use crate::store::sim::{Faults, SimStore};

    #[test]
    fn reads_are_repeated_and_nothing_else_is() {
        let sim = SimStore::new(1, Faults { refused: 1000, ..Faults::NONE });
        let pauses = Arc::new(AtomicU32::new(0));
        let counted = pauses.clone();
        let pause = Arc::new(move |tries| {
            counted.fetch_add(tries, Ordering::Relaxed);
        });
        let store = Patient::new(Arc::new(sim.clone()), pause);
        assert_eq!(store.get("a").unwrap_err().kind, Kind::SlowDown);
        assert_eq!((sim.requests(), pauses.load(Ordering::Relaxed)), (4, 1 + 2 + 3));
        assert!(store.create("a", b"", &Sha256([0; 32])).is_err() && store.delete("a").is_err());
        assert_eq!(sim.requests(), 6);
        sim.set_faults(Faults::NONE);
        assert_eq!(store.get("a").unwrap_err().kind, Kind::NotFound);
        assert_eq!(sim.requests(), 7);
    }
}
