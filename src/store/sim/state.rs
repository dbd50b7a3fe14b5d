//! The objects, the uploads, and what is still under way.
//!
//! Invariant: every effect passes [`State::apply`], so the watch sees all of them.

use std::collections::BTreeMap;

use super::faults::{Effect, Faults, Watch};
use crate::fs::sim::rng::Rng;
use crate::store::{Error, Head, Kind, Part, Result, Verb};
use crate::types::{Sha256, UnixMillis};

/// Requests after which a late one arrives; the last of them means: when everything has ended.
const DELAYS: [u64; 4] = [3, 30, 400, u64::MAX];
/// So many requests long, a stale listing does not see a change.
const STALE_REQUESTS: u64 = 40;
/// Keys in one listing.
const LISTED_MAX: usize = 1000;

/// A request with an effect, as it travels.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// Create.
    Create(String, Vec<u8>, Sha256),
    /// Delete.
    Delete(String),
    /// Begin an upload: its key, its id and its object's SHA-256.
    Begin(String, String, Sha256),
    /// Put a part: the upload, number and bytes.
    Part(String, u16, Vec<u8>),
    /// Complete: key, upload, and the parts.
    Complete(String, String, Vec<Part>),
    /// Abort.
    Abort(String),
}

impl Request {
    pub(super) fn verb(&self) -> Verb {
        match self {
            Request::Create(..) => Verb::Create,
            Request::Delete(_) => Verb::Delete,
            Request::Begin(..) => Verb::BeginUpload,
            Request::Part(..) => Verb::PutPart,
            Request::Complete(..) => Verb::Complete,
            Request::Abort(_) => Verb::Abort,
        }
    }

    fn key(&self) -> &str {
        match self {
            Request::Create(key, ..) | Request::Delete(key) | Request::Begin(key, ..) => key,
            Request::Part(upload, ..) | Request::Abort(upload) => upload,
            Request::Complete(key, ..) => key,
        }
    }
}

struct Object {
    bytes: Vec<u8>,
    sha256: Option<Sha256>,
    created: u64,
}

struct Upload {
    key: String,
    sha256: Sha256,
    parts: BTreeMap<u16, Vec<u8>>,
}

pub(super) struct State {
    pub(super) faults: Faults,
    pub(super) watch: Option<Watch>,
    pub(super) requests: u64,
    rng: Rng,
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    deleted: BTreeMap<String, u64>,
    late: Vec<(u64, Request)>,
    uploads_begun: u64,
}

pub(super) fn error(verb: Verb, key: &str, kind: Kind) -> Error {
    Error { verb, key: key.to_owned(), kind, detail: String::new() }
}

/// The name of a part's content.
pub(super) fn etag(bytes: &[u8]) -> String {
    format!("{:08x}-{}", crc32c::crc32c(bytes), bytes.len())
}

impl State {
    pub(super) fn new(seed: u64, faults: Faults) -> State {
        State {
            faults,
            watch: None,
            requests: 0,
            rng: Rng::new(seed),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            deleted: BTreeMap::new(),
            late: Vec::new(),
            uploads_begun: 0,
        }
    }

    fn happens(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.rng.below(1000) < per_mille
    }

    /// A request arrives at the store's door: what is due by now arrives before it.
    fn begin(&mut self) {
        self.requests += 1;
        let (now, mut index) = (self.requests, 0);
        while index < self.late.len() {
            if self.late[index].0 > now {
                index += 1;
                continue;
            }
            let (_, request) = self.late.remove(index);
            let _ = self.apply(&request);
        }
    }

    pub(super) fn flush(&mut self) {
        while !self.late.is_empty() {
            let index = self.rng.index(self.late.len());
            let (_, request) = self.late.swap_remove(index);
            let _ = self.apply(&request);
        }
    }

    fn postpone(&mut self, request: Request) {
        let delay = DELAYS[self.rng.index(DELAYS.len())];
        self.late.push((self.requests.saturating_add(delay), request));
    }

    /// A request with an effect.
    pub(super) fn send(&mut self, request: Request) -> Result<()> {
        self.begin();
        let (faults, verb, key) = (self.faults, request.verb(), request.key().to_owned());
        let fails = |kind| Err(error(verb, &key, kind));
        if self.happens(faults.never) {
            let known = self.rng.below(3) == 0;
            return fails(if known { Kind::DidNotHappen } else { Kind::MayHaveHappened });
        }
        if self.happens(faults.late) {
            self.postpone(request);
            return fails(Kind::MayHaveHappened);
        }
        if self.happens(faults.refused) {
            let conflict = verb == Verb::Create && self.rng.below(2) == 0;
            return fails(if conflict { Kind::Exists } else { Kind::SlowDown });
        }
        if self.happens(faults.twice) {
            self.postpone(request.clone());
        }
        let mut answer = self.apply(&request);
        if verb == Verb::Create && answer.is_err() && self.happens(faults.lies) {
            answer = Ok(());
        }
        if self.happens(faults.unanswered) {
            return fails(Kind::MayHaveHappened);
        }
        answer
    }

    /// A request without an effect, up to the moment at which the store is read.
    pub(super) fn ask(&mut self, verb: Verb, key: &str) -> Result<()> {
        self.begin();
        if self.happens(self.faults.refused) {
            return Err(error(verb, key, Kind::SlowDown));
        }
        if self.happens(self.faults.reads_fail) {
            return Err(error(verb, key, Kind::MayHaveHappened));
        }
        Ok(())
    }

    fn told(&mut self, effect: &Effect<'_>) {
        if let Some(watch) = &mut self.watch {
            watch(effect);
        }
    }

    fn insert(&mut self, key: &str, bytes: Vec<u8>, sha256: Option<Sha256>) {
        self.told(&Effect::Created { key, bytes: &bytes });
        self.deleted.remove(key);
        self.objects.insert(key.to_owned(), Object { bytes, sha256, created: self.requests });
    }

    fn apply(&mut self, request: &Request) -> Result<()> {
        let fails = |kind| Err(error(request.verb(), request.key(), kind));
        match request {
            Request::Create(key, ..) if self.objects.contains_key(key) => return fails(Kind::Exists),
            Request::Create(key, bytes, sha256) => self.insert(key, bytes.clone(), Some(*sha256)),
            Request::Delete(key) => {
                if self.remove(key) {
                    self.told(&Effect::Deleted { key });
                }
            }
            Request::Begin(key, id, sha256) => {
                let upload = Upload { key: key.clone(), sha256: *sha256, parts: BTreeMap::new() };
                self.uploads.entry(id.clone()).or_insert(upload);
            }
            Request::Part(id, number, bytes) => match self.uploads.get_mut(id) {
                Some(upload) => drop(upload.parts.insert(*number, bytes.clone())),
                None => return fails(Kind::NotFound),
            },
            Request::Complete(key, id, parts) => {
                let Some(upload) = self.uploads.get(id).filter(|upload| upload.key == *key) else {
                    return fails(Kind::NotFound);
                };
                let stored = parts.iter().map(|part| Some((part, upload.parts.get(&part.number)?)));
                let Some(stored) = stored.collect::<Option<Vec<_>>>() else { return fails(Kind::Refused) };
                if stored.iter().any(|(part, bytes)| part.etag != etag(bytes)) {
                    return fails(Kind::Refused);
                }
                let bytes: Vec<u8> = stored.into_iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                let sha256 = upload.sha256;
                self.uploads.remove(id);
                self.insert(key, bytes, Some(sha256));
            }
            Request::Abort(id) => drop(self.uploads.remove(id)),
        }
        Ok(())
    }

    pub(super) fn upload_ids(&self) -> Vec<String> {
        self.uploads.keys().cloned().collect()
    }

    /// A new id for an upload.
    pub(super) fn upload_id(&mut self) -> String {
        self.uploads_begun += 1;
        format!("upload-{}", self.uploads_begun)
    }

    pub(super) fn put_foreign(&mut self, key: String, bytes: &[u8]) -> bool {
        let is_new = !self.objects.contains_key(&key);
        if is_new {
            self.objects.insert(key, Object { bytes: bytes.to_vec(), sha256: None, created: self.requests });
        }
        is_new
    }

    /// True if there was an object.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let was_there = self.objects.remove(key).is_some();
        if was_there {
            self.deleted.insert(key.to_owned(), self.requests);
        }
        was_there
    }

    pub(super) fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.objects.get(key).map(|object| object.bytes.clone())
    }

    pub(super) fn head(&self, key: &str) -> Option<Head> {
        self.objects.get(key).map(|object| Head { size: object.bytes.len() as u64, sha256: object.sha256 })
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let from = self.objects.range(prefix.to_owned()..);
        from.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect()
    }

    /// The number of requests by which the object was created; 0 for one that is only a stale listing's.
    pub(super) fn written(&self, key: &str) -> UnixMillis {
        UnixMillis(self.objects.get(key).map_or(0, |object| object.created))
    }

    pub(super) fn listing(&mut self, prefix: &str, after: &str) -> Vec<String> {
        let mut keys = self.keys(prefix);
        if self.happens(self.faults.stale) {
            let since = self.requests.saturating_sub(STALE_REQUESTS);
            keys.retain(|key| self.objects.get(key).is_some_and(|object| object.created < since));
            let gone = self.deleted.iter().filter(|(key, at)| key.starts_with(prefix) && **at > since);
            keys.extend(gone.map(|(key, _)| key.clone()));
            keys.sort();
        }
        keys.retain(|key| key.as_str() > after);
        keys.truncate(LISTED_MAX);
        keys
    }

    pub(super) fn parts(&self, id: &str) -> Option<Vec<Part>> {
        let parts = self.uploads.get(id)?.parts.iter();
        Some(
            parts
                .map(|(number, bytes)| Part { number: *number, size: bytes.len() as u64, etag: etag(bytes) })
                .collect(),
        )
    }
}
