//! The work on metrics that is done at fixed intervals: the journal is measured, and `--metrics-textfile` is written.
//!
//! Invariant: it has its own thread, so a disk that hangs stops only this.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};

use super::{Exposition, Metrics, text};
use crate::fs::Fs;
use crate::fs::replace::replace;
use crate::journal::files::Usage;
use crate::limits::RECORDER_FINISH_MAX;
use crate::log;

/// The running thread.
pub struct Recorder {
    stop: Sender<()>,
    finished: Receiver<()>,
}

/// The work of each interval.
struct Recording<F> {
    fs: F,
    metrics: Arc<Metrics>,
    state_path: PathBuf,
    textfile: Option<Textfile>,
}

impl Recorder {
    /// Records at once, and then after each `interval`.
    pub fn start<F: Fs>(
        fs: &F,
        metrics: &Arc<Metrics>,
        state_path: &Path,
        textfile: Option<&Path>,
        interval: Duration,
    ) -> std::io::Result<Recorder> {
        let mut work = Recording {
            fs: fs.clone(),
            metrics: metrics.clone(),
            state_path: state_path.to_path_buf(),
            textfile: textfile.map(|path| Textfile::new(path, metrics)),
        };
        let (stop, stopped) = channel::bounded(0);
        let (done, finished) = channel::bounded::<()>(0);
        thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            loop {
                work.once();
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            work.once();
            drop(done);
        })?;
        Ok(Recorder { stop, finished })
    }

    /// Records once more and waits for that, for a limited time.
    pub fn finish(self) {
        drop(self.stop);
        let _ = self.finished.recv_timeout(RECORDER_FINISH_MAX);
    }
}

impl<F: Fs> Recording<F> {
    fn once(&mut self) {
        // After a failed measurement the old values stay.
        if let Ok(usage) = Usage::measure(&self.fs, &self.state_path) {
            self.metrics.journal_measured(&usage);
        }
        if let Some(textfile) = &mut self.textfile {
            textfile.write();
        }
    }
}

/// A file for node_exporter's textfile collector.
pub struct Textfile {
    path: PathBuf,
    exposition: Exposition,
    has_failed: bool,
}

impl Textfile {
    /// A writer for `path`; writes nothing yet.
    pub fn new(path: &Path, metrics: &Arc<Metrics>) -> Textfile {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Textfile { path: path.to_path_buf(), exposition: Exposition::of_file(metrics, name), has_failed: false }
    }

    /// Replaces the file. A failure is logged once, until a write succeeds.
    pub fn write(&mut self) {
        let Ok(text) = text(&self.exposition) else { return };
        let written = replace(&self.path, &text);
        if let (Err(error), false) = (&written, self.has_failed) {
            tracing::warn!(event = "metrics_textfile_failed", path = log::path(&self.path), error = %error);
        }
        self.has_failed = written.is_err();
    }
}
