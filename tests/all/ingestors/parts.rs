//! A store as a host reaches it, and a record of the parts that it has confirmed.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex};

use csv_ingestor::engine;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::store::sim::SimStore;
use csv_ingestor::store::{Head, Part, Result, Store};
use csv_ingestor::types::{Sha256, UnixMillis};

use crate::lake::turns::Death;

/// The hosts' state directories.
pub const STATE: &str = "/state";

/// What a key says of its content behind the file's name: 32 digits of the SHA-256, the generation, and the extension.
type Generation = String;

fn generation(key: &str, sha256: &Sha256) -> Generation {
    let digits = sha256.hex()[..32].to_owned();
    let (_, rest) = key.rsplit_once(&digits).expect("the key of a data object has its content's digits");
    format!("{digits}{rest}")
}

/// Which parts the store has confirmed, and to which host.
#[derive(Default)]
pub struct Parts {
    /// The content of each upload, and whether it was forgotten before, and how often.
    of: BTreeMap<String, Generation>,
    /// The upload that holds a part, by host, content and number.
    confirmed: BTreeMap<(usize, Generation, u16), String>,
    /// How many parts were confirmed.
    pub count: usize,
    /// The host dies when it is about to put a part, and so many were confirmed.
    pub dies_at: Option<usize>,
    /// The hosts' disks, by host: their journals name each upload before a part of it is put. None: that is not checked.
    disks: Vec<SimFs>,
    /// Parts that were put again by a host to which they had been confirmed.
    pub wrong: Vec<String>,
}

impl Parts {
    /// Of hosts with these disks.
    pub fn of(disks: Vec<SimFs>) -> Parts {
        Parts { disks, ..Parts::default() }
    }

    /// The host has lost its journal.
    pub fn forget(&mut self, host: usize) {
        self.confirmed.retain(|(of, ..), _| *of != host);
    }

    /// The host has started, and its journal names no other uploads.
    pub fn retain(&mut self, host: usize, uploads: &[String]) {
        self.confirmed.retain(|(of, ..), upload| *of != host || uploads.contains(upload));
    }

    /// The uploads of open files that a host's journal names. None if it cannot be read: the disk has died.
    fn named(&self, host: usize) -> Option<Vec<String>> {
        let index = engine::read_state(self.disks.get(host)?, Path::new(STATE)).ok()?;
        let targets = index.open().filter_map(|ingest| ingest.target.as_ref());
        Some(targets.filter_map(|target| Some(target.upload.as_ref()?.id.clone())).collect())
    }

    /// True if the host dies now.
    fn about_to_put(&mut self, store: &SimStore, host: usize, upload: &str, number: u16) -> bool {
        let known = self.of.get(upload).and_then(|content| self.confirmed.get(&(host, content.clone(), number)));
        if let Some(before) = known.filter(|before| store.uploads().contains(before)) {
            let what = format!("host {host} puts part {number} into {upload}, and {before} has it");
            self.wrong.push(what);
        }
        if self.named(host).is_some_and(|named| !named.iter().any(|it| it == upload)) {
            self.wrong
                .push(format!("host {host} puts part {number} into {upload}, and its journal does not name that"));
        }
        self.dies_at.take_if(|count| *count == self.count).is_some()
    }

    fn confirm(&mut self, host: usize, upload: &str, number: u16) {
        self.count += 1;
        if let Some(content) = self.of.get(upload) {
            self.confirmed.insert((host, content.clone(), number), upload.to_owned());
        }
    }
}

/// The store as this host reaches it.
pub struct Reached {
    pub store: SimStore,
    pub host: usize,
    pub parts: Arc<Mutex<Parts>>,
}

impl Store for Reached {
    fn create(&self, key: &str, bytes: &[u8], sha256: &Sha256) -> Result<()> {
        self.store.create(key, bytes, sha256)
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.store.get(key)
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.store.get_range(key, offset, length)
    }

    fn head(&self, key: &str) -> Result<Head> {
        self.store.head(key)
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key)
    }

    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        self.store.list_ages(prefix, after)
    }

    fn begin_upload(&self, key: &str, sha256: &Sha256) -> Result<String> {
        let id = self.store.begin_upload(key, sha256)?;
        self.parts.lock().unwrap().of.insert(id.clone(), generation(key, sha256));
        Ok(id)
    }

    fn put_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part> {
        let dies = self.parts.lock().unwrap().about_to_put(&self.store, self.host, upload, number);
        if dies {
            resume_unwind(Box::new(Death));
        }
        let part = self.store.put_part(key, upload, number, bytes, sha256)?;
        self.parts.lock().unwrap().confirm(self.host, upload, number);
        Ok(part)
    }

    fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()> {
        self.store.complete(key, upload, parts)
    }

    fn abort(&self, key: &str, upload: &str) -> Result<()> {
        self.store.abort(key, upload)
    }

    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>> {
        self.store.list_parts(key, upload)
    }
}
