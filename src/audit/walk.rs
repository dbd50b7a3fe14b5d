//! Walks the warehouse's partitions, and then looks for the listed files that were not met there.
//!
//! Invariants:
//! - Hidden names are skipped, and links not followed; the newest partition comes first, since new files arrive there.
//! - A directory at the top of the warehouse is walked if its name begins like a partition, or if a line lists a file
//!   below it; then with all directories below it. Others may be another program's.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::Audit;
use super::files::{Job, Queue};
use super::finding::{Content, Finding, Kind};
use super::journal_view::Known;
use super::places::split;
use super::sample::Choice;
use super::warehouse::{OpenDirs, Stray};
use crate::Error;
use crate::fs::{DirEntry, FileKind, Fs};
use crate::limits::PARTITION_LEVELS_MAX;
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

/// What a walk has met.
struct Met {
    choice: Choice,
    seen: MetLines,
    extras: Vec<Extra>,
}

/// A directory of the walk.
struct Step {
    path: PathBuf,
    /// Directories between it and the warehouse.
    levels: usize,
    /// It, or a directory above it, has the date of ingestion in its name.
    is_dated: bool,
}

/// The prefixes of partitions at the top of the warehouse: that of the default layout, and the key with which the
/// journal's layout begins.
fn prefixes(known: Option<&Known>) -> Vec<Vec<u8>> {
    let template = known.map(|known| known.layout().template.split('/').next().unwrap_or_default());
    let key = template.and_then(|first| first.split_once('=')).map(|(key, _)| format!("{key}=").into_bytes());
    [PARTITION_PREFIX.as_bytes().to_vec()].into_iter().chain(key).collect()
}

impl<F: Fs> Audit<'_, '_, F> {
    /// Queues every listed file that is met; returns the names that no line lists, and the lines that were met.
    pub(super) fn walk(
        &self,
        known: Option<&Known>,
        choice: Choice,
        queue: &mut Queue<F>,
    ) -> Result<(Vec<Extra>, MetLines), Error> {
        let mut met = Met { choice, seen: MetLines::none(self.table.entries().len()), extras: Vec::new() };
        let (prefixes, listed) = (prefixes(known), self.table.directories.tops(self.warehouse));
        let is_partition = |name: &OsStr, kind: Option<FileKind>| {
            let has_prefix = prefixes.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix));
            // A link with another name is reported with the lines that lead through it.
            has_prefix && kind == Some(FileKind::Symlink)
                || kind.is_none_or(|kind| kind == FileKind::Directory) && (has_prefix || listed.contains(name))
        };
        let mut tops = Vec::new();
        for entry in self.fs.list(self.warehouse.root())? {
            let entry = entry?;
            if is_partition(&entry.name, entry.kind) {
                tops.push(entry.name);
            }
        }
        let top = Step { path: self.warehouse.path().to_path_buf(), levels: 0, is_dated: false };
        self.walk_below(&top, tops, queue, &mut met);
        Ok((met.extras, met.seen))
    }

    /// Walks the directories of these names, the newest first, unless they are older than what is audited.
    fn walk_below(&self, dir: &Step, mut names: Vec<OsString>, queue: &mut Queue<F>, met: &mut Met) {
        let first = self.since.map(UnixMillis::date_partition);
        names.sort_unstable_by(|one, other| other.cmp(one));
        for name in names {
            let is_dated = name.as_encoded_bytes().starts_with(PARTITION_PREFIX.as_bytes());
            let is_older = first.as_ref().is_some_and(|first| is_dated && name.as_os_str() < OsStr::new(first));
            if is_older || dir.levels >= PARTITION_LEVELS_MAX || self.watch.is_stopped() {
                continue;
            }
            let path = dir.path.join(name);
            let step = Step { path, levels: dir.levels + 1, is_dated: dir.is_dated || is_dated };
            if let Err(stray) = self.walk_partition(&step, queue, met) {
                // Only this partition cannot be read, not the whole warehouse; and a missing one was just removed.
                if stray.kind() != Kind::Missing {
                    self.report(&Finding::new(stray.kind(), step.path, stray.to_string()));
                }
            }
        }
    }

    fn walk_partition(&self, step: &Step, queue: &mut Queue<F>, met: &mut Met) -> Result<(), Stray> {
        let dir = self.warehouse.open_dir(&step.path)?;
        let path: Arc<Path> = step.path.as_path().into();
        let identity = self.fs.stat_dir(&dir).ok().map(|stat| stat.identity.key());
        if identity.is_some() && identity == self.manifests_key() {
            return Ok(());
        }
        let number = self.table.directories.number_of(identity, &path);
        let mut below = Vec::new();
        for entry in self.fs.list(&dir)? {
            let DirEntry { name, kind } = entry?;
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let place = self.table.directories.place_in(number, &name);
            let Some(line) = self.table.at_place(place) else {
                let kind = kind.or_else(|| Some(self.fs.stat(&dir, &name).ok()??.kind));
                if kind == Some(FileKind::Directory) {
                    below.push(name);
                } else if self.since.is_none() || step.is_dated {
                    // Without a date in its path, a line older than what is audited may list it.
                    met.extras.push(Extra { dir: path.clone(), name, place });
                }
                continue;
            };
            met.seen.add(line);
            self.rivals.get(&place).into_iter().flatten().for_each(|rival| met.seen.add(*rival));
            if !met.choice.looks_at_files() {
                continue;
            }
            let listed = self.table.entry(line);
            let (sha256, size, id) = (self.table.sha256(listed), listed.size, listed.id);
            let hash = met.choice.takes(&listed.key);
            queue.push(Job { dir: dir.clone(), name, sha256, size, id, line: Some(line), number: None, hash });
            if self.watch.is_stopped() {
                break;
            }
        }
        self.walk_below(step, below, queue, met);
        Ok(())
    }

    /// Device and inode of the manifests' directory, which may be in the warehouse.
    fn manifests_key(&self) -> Option<(u64, u64)> {
        let manifests = self.fs.open_dir(&self.manifests).ok()?;
        Some(self.fs.stat_dir(&manifests).ok()?.identity.key())
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
