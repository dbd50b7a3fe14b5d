//! Walks the warehouse's partitions, and then looks for the listed files that were not met there.
//!
//! Invariants: hidden names are skipped, and links not followed; the newest partition comes first, since new files
//! arrive there.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::Audit;
use super::files::{Job, Queue};
use super::finding::{Content, Finding, Kind};
use super::places::split;
use super::sample::Choice;
use super::warehouse::{OpenDirs, Stray};
use crate::Error;
use crate::fs::{FileKind, Fs};
use crate::pipeline::manifest::read::{LinePlace, Listed};
use crate::types::{PARTITION_PREFIX, UnixMillis};

/// A name in the warehouse that no line lists.
pub(super) struct Extra {
    pub(super) dir: Arc<Path>,
    pub(super) name: OsString,
    pub(super) place: u64,
}

/// A set of the lines whose files were met.
pub(super) struct MetLines(Vec<u64>);

impl MetLines {
    pub(super) fn none(lines: usize) -> MetLines {
        MetLines(vec![0; lines.div_ceil(64)])
    }

    pub(super) fn add(&mut self, line: u32) {
        self.0[line as usize / 64] |= 1 << (line % 64);
    }

    fn has(&self, line: u32) -> bool {
        self.0[line as usize / 64] & 1 << (line % 64) != 0
    }
}

/// The partitions from that of `since` on, the newest first.
fn partitions<F: Fs>(fs: &F, root: &F::Dir, since: Option<UnixMillis>) -> Result<Vec<OsString>, Error> {
    let first = since.map(UnixMillis::date_partition);
    let mut found = Vec::new();
    for entry in fs.list(root)? {
        let entry = entry?;
        let is_dir = entry.kind.is_none_or(|kind| kind == FileKind::Directory || kind == FileKind::Symlink);
        let is_partition = entry.name.as_encoded_bytes().starts_with(PARTITION_PREFIX.as_bytes());
        if is_dir && is_partition && first.as_ref().is_none_or(|first| entry.name.as_os_str() >= OsStr::new(first)) {
            found.push(entry.name);
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

impl<F: Fs> Audit<'_, '_, F> {
    /// Queues every listed file that is met; returns the names that no line lists, and the lines that were met.
    pub(super) fn walk(&self, choice: Choice, queue: &mut Queue<F>) -> Result<(Vec<Extra>, MetLines), Error> {
        let mut seen = MetLines::none(self.table.entries().len());
        let mut extras = Vec::new();
        for partition in partitions(self.fs, self.warehouse.root(), self.since)? {
            let path = self.warehouse.path().join(&partition);
            if let Err(stray) = self.walk_partition(&path, choice, queue, &mut seen, &mut extras) {
                // Only this partition cannot be read, not the whole warehouse; and a missing one was just removed.
                if stray.kind() != Kind::Missing {
                    self.report(&Finding::new(stray.kind(), path, stray.to_string()));
                }
            }
            if self.watch.is_stopped() {
                break;
            }
        }
        Ok((extras, seen))
    }

    fn walk_partition(
        &self,
        path: &Path,
        choice: Choice,
        queue: &mut Queue<F>,
        seen: &mut MetLines,
        extras: &mut Vec<Extra>,
    ) -> Result<(), Stray> {
        let dir = self.warehouse.open_dir(path)?;
        let path: Arc<Path> = path.into();
        let identity = self.fs.stat_dir(&dir).ok().map(|stat| stat.identity.key());
        let number = self.table.directories.number_of(identity, &path);
        for entry in self.fs.list(&dir)? {
            let name = entry?.name;
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let place = self.table.directories.place_in(number, &name);
            let Some(line) = self.table.at_place(place) else {
                extras.push(Extra { dir: path.clone(), name, place });
                continue;
            };
            seen.add(line);
            self.rivals.get(&place).into_iter().flatten().for_each(|rival| seen.add(*rival));
            if !choice.looks_at_files() {
                continue;
            }
            let listed = self.table.entry(line);
            let (sha256, size, id) = (self.table.sha256(listed), listed.size, listed.id);
            let hash = choice.takes(&listed.key);
            queue.push(Job { dir: dir.clone(), name, sha256, size, id, line: Some(line), number: None, hash });
            if self.watch.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    /// Looks for the files of lines that were not met, each at its own path.
    pub(super) fn look_for(&self, seen: &MetLines, choice: Choice, queue: &mut Queue<F>) {
        let unseen: Vec<u32> = (0..self.table.entries().len() as u32).filter(|line| !seen.has(*line)).collect();
        let mut dirs = OpenDirs::new(self.warehouse);
        let unread = self.table.read_all(self.fs, unseen, &mut |line, listed, number| {
            let entry = self.table.entry(line);
            let hash = choice.takes(&entry.key);
            let (sha256, size, id) = (self.table.sha256(entry), entry.size, entry.id);
            let (dir, name) = split(&listed.warehouse_path);
            match dirs.open(dir) {
                Ok(dir) => {
                    let name = name.to_owned();
                    queue.push(Job { dir, name, sha256, size, id, line: Some(line), number: Some(number), hash });
                }
                Err(stray) => self.report_unopened(line, &listed, number, &stray),
            }
            !self.watch.is_stopped()
        });
        unread.into_iter().for_each(|unread| self.note_unread(unread));
    }

    fn report_unopened(&self, line: u32, listed: &Listed, number: u64, stray: &Stray) {
        let entry = self.table.entry(line);
        let kind = stray.kind();
        let detail = match kind {
            Kind::Missing => "it is not in the warehouse, and neither is its directory".to_owned(),
            _ => stray.to_string(),
        };
        let place = LinePlace { manifest: self.table.manifest_of(entry).to_path_buf(), number };
        self.report(&Finding {
            ingest_id: Some(listed.ingest_id),
            expected: Content { size: Some(listed.size), sha256: Some(listed.sha256) },
            lines: vec![place],
            ..Finding::new(kind, listed.warehouse_path.clone(), detail)
        });
        self.watch.progress.files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Extra {
    /// Its path.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }
}
