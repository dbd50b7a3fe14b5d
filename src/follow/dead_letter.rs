//! Lines that could not be delivered, in a file: for people, and for what delivers them by other means.
//!
//! Invariants:
//! - Lines are durable when [`DeadLetters::append`] returns, each whole and on a line of its own. What is in the file is
//!   never changed or removed.
//! - One process appends to the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::batch::Batch;
use super::consumer::Consumer;
use super::error::Error;
use super::spliced::Spliced;
use crate::fs::{self, FILE_MODE, Fs, Open};
use crate::log::json;

/// See the module.
pub struct DeadLetters<F: Fs> {
    fs: F,
    dir: F::Dir,
    file: F::File,
    path: PathBuf,
}

impl<F: Fs> DeadLetters<F> {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// That fails; the path is not that of a regular file; or another process appends to it.
    pub fn open(fs: &F, path: &Path) -> Result<DeadLetters<F>, Error> {
        let of_no_file = || Error::Consumer(format!("--dead-letter {}: not the path of a file", path.display()));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().map(OsString::from)) else {
            return Err(of_no_file());
        };
        let dir = fs.open_dir(parent)?;
        let file = match fs.open(&dir, &name, Open::Create { mode: FILE_MODE }) {
            Err(error) if error.is_taken() => fs.open(&dir, &name, Open::Write)?,
            created => {
                let created = created?;
                fs.sync_dir(&dir)?;
                created
            }
        };
        if fs.stat_file(&file)?.kind != fs::FileKind::Regular {
            return Err(of_no_file());
        }
        if !fs.try_lock_file(&file)? {
            return Err(Error::Consumer(format!("--dead-letter {}: another process appends to it", path.display())));
        }
        Ok(DeadLetters { fs: fs.clone(), dir, file, path: path.to_path_buf() })
    }

    /// Appends the lines of a batch.
    ///
    /// # Errors
    /// A file operation failed: some of it may be there. The lines come again.
    pub fn append(&self, consumer: &Consumer, batch: &Batch, attempts: u32, error: &str) -> Result<(), Error> {
        let end = self.fs.stat_file(&self.file)?.identity.size;
        let mut text = Vec::new();
        if end > 0 {
            let mut last = [0];
            fs::read_full_at(&self.fs, &self.file, &mut last, end - 1)?;
            // A crash has torn what was appended last. It stays, on a line of its own.
            text.extend((last != *b"\n").then_some(b'\n'));
        }
        let (error, failed_at) = (json::text(error), self.fs.now());
        let mut spliced = Spliced::after(batch.before().clone());
        for line in batch.lines() {
            let front = format!(
                "{{\"consumer\":\"{consumer}\",\"attempts\":{attempts},\"error\":{error},\"failed_at\":\"{}\",\"line\":",
                failed_at.display()
            );
            text.extend_from_slice(front.as_bytes());
            spliced.append(&line, &mut text);
            text.truncate(text.trim_ascii_end().len());
            text.extend_from_slice(b"}\n");
        }
        fs::write_all_at(&self.fs, &self.file, &text, end)?;
        self.fs.sync_all(&self.file)?;
        // The name may be that of a process which was killed before it synced the directory.
        self.fs.sync_dir(&self.dir)?;
        Ok(())
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
