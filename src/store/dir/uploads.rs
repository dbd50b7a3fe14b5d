//! Uploads in parts: files beside the temporary ones.
//!
//! Invariants:
//! - An upload is there while its own file is, `up-ID`, which holds its key; so it survives a restart, and a second one of
//!   the same key is another one.
//! - A part is a file, `up-ID-NUMBER-SHA256`: it appears whole, is never changed, and its name is the store's name for its
//!   content.
//! - To complete an upload is a create: it fails if there is an object, and what it makes is whole and durable before it
//!   has its name. What is left of an upload after that is removed, or swept up later.

use std::ffi::{OsStr, OsString};

use super::DirStore;
use super::errors::{failed, refused};
use super::names::{ID_DIGITS, PREFIX, part_name, random};
use crate::fs::{self, Fs, Open};
use crate::limits::STORE_CHUNK_BYTES;
use crate::store::{Error, Kind, Part, Result, Verb};
use crate::types::Sha256;

fn no_upload(verb: Verb, key: &str) -> Error {
    Error { verb, key: key.to_owned(), kind: Kind::NotFound, detail: "there is no such upload".to_owned() }
}

impl<F: Fs> DirStore<F> {
    pub(super) fn begin(&self, key: &str) -> Result<String> {
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !key.split('/').all(is_plain) {
            return refused(Verb::BeginUpload, key, "no path below the store");
        }
        let id = random(&self.fs);
        let name = OsString::from(format!("{PREFIX}{id}"));
        self.write(Verb::BeginUpload, key, (self.shelf(Verb::BeginUpload, key)?, &name), key.as_bytes())?;
        Ok(id)
    }

    /// Where uploads are.
    fn shelf(&self, verb: Verb, key: &str) -> Result<&F::Dir> {
        self.temporary().map_err(|error| failed(verb, key, false, &error))
    }

    /// Checks that there is this upload, for this key.
    fn check(&self, verb: Verb, key: &str, upload: &str) -> Result<()> {
        if upload.len() != ID_DIGITS || !upload.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(no_upload(verb, key));
        }
        let fails = |error: fs::Error| match error.is_not_found() {
            true => no_upload(verb, key),
            false => failed(verb, key, false, &error),
        };
        let name = OsString::from(format!("{PREFIX}{upload}"));
        let file = self.fs.open(self.shelf(verb, key)?, &name, Open::Read).map_err(fails)?;
        let mut text = vec![0; key.len() + 1];
        let length = fs::read_full_at(&self.fs, &file, &mut text, 0).map_err(fails)?;
        if &text[..length] == key.as_bytes() { Ok(()) } else { Err(no_upload(verb, key)) }
    }

    pub(super) fn add_part(&self, key: &str, upload: &str, number: u16, bytes: &[u8], sha256: &Sha256) -> Result<Part> {
        self.check(Verb::PutPart, key, upload)?;
        let etag = sha256.hex();
        let part = Part { number, size: bytes.len() as u64, etag };
        let (shelf, name) = (self.shelf(Verb::PutPart, key)?, part_name(upload, number, &part.etag));
        match self.write(Verb::PutPart, key, (shelf, &name), bytes) {
            // The same bytes as before. Their name may not be durable yet.
            Err(error) if error.kind == Kind::Exists => {
                let synced = self.fs.sync_dir(shelf);
                synced.map_err(|error| failed(Verb::PutPart, key, true, &error))?;
            }
            written => written?,
        }
        for other in self.parts(Verb::PutPart, key, upload)? {
            if other.number == number && other.etag != part.etag {
                let removed = self.fs.unlink(shelf, &part_name(upload, number, &other.etag));
                removed.map_err(|error| failed(Verb::PutPart, key, true, &error))?;
            }
        }
        Ok(part)
    }

    pub(super) fn parts(&self, verb: Verb, key: &str, upload: &str) -> Result<Vec<Part>> {
        self.check(verb, key, upload)?;
        let fails = |error: fs::Error| failed(verb, key, true, &error);
        let (shelf, begin) = (self.shelf(verb, key)?, format!("{PREFIX}{upload}-"));
        let mut parts = Vec::new();
        for entry in self.fs.list(shelf).map_err(fails)? {
            let name = entry.map_err(fails)?.name;
            let part = name.to_str().and_then(|name| name.strip_prefix(&begin)?.split_once('-'));
            let Some((Ok(number), etag)) = part.map(|(number, etag)| (number.parse(), etag.to_owned())) else {
                continue;
            };
            if let Some(stat) = self.fs.stat(shelf, &name).map_err(fails)? {
                parts.push(Part { number, size: stat.identity.size, etag });
            }
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    pub(super) fn put_together(&self, key: &str, upload: &str, parts: &[Part]) -> Result<()> {
        self.check(Verb::Complete, key, upload)?;
        if parts.is_empty() || !parts.iter().zip(1..).all(|(part, number)| part.number == number) {
            return refused(Verb::Complete, key, "the parts are not numbered 1, 2, 3 and so on");
        }
        let (dir, name) = self.place(Verb::Complete, key)?;
        self.publish(Verb::Complete, key, (&dir, name), &|file| {
            let mut offset = 0;
            for part in parts {
                offset = self.copy_part(key, &part_name(upload, part.number, &part.etag), file, offset)?;
            }
            Ok(())
        })?;
        // The object is there, whatever happens to the rest.
        let _ = self.end(Verb::Complete, key, upload);
        Ok(())
    }

    /// Copies a part to this offset of the whole; returns where it ends.
    fn copy_part(&self, key: &str, name: &OsStr, whole: &F::File, mut offset: u64) -> Result<u64> {
        let fails = |error: fs::Error| failed(Verb::Complete, key, false, &error);
        let part = match self.fs.open(self.shelf(Verb::Complete, key)?, name, Open::Read) {
            Err(error) if error.is_not_found() => return refused(Verb::Complete, key, "a part is not there"),
            part => part.map_err(fails)?,
        };
        let mut chunk = vec![0; STORE_CHUNK_BYTES];
        let mut from = 0;
        loop {
            let length = fs::read_full_at(&self.fs, &part, &mut chunk, from).map_err(fails)?;
            fs::write_all_at(&self.fs, whole, &chunk[..length], offset).map_err(fails)?;
            from += length as u64;
            offset += length as u64;
            if length < chunk.len() {
                return Ok(offset);
            }
        }
    }

    /// Removes an upload: its own file first, so that it is never there in part.
    pub(super) fn end(&self, verb: Verb, key: &str, upload: &str) -> Result<()> {
        let parts = match self.parts(verb, key, upload) {
            Err(error) if error.kind == Kind::NotFound => return Ok(()),
            parts => parts?,
        };
        let (shelf, fails) = (self.shelf(verb, key)?, |error: fs::Error| failed(verb, key, true, &error));
        self.fs.unlink(shelf, OsStr::new(&format!("{PREFIX}{upload}"))).map_err(fails)?;
        self.fs.sync_dir(shelf).map_err(fails)?;
        for part in parts {
            let name = part_name(upload, part.number, &part.etag);
            match self.fs.unlink(shelf, &name) {
                Err(error) if !error.is_not_found() => return Err(fails(error)),
                _ => {}
            }
        }
        Ok(())
    }
}
