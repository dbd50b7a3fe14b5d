//! Checks the files themselves, on several threads.
//!
//! Invariants:
//! - The queue to the threads is bounded, and each has one buffer.
//! - Hashed bytes come from the disk, not from the page cache, as far as the kernel follows that advice.
//! - A file is reported as altered only after two reads that agree; one that reads differently each time is unreadable.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crossbeam::channel::{self, Receiver, Sender};
use sha2::Digest as _;

use super::finding::{Content, Finding, Kind};
use super::table::Table;
use super::watch::Watch;
use crate::fs::{self, FileKind, Fs, Open};
use crate::pipeline::manifest::read::LinePlace;
use crate::types::{IngestId, Sha256};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Files that go to a thread together, and the number of such bunches that may wait: this makes small files cheap, and
/// no file waits for a large one in its bunch.
const BUNCH_FILES: usize = 64;
const BUNCH_BYTES: u64 = 1 << 20;
const BUNCHES_MAX: usize = 64;

/// A file that should exist.
pub(super) struct Job<F: Fs> {
    pub(super) dir: Arc<F::Dir>,
    pub(super) name: OsString,
    pub(super) sha256: Sha256,
    pub(super) size: u64,
    pub(super) id: IngestId,
    /// Its line, if it has one.
    pub(super) line: Option<u32>,
    /// The line's number, if it is known already.
    pub(super) number: Option<u64>,
    /// Hash the whole file.
    pub(super) hash: bool,
}

/// The state that the threads share.
pub(super) struct Checker<'a, 'w, F: Fs> {
    pub(super) fs: &'a F,
    pub(super) table: &'a Table,
    /// Lines by place, for places with several lines: the file may match any of them.
    pub(super) rivals: &'a HashMap<u64, Vec<u32>>,
    pub(super) watch: &'a Watch<'w>,
}

/// The sender of jobs.
pub(super) struct Queue<F: Fs> {
    sender: Sender<Vec<Job<F>>>,
    bunch: Vec<Job<F>>,
    bunch_bytes: u64,
}

impl<F: Fs> Queue<F> {
    pub(super) fn push(&mut self, job: Job<F>) {
        self.bunch_bytes = self.bunch_bytes.saturating_add(if job.hash { job.size } else { 0 });
        self.bunch.push(job);
        if self.bunch.len() >= BUNCH_FILES || self.bunch_bytes >= BUNCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.bunch_bytes = 0;
        // The threads outlive the queue.
        let _ = self.sender.send(std::mem::take(&mut self.bunch));
    }
}

impl<F: Fs> Checker<'_, '_, F> {
    /// Runs `feed`, and the threads on the jobs that it queues; returns when all of it is done.
    pub(super) fn run<T>(&self, threads: usize, feed: impl FnOnce(&mut Queue<F>) -> T) -> T {
        let (sender, receiver) = channel::bounded::<Vec<Job<F>>>(BUNCHES_MAX);
        thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                let receiver = receiver.clone();
                scope.spawn(move || self.work(&receiver));
            }
            drop(receiver);
            let mut queue = Queue { sender, bunch: Vec::new(), bunch_bytes: 0 };
            let fed = feed(&mut queue);
            queue.flush();
            fed
        })
    }

    fn work(&self, jobs: &Receiver<Vec<Job<F>>>) {
        let mut buffer = vec![0; READ_BYTES];
        for job in jobs.iter().flatten() {
            // After a stop, queued jobs are taken and dropped, so that the feeding thread does not block.
            if self.watch.is_stopped() {
                continue;
            }
            if let Some(finding) = self.check(&job, &mut buffer) {
                self.watch.reporter.report(&finding);
            }
            self.watch.progress.files.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn check(&self, job: &Job<F>, buffer: &mut [u8]) -> Option<Finding> {
        let stat = match self.fs.stat(&job.dir, &job.name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Some(self.finding(job, Kind::Missing, "it is not in the warehouse")),
            Err(error) => return Some(self.finding(job, Kind::Unreadable, error.to_string())),
        };
        if stat.kind != FileKind::Regular {
            return Some(self.finding(job, Kind::Altered, "it is not a regular file"));
        }
        let size = stat.identity.size;
        if !job.hash {
            let fits = self.fits(job, |content_size, _| content_size == size);
            return (!fits).then(|| self.altered(job, Content { size: Some(size), sha256: None }));
        }
        let actual = match self.read(job, buffer) {
            Ok(actual) => actual?,
            Err(error) if error.is_not_found() => {
                return Some(self.finding(job, Kind::Missing, "it was removed while it was checked"));
            }
            Err(error) => return Some(self.finding(job, Kind::Unreadable, error.to_string())),
        };
        if self.fits(job, |_, sha256| sha256 == actual) {
            return None;
        }
        let again = match self.read(job, buffer) {
            Ok(again) => again?,
            Err(error) => return Some(self.finding(job, Kind::Unreadable, error.to_string())),
        };
        if again != actual {
            let detail = "it reads differently each time: look at the disk, and at the memory";
            return Some(self.finding(job, Kind::Unreadable, detail));
        }
        Some(self.altered(job, Content { size: Some(size), sha256: Some(actual) }))
    }

    /// True if the file matches a line of its place.
    fn fits(&self, job: &Job<F>, is_right: impl Fn(u64, Sha256) -> bool) -> bool {
        let of_line = |index: &u32| {
            let entry = self.table.entry(*index);
            is_right(entry.size, self.table.sha256(entry))
        };
        let rivals = job.line.and_then(|line| self.rivals.get(&self.table.entry(line).place));
        is_right(job.size, job.sha256) || rivals.is_some_and(|rivals| rivals.iter().any(of_line))
    }

    /// The digest of the whole file; None if the audit was stopped.
    fn read(&self, job: &Job<F>, buffer: &mut [u8]) -> fs::Result<Option<Sha256>> {
        let file = self.fs.open(&job.dir, &job.name, Open::Read)?;
        // Only advice: where it has no effect, the cached bytes are read.
        let _ = self.fs.drop_cache(&file);
        let mut hasher = sha2::Sha256::new();
        let mut offset = 0;
        loop {
            let read = self.fs.read_at(&file, buffer, offset)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            offset += read as u64;
            self.watch.progress.bytes.fetch_add(read as u64, Ordering::Relaxed);
            if self.watch.is_stopped() {
                return Ok(None);
            }
        }
        // A whole warehouse must not push other programs' files out of memory.
        let _ = self.fs.drop_cache(&file);
        Ok(Some(Sha256(hasher.finalize().into())))
    }

    fn altered(&self, job: &Job<F>, actual: Content) -> Finding {
        let differ = match (actual.size == Some(job.size), actual.sha256) {
            (true, _) => "its content has changed",
            (false, None) => "its size has changed",
            (false, Some(_)) => "its size and its content have changed",
        };
        Finding { actual, ..self.finding(job, Kind::Altered, differ) }
    }

    fn finding(&self, job: &Job<F>, kind: Kind, detail: impl Into<String>) -> Finding {
        let path = self.fs.dir_path(&job.dir).join(&job.name);
        let expected = Content { size: Some(job.size), sha256: Some(job.sha256) };
        let lines = job.line.map(|line| self.place(line, job.number)).into_iter().collect();
        Finding { ingest_id: Some(job.id), expected, lines, ..Finding::new(kind, path, detail) }
    }

    /// The position of a line; without its number if the manifest cannot be read any more.
    fn place(&self, line: u32, number: Option<u64>) -> LinePlace {
        let entry = self.table.entry(line);
        let place = |number| LinePlace { manifest: self.table.manifest_of(entry).to_path_buf(), number };
        match number {
            Some(number) => place(number),
            None => self.table.line_place(self.fs, entry).unwrap_or_else(|_| place(0)),
        }
    }
}
