//! The lock between ingestors that share a manifests directory.
//!
//! Invariants:
//! - The lock is on a file of its own, `.csv-ingestor/lock`, which only processes that may write manifests can open. A
//!   reader that locks a manifest blocks no ingestor.
//! - Waiting for it is bounded: a signal ends it. The lock is never held while waiting for anything else.
//! - The holder has locked the file that has the name now: a lock on a removed file excludes no process.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fs::Syscall;
use crate::fs::{self, Fs, Open};
use crate::heartbeat;
use crate::limits::{LOCK_LOGGED_FIRST, LOCK_LOGGED_NEXT, LOCK_PAUSE_MAX, LOCK_PAUSE_MIN, LOCK_STOP_TIME_MAX};
use crate::log;

/// Below the manifests: the directory that readers ignore.
const PRIVATE_DIR: &str = ".csv-ingestor";
/// The file's name in it.
const LOCK_NAME: &str = "lock";

/// The lock file's mode if the group may write manifests, and if it may not.
const SHARED_MODE: u32 = 0o660;
const OWN_MODE: u32 = 0o600;
/// The permission bit for a group that may write.
const GROUP_WRITES: u32 = 0o020;

/// The lock of one manifests directory.
pub(super) struct ManifestLock<F: Fs> {
    fs: F,
    /// Set by the first signal.
    stop: Arc<AtomicBool>,
    /// The manifests directory, and the file.
    open: Option<(PathBuf, F::File)>,
}

impl<F: Fs> ManifestLock<F> {
    pub(super) fn new(fs: F, stop: Arc<AtomicBool>) -> ManifestLock<F> {
        ManifestLock { fs, stop, open: None }
    }

    /// Takes the lock of the manifests below `root`, waiting for it.
    pub(super) fn take(&mut self, root: &Path) -> fs::Result<()> {
        let fs = self.fs.clone();
        let mut wait =
            Wait { stop: self.stop.clone(), waited: Duration::ZERO, stopping: None, told: LOCK_LOGGED_FIRST };
        loop {
            let dir = private_dir(&fs, root)?;
            let file = match self.open.take().filter(|(known, _)| known == root) {
                Some((_, file)) => file,
                None => open(&fs, root, &dir)?,
            };
            let is_ours = fs.try_lock_file(&file)?;
            let identity = fs.stat_file(&file)?.identity;
            // It may have been removed, or replaced, before it was locked.
            let is_named =
                fs.stat(&dir, OsStr::new(LOCK_NAME))?.is_some_and(|stat| stat.identity.key() == identity.key());
            if is_ours && is_named {
                self.open = Some((root.to_path_buf(), file));
                return Ok(());
            }
            if is_named {
                wait.step(&fs, &fs.dir_path(&dir).join(LOCK_NAME), || fs.lock_holder(&identity))?;
                self.open = Some((root.to_path_buf(), file));
            }
        }
    }

    /// Releases the lock.
    pub(super) fn give_up(&mut self) -> fs::Result<()> {
        self.open.as_ref().map_or(Ok(()), |(_, file)| self.fs.unlock_file(file))
    }
}

/// The directory of the lock, made if it is missing.
fn private_dir<F: Fs>(fs: &F, root: &Path) -> fs::Result<F::Dir> {
    let path = root.join(PRIVATE_DIR);
    match fs.open_dir(&path) {
        Err(error) if error.is_not_found() => fs::open_dir_durable(fs, root, &path, fs::DIR_MODE),
        opened => opened,
    }
}

/// Opens the lock file, making it if it is missing. Its name need not be durable: after a power cut no process holds the
/// lock.
fn open<F: Fs>(fs: &F, root: &Path, dir: &F::Dir) -> fs::Result<F::File> {
    let name = OsStr::new(LOCK_NAME);
    match fs.open(dir, name, Open::Write) {
        Err(error) if error.is_not_found() => {
            let is_shared = fs.stat_dir(&fs.open_dir(root)?)?.mode & GROUP_WRITES != 0;
            let mode = if is_shared { SHARED_MODE } else { OWN_MODE };
            match fs.open(dir, name, Open::Create { mode }) {
                Err(error) if error.is_taken() => fs.open(dir, name, Open::Write),
                created => created,
            }
        }
        // Another user made it under a umask that lets the group only read. That suffices for a lock.
        Err(error) if error.is_denied() => fs.open(dir, name, Open::Read).map_err(|_| error),
        opened => opened,
    }
}

/// How long another process has held the lock.
struct Wait {
    stop: Arc<AtomicBool>,
    waited: Duration,
    /// The value of `waited` when the signal was seen.
    stopping: Option<Duration>,
    /// The value of `waited` at which the next warning is due.
    told: Duration,
}

impl Wait {
    /// Pauses, longer each time. An error if the process is to stop and the lock is not released soon.
    fn step<F: Fs>(&mut self, fs: &F, path: &Path, holder: impl Fn() -> Option<u32>) -> fs::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            // Another ingestor needs milliseconds, and the batch is nearly done.
            let since = *self.stopping.get_or_insert(self.waited);
            if self.waited - since >= LOCK_STOP_TIME_MAX {
                let text = format!("held by another process{}; a signal ended the wait", pid_text(holder()));
                let source = io::Error::new(io::ErrorKind::Interrupted, text);
                return Err(fs::Error { op: Syscall::Flock, path: path.to_path_buf(), source });
            }
        }
        if self.waited >= self.told {
            self.told = self.waited + LOCK_LOGGED_NEXT;
            tracing::warn!(
                event = "manifests_locked",
                path = log::path(path),
                pid = holder(),
                seconds = self.waited.as_secs(),
                "another process holds the lock on the manifests",
            );
        }
        let pause = (self.waited / 4).clamp(LOCK_PAUSE_MIN, LOCK_PAUSE_MAX);
        fs.pause(pause);
        self.waited += pause;
        heartbeat::step();
        Ok(())
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
}
