//! A store that only reads: whatever has an effect is a test's failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv_ingestor::store::{Head, Part, Result, Store};
use csv_ingestor::types::{Sha256, UnixMillis};

/// Counts the requests that read.
pub struct ReadsOnly {
    pub store: Arc<dyn Store>,
    pub reads: Arc<AtomicU64>,
}

impl ReadsOnly {
    fn read(&self) -> &dyn Store {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.store.as_ref()
    }
}

impl Store for ReadsOnly {
    fn create(&self, key: &str, _: &[u8], _: &Sha256) -> Result<()> {
        panic!("{key} would be created")
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.read().get(key)
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.read().get_range(key, offset, length)
    }

    fn head(&self, key: &str) -> Result<Head> {
        self.read().head(key)
    }

    fn delete(&self, key: &str) -> Result<()> {
        panic!("{key} would be deleted")
    }

    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        self.read().list_ages(prefix, after)
    }

    fn begin_upload(&self, key: &str, _: &Sha256) -> Result<String> {
        panic!("{key} would be uploaded")
    }

    fn put_part(&self, key: &str, _: &str, _: u16, _: &[u8], _: &Sha256) -> Result<Part> {
        panic!("{key} would be uploaded")
    }

    fn complete(&self, key: &str, _: &str, _: &[Part]) -> Result<()> {
        panic!("{key} would be completed")
    }

    fn abort(&self, key: &str, _: &str) -> Result<()> {
        panic!("an upload of {key} would be aborted")
    }

    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>> {
        self.read().list_parts(key, upload)
    }
}
