//! The intake: decides when to look at staging, and hands complete files to the workers.
//!
//! Invariant: it never waits for anything but its own select; full queues are tried again when a report comes.

mod feed;
mod hear;
mod staging;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use crossbeam::select;

use super::control::Asked;
use super::signals::Stop;
use super::{Committed, Left, ToCommit};
use crate::Error;
use crate::config::{Config, Extent};
use crate::fs::Fs as _;
use crate::fs::notify::Hint;
use crate::fs::real::RealFs;
use crate::journal::index::Index;
use crate::journal::ingest::Kept;
use crate::journal::record::DuplicateAction;
use crate::limits::{FULL_DISK_RETRY, READY_FILES_MAX};
use crate::metrics::{Metrics, Queue, Totals};
use crate::pipeline::Settled;
use crate::pipeline::commit::Committer;
use crate::pipeline::hash::Shared;
use crate::pipeline::places::Places;
use crate::pipeline::recover::Recovered;
use crate::pipeline::scan::{NameRules, Scanner, scan_pause};
use crate::pipeline::settle::{Mode, Settle};
use crate::pulse;
use staging::Staging;

/// Where files come from.
pub(super) enum Source<'a> {
    /// The staging directory.
    Staging {
        /// The settings.
        config: &'a Config,
        /// Duplicates that are known to lie there.
        kept: Vec<Kept>,
        /// From inotify.
        hints: Hints,
        /// Questions about single files.
        asked: Receiver<Asked>,
    },
    /// Only what recovery resumes.
    Resumed,
}

/// What inotify tells.
pub(super) struct Hints {
    pub(super) receiver: Receiver<Hint>,
    /// Set when there was no room for one.
    pub(super) overflowed: Arc<AtomicBool>,
    /// True if it misses nothing, so that scans are only a second look.
    pub(super) hears_all: bool,
}

impl Hints {
    /// Nothing is told.
    pub(super) fn none() -> Hints {
        Hints { receiver: crossbeam::channel::never(), overflowed: Arc::default(), hears_all: false }
    }
}

/// Where complete files go.
pub(super) struct ToHash {
    /// Small ones, some together.
    pub(super) small: Sender<Vec<Settled>>,
    /// Large ones.
    pub(super) large: Sender<Settled>,
}

/// A file that found no room for its copy.
struct Full {
    name: Arc<OsStr>,
    error: String,
}

/// The longest that the intake sleeps when nothing is due.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The state of the intake.
pub(super) struct Intake {
    started: Instant,
    settle: Settle,
    scanner: Scanner<RealFs>,
    shared: Arc<Shared<RealFs>>,
    metrics: Arc<Metrics>,
    input: Option<PathBuf>,
    hints: Hints,
    asked: Receiver<Asked>,
    /// What went wrong with files that are still there, the last time; oldest first.
    errors: VecDeque<(Arc<OsStr>, String)>,
    /// None: no periodic scan.
    scan_interval: Option<Duration>,
    next_scan: Option<Duration>,
    /// How long the scan under way has taken so far.
    scan_took: Duration,
    staging: Staging,
    /// Of `--once`: how long after the scan files may still become complete.
    window: Option<Duration>,
    /// Nothing more is taken after this time; what was taken is finished.
    deadline: Option<Duration>,
    /// Of `--once`: the last scan has begun.
    searches_last: bool,
    metrics_interval: Duration,
    next_metrics: Duration,
    last_totals: Totals,
    /// Small files for which there was no room.
    chunk: Option<Vec<Settled>>,
    resumed: Vec<Settled>,
    in_flight_max: usize,
    concurrency: usize,
    /// What has to stay in its place.
    pub(super) places: Option<Arc<Places<RealFs>>>,
    next_look: Duration,
    /// The longest that it sleeps: so often a watchdog looks whether it goes on.
    pub(super) turn_max: Duration,
    /// A copy found no room: nothing is tried before then.
    paused_until: Option<Duration>,
    full: Option<Full>,
}

impl Intake {
    pub(super) fn new(
        source: Source<'_>,
        shared: &Arc<Shared<RealFs>>,
        in_flight_max: usize,
        concurrency: usize,
        metrics: Arc<Metrics>,
    ) -> Intake {
        let (kept, hints, asked, config) = match source {
            Source::Staging { config, kept, hints, asked } => (kept, hints, asked, Some(config)),
            Source::Resumed => (Vec::new(), Hints::none(), channel::never(), None),
        };
        let rules = config.map_or_else(NameRules::default, Config::name_rules);
        let mode = config.map_or(Mode::Stability(Duration::ZERO), |config| config.mode);
        let busy_delay = config.map_or(FULL_DISK_RETRY, |config| config.scan_interval);
        let once = config.is_none_or(|config| config.extent == Extent::Once);
        let recognizes = config.is_some_and(|config| config.duplicates == DuplicateAction::Keep);
        let recognized = kept.iter().copied().filter(|_| recognizes);
        let mut settle = Settle::new(mode, busy_delay, recognized);
        // Under another rule they are looked at anew; those that are not there any more are noticed all the same.
        kept.iter().filter(|_| !recognizes).for_each(|kept| settle.watch_kept(kept.identity));
        if once {
            settle.note_kept();
        }
        let window = match mode {
            Mode::Stability(window) => window,
            Mode::Sidecar => Duration::ZERO,
        };
        Intake {
            started: Instant::now(),
            settle,
            scanner: Scanner::new(shared.fs.clone(), shared.staging.clone(), rules).with_notes(shared.notes.clone()),
            shared: shared.clone(),
            last_totals: metrics.totals(),
            metrics,
            input: config.map(|config| config.paths.input.clone()),
            hints,
            asked,
            errors: VecDeque::new(),
            scan_interval: config.filter(|_| !once).map(|config| config.scan_interval),
            next_scan: config.map(|_| Duration::ZERO),
            scan_took: Duration::ZERO,
            staging: Staging::new(shared, config),
            window: once.then_some(window),
            deadline: config.is_none().then_some(Duration::ZERO),
            searches_last: false,
            metrics_interval: config.map_or(SLEEP_MAX, |config| config.metrics_interval),
            next_metrics: config.map_or(SLEEP_MAX, |config| config.metrics_interval),
            chunk: None,
            resumed: Vec::new(),
            in_flight_max,
            concurrency,
            places: None,
            next_look: Duration::ZERO,
            turn_max: SLEEP_MAX,
            paused_until: None,
            full: None,
        }
    }

    /// Takes in what recovery found DISCOVERED.
    pub(super) fn adopt(&mut self, recovered: Recovered, committer: &mut Committer<RealFs>) {
        for (id, mut settled) in recovered.resumed {
            self.settle.adopt(&mut settled);
            committer.resume(settled.ticket, id);
            self.resumed.push(settled);
        }
        self.resumed.reverse();
    }

    /// Runs until a signal, the end of `--once`, or an error.
    pub(super) fn run(
        &mut self,
        to_hash: &ToHash,
        to_commit: &Sender<ToCommit<RealFs>>,
        reports: &Receiver<Committed<RealFs>>,
        stop: &Stop,
    ) -> Result<(), Error> {
        loop {
            pulse::step();
            let (hints, asked) = (self.hints.receiver.clone(), self.asked.clone());
            let now = self.started.elapsed();
            self.look_around(now)?;
            self.tell_gone(to_commit)?;
            self.feed(to_hash, to_commit, now)?;
            if self.is_finished(now) && !self.wants_last_search(now) {
                return match self.full.take() {
                    Some(full) => Err(crate::pipeline::Error::Full(full.error).into()),
                    None => Ok(()),
                };
            }
            self.publish();
            let sleep = self.sleep(self.started.elapsed());
            pulse::rest();
            select! {
                recv(stop.wake) -> _ => return Ok(()),
                recv(reports) -> batch => {
                    let Committed { reports, finished } = batch.map_err(|_| Error::Thread("commit"))?;
                    pulse::step();
                    drop(finished);
                    let now = self.started.elapsed();
                    reports.iter().try_for_each(|report| self.hear(report, now))?;
                }
                recv(hints) -> hint => {
                    pulse::step();
                    self.follow(hint.ok(), self.started.elapsed())?;
                }
                recv(asked) -> asked => {
                    pulse::step();
                    self.answer(asked.ok(), self.started.elapsed());
                }
                default(sleep) => {}
            }
        }
    }

    /// What is left in staging, and why.
    pub(super) fn left(mut self, input: &Path, state: &Index) -> Result<Vec<Left>, Error> {
        let mut left = Vec::new();
        for (name, sha256) in self.settle.take_kept() {
            let original = state.original(&sha256)?.map(|original| original.warehouse_path.to_path_buf());
            left.push(Left::Duplicate(input.join(&*name), original));
        }
        left.extend(self.settle.waiting().map(|(name, why)| Left::Waiting(input.join(&**name), why)));
        left.extend(self.scanner.orphans().iter().map(|name| Left::Orphan(input.join(name))));
        let (ignored, more) = self.scanner.into_ignored();
        left.extend(ignored.into_iter().map(|(name, why)| Left::Ignored(input.join(&*name), why)));
        left.sort_by(|one, other| one.path().cmp(&other.path()));
        left.extend((more > 0).then_some(Left::MoreIgnored(more)));
        Ok(left)
    }

    /// One slice of whatever is due: single names, the scan, the metrics.
    fn look_around(&mut self, now: Duration) -> Result<(), Error> {
        // However long scans may rest.
        if let (Some(places), Some(interval)) =
            (self.places.as_ref().filter(|_| now >= self.next_look), self.scan_interval)
        {
            places.look()?;
            self.check_input()?;
            self.next_look = now + interval;
        }
        let due_until = self.deadline.map_or(now, |deadline| deadline.min(now));
        self.look_at_due(due_until, now)?;
        if self.may_scan() {
            let began = Instant::now();
            let seen = self.scanner.slice(&mut self.settle, now);
            self.scan_took += began.elapsed();
            let is_whole = seen.is_ok() && !self.scanner.is_scanning();
            self.is_scanned(seen, now)?;
            if is_whole {
                self.staging_was_seen();
                self.metrics.scanned(self.shared.fs.now(), self.scan_took, self.scanner.ignored());
                let pause = |interval| scan_pause(interval, self.scan_took, self.hints.hears_all);
                if self.settle.wants_another_scan() {
                    self.next_scan = Some(now);
                }
                // Unless somebody has asked for another meanwhile: what this one has passed it may have missed.
                self.next_scan = self.next_scan.or(self.scan_interval.map(|interval| now + pause(interval)));
                if !self.searches_last {
                    self.deadline = self.window.map(|window| now + window);
                }
            }
        } else if !self.scanner.is_scanning() && self.next_scan.is_some_and(|next| next <= now) {
            (self.scan_took, self.next_scan) = (Duration::ZERO, None);
            let begun = self.check_input()?.map_or_else(|| self.scanner.begin(&mut self.settle), Err);
            self.is_scanned(begun, now)?;
        }
        if now >= self.next_metrics {
            self.publish();
            self.metrics.report(&self.last_totals);
            self.last_totals = self.metrics.totals();
            self.next_metrics = now + self.metrics_interval;
        }
        Ok(())
    }

    /// Shows how things stand.
    fn publish(&self) {
        self.metrics.queue(&Queue {
            waiting: self.settle.incomplete(),
            held: self.settle.held(),
            ready: self.settle.ready(),
            in_flight: self.settle.in_flight(),
            oldest: self.settle.oldest_seen().map(|seen| self.started + seen),
        });
    }

    /// A scan is under way, and what it finds does not only wait: each name takes memory until its file is ingested.
    fn may_scan(&self) -> bool {
        self.scanner.is_scanning() && self.settle.ready() < READY_FILES_MAX
    }

    fn follow(&mut self, hint: Option<Hint>, now: Duration) -> Result<(), Error> {
        if self.hints.overflowed.swap(false, Ordering::Relaxed) {
            self.next_scan = Some(now);
        }
        match hint {
            Some(Hint::Names(names)) => {
                for name in names {
                    let seen = self.scanner.look(&mut self.settle, &name, now);
                    self.is_seen(seen, now)?;
                }
            }
            Some(Hint::Rescan) => self.next_scan = Some(now),
            // The periodic scan goes on, and will find out what became of the directory.
            Some(Hint::Ended) | None => self.hints_ended(now),
        }
        Ok(())
    }

    fn hints_ended(&mut self, now: Duration) {
        self.hints = Hints::none();
        self.next_scan = Some(now);
    }

    /// True when nothing is left to wait for: only `--once` and `replay` ever are.
    fn is_finished(&self, now: Duration) -> bool {
        let ends = self.window.is_some() || self.deadline.is_some();
        let is_under_way = self.chunk.is_some() || !self.resumed.is_empty() || self.settle.in_flight() > 0;
        if !ends || is_under_way {
            return false;
        }
        if self.full.is_some() {
            return true;
        }
        let Some(deadline) = self.deadline else { return false };
        let nothing_due = self.settle.next_due().is_none_or(|due| due > deadline);
        // Another scan may be wanted, to tell what is gone.
        !self.scanner.is_scanning()
            && self.next_scan.is_none()
            && now >= deadline
            && nothing_due
            && self.settle.ready() == 0
    }

    /// At the end of `--once`: begins a last scan, if something was missed that could be among the files that were taken.
    fn wants_last_search(&mut self, now: Duration) -> bool {
        let wants =
            self.window.is_some() && !self.searches_last && self.full.is_none() && self.settle.misses_something();
        if wants {
            (self.searches_last, self.next_scan) = (true, Some(now));
        }
        wants
    }

    /// How long nothing will be due.
    fn sleep(&self, now: Duration) -> Duration {
        if self.may_scan() {
            return Duration::ZERO;
        }
        let next_scan = self.next_scan.filter(|_| !self.scanner.is_scanning());
        let is_looked_at = !self.staging.is_failing();
        let due = self.settle.next_due().filter(|_| is_looked_at);
        let due = due.filter(|due| self.deadline.is_none_or(|deadline| *due <= deadline));
        let wakes = [next_scan, due, self.paused_until, self.deadline.filter(|at| *at > now)];
        let next_look = self.scan_interval.map(|_| self.next_look);
        let next = wakes.into_iter().chain([next_look]).flatten().chain([self.next_metrics]).min().unwrap_or(SLEEP_MAX);
        next.saturating_sub(now).min(self.turn_max)
    }
}

impl Left {
    fn path(&self) -> Option<&Path> {
        match self {
            Left::Waiting(path, _) | Left::Duplicate(path, _) | Left::Ignored(path, _) | Left::Orphan(path) => {
                Some(path)
            }
            Left::MoreIgnored(_) => None,
        }
    }
}
