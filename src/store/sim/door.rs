//! The requests of [`Store`]: the gate, then the state.

use sha2::Digest as _;

use super::SimStore;
use super::state::{Request, error, etag};
use crate::store::{Head, Kind, Part, Result, Store, Verb};
use crate::types::{Sha256, UnixMillis};

impl SimStore {
    fn pass(&self) {
        if let Some(gate) = &self.gate {
            gate();
        }
    }

    fn send(&self, request: Request) -> Result<()> {
        self.pass();
        self.state().send(request)
    }
}

impl Store for SimStore {
    fn create(&self, key: &str, bytes: &[u8], sha256: &Sha256) -> Result<()> {
        self.send(Request::Create(self.full(key), bytes.to_vec(), *sha256))
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.pass();
        let (key, mut state) = (self.full(key), self.state());
        state.ask(Verb::Get, &key)?;
        state.bytes(&key).ok_or_else(|| error(Verb::Get, &key, Kind::NotFound))
    }

    fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let bytes = self.get(key)?;
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(length)).ok());
        let part = range.and_then(|(from, to)| bytes.get(from..to));
        part.map(<[u8]>::to_vec).ok_or_else(|| error(Verb::Get, &self.full(key), Kind::Refused))
    }

    fn head(&self, key: &str) -> Result<Head> {
        self.pass();
        let (key, mut state) = (self.full(key), self.state());
        state.ask(Verb::Head, &key)?;
        state.head(&key).ok_or_else(|| error(Verb::Head, &key, Kind::NotFound))
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.send(Request::Delete(self.full(key)))
    }

    fn list_ages(&self, prefix: &str, after: &str) -> Result<Vec<(String, UnixMillis)>> {
        self.pass();
        let (prefix, mut state) = (self.full(prefix), self.state());
        state.ask(Verb::List, &prefix)?;
        let after = if after.is_empty() { String::new() } else { self.full(after) };
        let keys = state.listing(&prefix, &after);
        let aged = keys.into_iter().map(|key| (key[self.prefix.len()..].to_owned(), state.written(&key)));
        Ok(aged.collect())
    }

    fn begin_upload(&self, key: &str, sha256: &Sha256) -> Result<String> {
        self.pass();
        let mut state = self.state();
        let id = state.upload_id();
        state.send(Request::Begin(self.full(key), id.clone(), *sha256))?;
        Ok(id)
    }

    fn put_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part> {
        if sha2::Sha256::digest(bytes).as_slice() != sha256.0 {
            return Err(error(Verb::PutPart, &self.full(key), Kind::Refused));
        }
        self.send(Request::Part(upload.to_owned(), number, bytes.to_vec()))?;
        Ok(Part { number, size: bytes.len() as u64, etag: etag(bytes) })
    }

    fn complete(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()> {
        self.send(Request::Complete(self.full(key), upload.to_owned(), parts.to_vec()))
    }

    fn abort(&self, _key: &str, upload: &str) -> Result<()> {
        self.send(Request::Abort(upload.to_owned()))
    }

    fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<Part>> {
        self.pass();
        let (key, mut state) = (self.full(key), self.state());
        state.ask(Verb::ListParts, &key)?;
        state.parts(upload).ok_or_else(|| error(Verb::ListParts, &key, Kind::NotFound))
    }
}
