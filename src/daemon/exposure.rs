//! What the running ingestor publishes: the HTTP listener, and metrics that are recorded at fixed intervals.
//!
//! Invariant: an unusable address, like everything else that is wrong with the settings, is found before anything is
//! modified; later failures stop nothing.

use std::path::Path;
use std::sync::Arc;

use crate::Error;
use crate::config::{self, Config};
use crate::follow::lag::lags;
use crate::fs::real::RealFs;
use crate::metrics::Metrics;
use crate::metrics::consumers::ConsumerLag;
use crate::metrics::disks;
use crate::metrics::health::Phase;
use crate::metrics::http::{Answers, Listener, Nothing};
use crate::metrics::recorder::{Look, Recorder, Textfile};
use crate::page::Page;
use crate::page::routes::Routes;

/// The exit code of a process that found another one running.
const LOCKED: u8 = 4;

pub(super) struct Exposure<'a> {
    config: &'a Config,
    metrics: &'a Arc<Metrics>,
    listener: Option<Listener>,
    recorder: Option<Recorder>,
}

impl<'a> Exposure<'a> {
    /// Binds the address; requests are not answered yet.
    pub(super) fn new(config: &'a Config, metrics: &'a Arc<Metrics>) -> Result<Exposure<'a>, Error> {
        let bind = |address: &String| {
            Listener::bind(address).map_err(|source| config::Error::Listen { address: address.clone(), source })
        };
        let listener = config.metrics.listen.as_ref().map(bind).transpose()?;
        Ok(Exposure { config, metrics, listener, recorder: None })
    }

    /// Answers requests from now on, also during recovery, which may take a while.
    pub(super) fn listen(&mut self, page: &Arc<Page>) -> Result<(), Error> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let routes: Arc<dyn Answers> = match self.config.metrics.has_page {
            true => Arc::new(Routes::new(page, listener.is_loopback())),
            false => Arc::new(Nothing),
        };
        listener.serve(self.metrics, &routes).map_err(|_| Error::Thread("http"))
    }

    /// Records metrics from now on, if they are published anywhere, and for the page the room on the disks. Only after the
    /// locks are held: from then on the journal and the textfile belong to this process.
    pub(super) fn record(&mut self, fs: &RealFs, journal: [u8; 16]) -> Result<(), Error> {
        let (state, textfile) = (&self.config.paths.state, self.config.paths.metrics_textfile.as_deref());
        if textfile.is_some() || self.config.metrics.listen.is_some() {
            let look = consumers(fs, &self.config.paths.manifests, journal);
            let started = Recorder::start(fs, self.metrics, (state, look), textfile, self.config.metrics.interval);
            self.recorder = Some(started.map_err(|_| Error::Thread("metrics"))?);
        }
        if self.config.metrics.listen.is_some() && self.config.metrics.has_page {
            let watched = disks::watch(fs, self.metrics, self.config.places(), self.config.metrics.interval);
            watched.map_err(|_| Error::Thread("disks"))?;
        }
        Ok(())
    }

    /// Publishes the metrics for the last time.
    pub(super) fn finish(self, error: Option<&Error>) {
        self.metrics.enter(if error.is_none() { Phase::Stopped } else { Phase::Failed });
        let is_ours = error.is_none_or(|error| error.exit_code() != LOCKED);
        match (self.recorder, &self.config.paths.metrics_textfile) {
            (Some(recorder), _) => recorder.finish(),
            // It ended before recording began; the textfile of another running ingestor must not be overwritten.
            (None, Some(path)) if is_ours => Textfile::new(path, self.metrics).write(),
            (None, _) => {}
        }
    }
}

/// A look at the consumers that keep their positions beside the manifests. A lake's manifests are not in a directory.
fn consumers(fs: &RealFs, manifests: &Path, journal: [u8; 16]) -> Look {
    let (fs, manifests) = (fs.clone(), manifests.to_path_buf());
    Box::new(move |metrics| {
        let found = lags(&fs, &manifests, &journal).into_iter().map(|lag| ConsumerLag {
            name: lag.consumer.to_string(),
            lines: lag.lines,
            oldest: lag.oldest,
            acknowledged_at: lag.position.ok().map(|position| position.stored_at),
        });
        metrics.consumers_measured(found.collect());
    })
}
