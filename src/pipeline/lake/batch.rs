//! The files of one batch, as the lake's host sees them: contents, bytes and lines.
//!
//! Invariants:
//! - A line is a function of the file's records and of the key that the entry gives it.
//! - Bytes are read from the file that was hashed, by its open descriptor; the host checks them against the SHA-256.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::fs::{self, Fs};
use crate::heartbeat;
use crate::journal::ingest::Ingest;
use crate::lake::host::{Content, Decided, Staging};
use crate::lake::keys;
use crate::lake::publish::AtHand;
use crate::pipeline::{manifest, subdir};
use crate::store::location::Location;
use crate::types::Sha256;

/// A file of the batch.
pub struct Member<'a, F: Fs> {
    /// What its records say.
    pub ingest: Arc<Ingest>,
    /// The open file, if it is open.
    pub file: Option<&'a F::File>,
    /// The SHA-256 of each part, if they are known.
    pub parts: &'a [Sha256],
}

/// Files with different contents.
pub struct Batch<'a, F: Fs> {
    fs: &'a F,
    journal: String,
    warehouse: Location,
    members: HashMap<Sha256, Member<'a, F>>,
}

impl<'a, F: Fs> Batch<'a, F> {
    /// Of several files with one content, one is taken.
    pub fn new(
        fs: &'a F,
        journal: String,
        warehouse: Location,
        members: impl Iterator<Item = Member<'a, F>>,
    ) -> Batch<'a, F> {
        let with_content = |member: Member<'a, F>| Some((member.ingest.target.as_ref()?.sha256, member));
        Batch { fs, journal, warehouse, members: members.filter_map(with_content).collect() }
    }

    /// The contents, oldest first: their lines come in this order.
    pub fn contents(&self) -> Vec<Content> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_unstable_by_key(|(_, member)| member.ingest.id);
        let content = |(sha256, member): (&Sha256, &Member<'_, F>)| {
            let ingest = &member.ingest;
            Some(Content {
                sha256: *sha256,
                size: ingest.identity.size,
                partition: partition_of(&self.warehouse, &ingest.target.as_ref()?.warehouse_path)?,
                name: subdir::file_name(ingest.source_path.as_os_str()).as_bytes().to_vec(),
                ingested_at: ingest.discovered_at,
                parts: Some(member.parts.to_vec()).filter(|parts| !parts.is_empty()),
            })
        };
        members.into_iter().filter_map(content).collect()
    }
}

impl<F: Fs> AtHand for Batch<'_, F> {
    fn bytes(&self, content: &Sha256) -> Option<Vec<u8>> {
        // Each is another request: the thread that makes them in turn is alive, however slow the store is.
        heartbeat::step();
        let member = self.members.get(content)?;
        let mut bytes = vec![0; usize::try_from(member.ingest.identity.size).ok()?];
        let read = fs::read_full_at(self.fs, member.file?, &mut bytes, 0).ok()?;
        (read == bytes.len()).then_some(bytes)
    }
}

impl<F: Fs> Staging for Batch<'_, F> {
    fn read_at(&self, content: &Sha256, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        heartbeat::step();
        let file = self.members.get(content).and_then(|member| member.file).ok_or(std::io::ErrorKind::NotFound)?;
        self.fs.read_at(file, buffer, offset).map_err(|error| error.source)
    }

    fn line(&self, content: &Content, decided: &Decided<'_>) -> Vec<u8> {
        let Some(member) = self.members.get(&content.sha256) else { return Vec::new() };
        let mut ingest = (*member.ingest).clone();
        if let Some(target) = &mut ingest.target {
            target.warehouse_path = PathBuf::from(self.warehouse.of(decided.key));
        }
        ingest.order.seq = Some(decided.id + 1);
        let mut line = Vec::new();
        manifest::line(Some(&self.journal), &ingest, &mut line);
        line.pop();
        line
    }
}

/// A file's directory in the warehouse as a lake has it: names are escaped. One that recovery knows has the warehouse's
/// URL before it.
pub fn partition_of_dir(warehouse: &Location, dir: &Path) -> String {
    if let Some(known) = key_of(warehouse, dir) {
        return known.to_owned();
    }
    let parts: Vec<String> = dir.iter().map(|part| keys::part(part.as_bytes())).collect();
    parts.join("/")
}

/// The partition in a data object's URL.
pub fn partition_of(warehouse: &Location, url: &Path) -> Option<String> {
    let key = key_of(warehouse, url)?;
    Some(key.rsplit_once('/')?.0.to_owned())
}

/// The key in a data object's URL.
pub fn key_of<'a>(warehouse: &Location, url: &'a Path) -> Option<&'a str> {
    url.to_str()?.strip_prefix(&warehouse.to_string())?.strip_prefix('/')
}
