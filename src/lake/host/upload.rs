//! Large contents: their parts lie in the store, invisible, before an entry claims them.
//!
//! Invariants:
//! - A part is put only if its bytes have the checksum of the read that gave the content's SHA-256, which the store's client
//!   compares ([`Store::put_part`]): otherwise the file has changed, and nothing of it is claimed. So a part that an upload
//!   holds is the content's, whoever put it.
//! - *Bytes before claim*: an upload is claimed when the store has confirmed each of its parts.
//! - Parts are put when the note of their upload is durable: a host that starts again goes on with them.
//! - An upload is aborted only when an entry that was read claims its content, in its generation or a later one, and no
//!   unfinished entry names the upload: an entry that names it can then never appear. One of a content that nobody claims is
//!   left alone: it may be whole, and a request with an entry that names it may be under way, or be sent by another process
//!   with a copy of this host's notes.

use std::time::Duration;

use sha2::Digest as _;

use super::uploads::{Begun, Open, names};
use super::{Content, Fate, Fates, Host, Staging};
use crate::lake::bytes::sha256;
use crate::lake::entry::{Entry, Place};
use crate::lake::error::Error;
use crate::lake::flight::gather;
use crate::lake::keys;
use crate::lake::parts::Cut;
use crate::lake::progress::{Progress, Step};
use crate::limits::{
    LAKE_ETAG_BYTES_MAX, LAKE_HASH_CHUNK_BYTES, LAKE_UPLOAD_ID_BYTES_MAX, LAKE_UPLOAD_SLICE, LAKE_UPLOADS_MAX,
};
use crate::store::{self, Kind, Part, Store, Verb};
use crate::types::Sha256;

/// A large content whose parts are put.
struct Large<'a> {
    content: &'a Content,
    generation: u32,
}

/// What became of a part.
enum Put {
    Done(Part),
    /// The file has changed.
    Differs,
    /// The upload does not exist any more.
    Gone,
    Failed(Error),
    /// The time is over.
    NotNow,
}

/// Fills the buffer from the content. False if the content ends before, or cannot be read.
fn read_full(staging: &dyn Staging, content: &Sha256, mut offset: u64, mut buffer: &mut [u8]) -> bool {
    while !buffer.is_empty() {
        match staging.read_at(content, offset, buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return false,
            Ok(read) => {
                let read = read.min(buffer.len());
                (buffer, offset) = (&mut buffer[read..], offset + read as u64);
            }
        }
    }
    true
}

/// The SHA-256 of each part; None if the bytes are not the content.
fn sums(content: &Content, cut: &Cut, staging: &dyn Staging) -> Option<Vec<Sha256>> {
    let count = cut.parts(content.size);
    if let Some(sums) = content.parts.as_ref().filter(|sums| sums.len() == count) {
        return Some(sums.clone());
    }
    let (mut whole, mut sums, mut chunk) = (sha2::Sha256::new(), Vec::with_capacity(count), Vec::new());
    for part in 0..count {
        let (mut offset, mut left) = cut.range(content.size, part);
        let mut hasher = sha2::Sha256::new();
        while left > 0 {
            chunk
                .resize(usize::try_from(left).map_or(LAKE_HASH_CHUNK_BYTES, |left| left.min(LAKE_HASH_CHUNK_BYTES)), 0);
            if !read_full(staging, &content.sha256, offset, &mut chunk) {
                return None;
            }
            whole.update(&chunk);
            hasher.update(&chunk);
            (offset, left) = (offset + chunk.len() as u64, left - chunk.len() as u64);
        }
        sums.push(Sha256(hasher.finalize().into()));
    }
    (Sha256(whole.finalize().into()) == content.sha256).then_some(sums)
}

/// An error of a store whose answer no entry can hold.
fn unusable(verb: Verb, key: &str, what: &str) -> Error {
    let detail = format!("the store's {what} is empty or too long");
    Error::Store(store::Error { verb, key: key.to_owned(), kind: Kind::Refused, detail })
}

fn noted(id: &str, begun: &Begun) -> Progress {
    let step = Step::Uploading { upload: id.to_owned(), key: begun.key.clone(), since: begun.since };
    let (content, generation) = begun.item;
    Progress { content, generation, step }
}

fn put(store: &dyn Store, staging: &dyn Staging, cut: &Cut, content: &Content, open: &Open, part: usize) -> Put {
    let (offset, length) = cut.range(content.size, part);
    let Ok(length) = usize::try_from(length) else { return Put::Differs };
    let mut bytes = vec![0; length];
    if !read_full(staging, &content.sha256, offset, &mut bytes) {
        return Put::Differs;
    }
    let number = u16::try_from(part + 1).unwrap_or(u16::MAX);
    match store.put_part(&open.key, &open.id, number, &bytes, &open.sums[part]) {
        Ok(part) if part.etag.len() > LAKE_ETAG_BYTES_MAX => Put::Failed(unusable(Verb::PutPart, &open.key, "ETag")),
        Ok(part) => Put::Done(Part { number, size: bytes.len() as u64, ..part }),
        Err(error) if error.kind == Kind::NotFound => Put::Gone,
        // The store compares the bytes with the sum before anything is sent; here they are compared only to find out whether
        // that was why.
        Err(error) if error.kind == Kind::Refused && sha256(&bytes) != open.sums[part] => Put::Differs,
        Err(error) => Put::Failed(error.into()),
    }
}

impl Host {
    /// Puts parts of the large contents that are new, for a while; none before all notes are durable. Goes on after an error
    /// of the store, and returns the first one.
    pub(super) fn upload(
        &mut self,
        shard: usize,
        contents: &[&Content],
        staging: &dyn Staging,
        fates: &mut Fates,
    ) -> Result<Option<Error>, Error> {
        let (until, mut first) = (self.clock.steady() + LAKE_UPLOAD_SLICE, None);
        let (shards, lake) = (&self.shards, &self.lake);
        self.uploads.open.retain(|(content, generation), _| {
            let contents = &shards[usize::from(lake.shard_of(content))].contents;
            contents.next_generation(content) == Some(*generation)
        });
        let mut all: Vec<Large<'_>> = Vec::new();
        let cut = self.cut;
        for content in contents.iter().filter(|content| cut.is_large(content.size)) {
            let next = self.shards[shard].contents.next_generation(&content.sha256);
            let Some(generation) = next.filter(|_| all.iter().all(|large| large.content.sha256 != content.sha256))
            else {
                continue;
            };
            if all.len() == LAKE_UPLOADS_MAX || self.unfit(content).is_some() {
                continue;
            }
            match self.begin_upload(content, generation, staging) {
                Ok(true) => all.push(Large { content, generation }),
                Ok(false) => drop(fates.insert(content.sha256, Fate::Differs)),
                Err(error @ Error::Journal(_)) => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        if !self.journal.is_durable() {
            return Ok(first);
        }
        let failed = self.put_parts(&all, staging, until, fates);
        Ok(first.or(failed))
    }

    /// Puts what is missing, content by content, until the time is over; but always some parts.
    fn put_parts(
        &mut self,
        all: &[Large<'_>],
        staging: &dyn Staging,
        until: Duration,
        fates: &mut Fates,
    ) -> Option<Error> {
        let (clock, cut, store) = (self.clock.as_ref(), self.cut, self.stores.warehouse.as_ref());
        let mut jobs: Vec<(&Large<'_>, &Open, usize)> = Vec::new();
        for large in all {
            let Some(open) = self.uploads.open.get(&(large.content.sha256, large.generation)) else { continue };
            jobs.extend(
                (0..open.parts.len()).filter(|part| open.parts[*part].is_none()).map(|part| (large, open, part)),
            );
        }
        let at_once = all.iter().map(|large| cut.at_once(large.content.size)).min().unwrap_or(1);
        let results = gather(self.stores.flight.as_ref(), at_once, jobs.len(), &|number| {
            if number >= at_once && clock.steady() >= until {
                return Put::NotNow;
            }
            let (large, open, part) = jobs[number];
            put(store, staging, &cut, large.content, open, part)
        });
        let jobs: Vec<_> =
            jobs.iter().map(|(large, _, part)| ((large.content.sha256, large.generation), *part)).collect();
        let mut first = None;
        for (result, (item, part)) in results.into_iter().zip(jobs) {
            match result {
                Put::Done(done) => {
                    if let Some(open) = self.uploads.open.get_mut(&item) {
                        open.parts[part] = Some(done);
                    }
                }
                Put::Differs => {
                    self.uploads.open.remove(&item);
                    fates.insert(item.0, Fate::Differs);
                }
                Put::Gone => {
                    if let Some(open) = self.uploads.open.remove(&item) {
                        self.uploads.remove(&open.id);
                    }
                }
                Put::Failed(error) => first = first.or(Some(error)),
                Put::NotNow => {}
            }
        }
        first
    }

    /// Begins an upload of the content, or goes on with one. False if the content is not at hand.
    fn begin_upload(&mut self, content: &Content, generation: u32, staging: &dyn Staging) -> Result<bool, Error> {
        let item = (content.sha256, generation);
        if self.uploads.open.contains_key(&item) {
            return Ok(true);
        }
        let Some(sums) = sums(content, &self.cut, staging) else { return Ok(false) };
        let store = self.stores.warehouse.as_ref();
        for (id, begun) in self.uploads.of_item(&item) {
            match store.list_parts(&begun.key, &id) {
                Ok(parts) => {
                    // Perhaps for another file, whose record has to say it too.
                    self.journal.note(&[noted(&id, &begun)])?;
                    let mut open = Open::new(begun.key, id, sums);
                    for part in parts {
                        let place = usize::from(part.number).wrapping_sub(1);
                        let fits = part.size == self.cut.range(content.size, place).1;
                        if let Some(slot) = open.parts.get_mut(place).filter(|_| fits) {
                            *slot = Some(part);
                        }
                    }
                    self.uploads.open.insert(item, open);
                    return Ok(true);
                }
                Err(error) if error.kind == Kind::NotFound => self.uploads.remove(&id),
                // This store does not list parts: the upload begins anew, and this one is aborted after the claim.
                Err(error) if error.kind == Kind::Refused => {}
                Err(error) => return Err(error.into()),
            }
        }
        let key = keys::data(&content.partition, &content.name, &content.sha256, generation);
        let id = store.begin_upload(&key, &content.sha256)?;
        if id.is_empty() || id.len() > LAKE_UPLOAD_ID_BYTES_MAX {
            return Err(unusable(Verb::BeginUpload, &key, "id of the upload"));
        }
        let begun = Begun { key: key.clone(), item, since: content.ingested_at };
        self.uploads.begin(id.clone(), begun.clone());
        self.journal.note(&[noted(&id, &begun)])?;
        self.uploads.open.insert(item, Open::new(key, id, sums));
        Ok(true)
    }

    /// Aborts this host's uploads of contents that an entry claims with other bytes.
    pub(super) fn abort_uploads(&mut self) {
        let over = self.uploads.over(|(content, generation)| {
            let known = self.shards[self.shard_of(content)].contents.get(content);
            known.is_some_and(|known| known.generation >= *generation)
        });
        for (id, Begun { key, .. }) in over {
            let is_needed = self
                .shards
                .iter()
                .flat_map(|shard| shard.unfinished.iter())
                .any(|entry| names(entry, &|named| named == id));
            if !is_needed && self.stores.warehouse.abort(&key, &id).is_ok() {
                self.uploads.remove(&id);
            }
        }
    }

    /// The entry is finished, and with it its uploads.
    pub(super) fn forget_uploads(&mut self, entry: &Entry) {
        for claim in entry.claims() {
            if let Place::Upload { id, .. } = &claim.bytes {
                self.uploads.remove(id);
            }
        }
    }

    /// The note of the upload into which parts of this content are put, or were put before its file dropped out; None if
    /// there is none. A host whose notes are about files notes it again for another file, before that is uploaded.
    pub fn open_upload(&self, content: &Sha256) -> Option<Progress> {
        let open = self.uploads.open.get(&(*content, self.next_generation(content)?))?;
        Some(noted(&open.id, self.uploads.begun(&open.id)?))
    }

    /// An upload that only has to be completed.
    pub(super) fn uploaded(&self, content: &Sha256, generation: u32) -> Option<(String, Place)> {
        let open = self.uploads.open.get(&(*content, generation))?;
        Some((open.key.clone(), Place::Upload { id: open.id.clone(), parts: open.whole()? }))
    }
}
