//! What a running ingestor shows of itself: as JSON, as a page for a browser, and for `status --watch`.
//!
//! Invariants:
//! - Nothing that is asked here changes anything.
//! - The state of the process is read from memory. The files that wait are known to the intake alone: it is asked for a few
//!   of them at a time, one request at a time, with pauses in between that are several times as long as its answers. So no
//!   number of requests takes more than a fifth of its time, and no answer needs a copy of all files.
//! - Names are data: they are strings of JSON, and the page makes text of them, never markup.

pub mod ask;
mod hosts;
mod json;
mod query;
pub mod routes;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::fs::host;
use crate::limits::{WAITING_LOCK_MAX, WAITING_PAGE_DEFAULT, WAITING_PAGE_MAX, WAITING_PART_ROWS, WAITING_WALK_MAX};
use crate::log::json::text;
use crate::metrics::Metrics;
use crate::metrics::labels::Label as _;
use crate::metrics::recent::RecentKind;
use ask::{Asked, Asker, Search};
use json::{happened, put_path, waits};
pub use query::Wanted;

/// The intake rests so many times as long as it worked on an answer.
const RESTS: u32 = 4;
/// The pause between two tries to begin.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// What it shows.
pub struct Page {
    metrics: Arc<Metrics>,
    /// What does not change while it runs.
    site: Map<String, Value>,
    input: PathBuf,
    asker: Asker,
    /// Held while the files that wait are gone through.
    walk: Mutex<()>,
}

/// Why there is no answer at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Files are not taken now.
    #[error("{0}")]
    NotRunning(&'static str),
    /// The intake waits for a disk, or for something that takes long.
    #[error(
        "the ingestor does not answer questions about files at this moment; it may be waiting for a disk: ask again"
    )]
    Busy,
    /// Another request goes through the files.
    #[error("another request goes through the files that wait: ask again")]
    Crowded,
}

impl Page {
    /// What an ingestor with these settings shows; and the questions to its intake.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> (Page, Receiver<Asked>) {
        let (asker, asked) = Asker::new();
        let paths = &config.paths;
        let mut site = Map::new();
        site.insert("host".to_owned(), host::name().into());
        for (key, path) in [
            ("input", &paths.input),
            ("warehouse", &paths.warehouse),
            ("manifests", &paths.manifests),
            ("state_path", &paths.state),
        ] {
            put_path(&mut site, key, path);
        }
        site.insert("mode".to_owned(), config.completeness.mode.text().into());
        let (metrics, input) = (metrics.clone(), paths.input.clone());
        (Page { metrics, site, input, asker, walk: Mutex::new(()) }, asked)
    }

    /// The way to ask the intake.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// The process as a whole.
    pub fn status(&self) -> String {
        let mut status = self.metrics.view();
        status.extend(self.site.clone());
        text(&status)
    }

    /// What happened last.
    pub fn recent(&self) -> String {
        let list = |kind: &RecentKind| {
            let events = self.metrics.recent(*kind);
            (kind.text().to_owned(), events.iter().map(|event| happened(event)).collect())
        };
        text(&RecentKind::ALL.iter().map(list).collect::<Map<_, _>>())
    }

    /// Files that wait, those that were first seen first.
    ///
    /// # Errors
    /// There is no answer at this moment. A later one may succeed.
    pub fn waiting(&self, wanted: &Wanted) -> Result<String, Unavailable> {
        let began = Instant::now();
        let _one_at_a_time = loop {
            match self.walk.try_lock() {
                Ok(lock) => break lock,
                Err(std::sync::TryLockError::Poisoned(lock)) => break lock.into_inner(),
                Err(std::sync::TryLockError::WouldBlock) if began.elapsed() < WAITING_LOCK_MAX => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(std::sync::TryLockError::WouldBlock) => return Err(Unavailable::Crowded),
            }
        };
        if !self.metrics.is_running() {
            return Err(Unavailable::NotRunning(self.metrics.not_ready().unwrap_or("not running")));
        }
        let began = Instant::now();
        let limit = wanted.limit.unwrap_or(WAITING_PAGE_DEFAULT).clamp(1, WAITING_PAGE_MAX);
        let (mut files, mut after) = (Vec::new(), wanted.after);
        let known = loop {
            let rows = WAITING_PART_ROWS.min(limit - files.len());
            let part = self.asker.search(Search { after, rows, name: wanted.name.clone() }).ok_or(Unavailable::Busy)?;
            files.extend(part.files.iter().map(|staged| waits(&self.input, staged)));
            after = part.next;
            if after.is_none() || files.len() >= limit || began.elapsed() > WAITING_WALK_MAX {
                break part.known;
            }
            thread::sleep(part.took * RESTS);
        };
        let next = after.map(|age| query::cursor(&age));
        Ok(text(&json!({ "files": files, "next": next, "known": known })))
    }
}
