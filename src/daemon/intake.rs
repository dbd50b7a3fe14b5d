//! The intake: decides when to look at staging, and hands complete files to the workers.
//!
//! Invariant: it never waits for anything but its own select; full queues are tried again when a report comes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError};
use crossbeam::select;

use super::signals::Stop;
use super::{Left, ToCommit};
use crate::Error;
use crate::config::{Config, Extent};
use crate::fs::Fs as _;
use crate::fs::notify::Hint;
use crate::fs::real::RealFs;
use crate::journal::state::{Kept, State};
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_FILES_MAX, FULL_DISK_RETRY, NOTE_BYTES_MIN};
use crate::metrics::{Metrics, Totals};
use crate::pipeline::commit::Committer;
use crate::pipeline::hash::Shared;
use crate::pipeline::recover::Recovered;
use crate::pipeline::scan::{NameRules, SCAN_SLICE_NAMES, Scanner};
use crate::pipeline::settle::{Mode, Reaction, Settle};
use crate::pipeline::{Outcome, Refusal, Report, Settled};

/// Where files come from.
pub(super) enum Source<'a> {
    /// The staging directory.
    Staging {
        /// The settings.
        config: &'a Config,
        /// Duplicates that are known to stay there.
        kept: Vec<Kept>,
        /// From inotify.
        hints: Receiver<Hint>,
    },
    /// Only what recovery resumes.
    Resumed,
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
    hints: Receiver<Hint>,
    /// None: no periodic scan.
    scan_interval: Option<Duration>,
    next_scan: Option<Duration>,
    /// Of `--once`: how long after the scan files may still become complete.
    window: Option<Duration>,
    /// Nothing more is taken after this time; what was taken is finished.
    deadline: Option<Duration>,
    metrics_interval: Duration,
    next_metrics: Duration,
    last_totals: Totals,
    chunk: Option<Vec<Settled>>,
    /// A large file that would have kept a chunk of small ones waiting: it goes next, alone.
    large: Option<(Settled, bool)>,
    resumed: Vec<Settled>,
    in_flight_max: usize,
    concurrency: usize,
    /// A copy found no room: nothing is tried before then.
    paused_until: Option<Duration>,
    full: Option<String>,
}

impl Intake {
    pub(super) fn new(
        source: Source<'_>,
        shared: &Arc<Shared<RealFs>>,
        in_flight_max: usize,
        concurrency: usize,
        metrics: Arc<Metrics>,
    ) -> Intake {
        let (rules, mode, busy_delay, kept, hints, config) = match source {
            Source::Staging { config, kept, hints } => {
                (config.name_rules(), config.mode, config.scan_interval, kept, hints, Some(config))
            }
            Source::Resumed => {
                let rules = NameRules { include: None, sidecar_suffix: None };
                let hints = crossbeam::channel::never();
                (rules, Mode::Stability(Duration::ZERO), FULL_DISK_RETRY, Vec::new(), hints, None)
            }
        };
        let once = config.is_none_or(|config| config.extent == Extent::Once);
        let mut settle = Settle::new(mode, busy_delay, kept.into_iter());
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
            scanner: Scanner::new(shared.fs.clone(), shared.staging.clone(), rules),
            shared: shared.clone(),
            last_totals: metrics.totals(),
            metrics,
            input: config.map(|config| config.paths.input.clone()),
            hints,
            scan_interval: config.filter(|_| !once).map(|config| config.scan_interval),
            next_scan: config.map(|_| Duration::ZERO),
            window: once.then_some(window),
            deadline: config.is_none().then_some(Duration::ZERO),
            metrics_interval: config.map_or(SLEEP_MAX, |config| config.metrics_interval),
            next_metrics: config.map_or(SLEEP_MAX, |config| config.metrics_interval),
            chunk: None,
            large: None,
            resumed: Vec::new(),
            in_flight_max,
            concurrency,
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
        chunks: &Sender<Vec<Settled>>,
        to_commit: &Sender<ToCommit<RealFs>>,
        reports: &Receiver<Vec<Report>>,
        stop: &Stop,
    ) -> Result<(), Error> {
        loop {
            let hints = self.hints.clone();
            let now = self.started.elapsed();
            self.look_around(now)?;
            self.feed(chunks, to_commit, now)?;
            if self.is_finished(now) {
                return match self.full.take() {
                    Some(error) => Err(crate::pipeline::Error::Full(error).into()),
                    None => Ok(()),
                };
            }
            let sleep = self.sleep(self.started.elapsed());
            select! {
                recv(stop.wake) -> _ => return Ok(()),
                recv(reports) -> batch => {
                    let batch = batch.map_err(|_| Error::Thread("commit"))?;
                    let now = self.started.elapsed();
                    batch.iter().try_for_each(|report| self.hear(report, now))?;
                }
                recv(hints) -> hint => self.follow(hint.ok(), self.started.elapsed())?,
                default(sleep) => {}
            }
        }
    }

    /// What is left in staging, and why.
    pub(super) fn left(mut self, input: &Path, state: &State) -> Result<Vec<Left>, Error> {
        let mut left = Vec::new();
        for (name, sha256) in self.settle.take_kept() {
            let original = state.original(&sha256)?.map(|original| original.warehouse_path.to_path_buf());
            left.push(Left::Duplicate(input.join(&*name), original));
        }
        left.extend(self.settle.waiting().map(|(name, why)| Left::Waiting(input.join(&**name), why)));
        left.sort_by(|one, other| one.path().cmp(other.path()));
        Ok(left)
    }

    /// One slice of whatever is due: single names, the scan, the metrics.
    fn look_around(&mut self, now: Duration) -> Result<(), Error> {
        let due_until = self.deadline.map_or(now, |deadline| deadline.min(now));
        for name in self.settle.take_due(due_until, SCAN_SLICE_NAMES) {
            self.scanner.look_at(&mut self.settle, &name, false, now)?;
        }
        if self.scanner.is_scanning() {
            self.scanner.slice(&mut self.settle, now)?;
            if !self.scanner.is_scanning() {
                self.next_scan = self.scan_interval.map(|interval| now + interval);
                self.deadline = self.window.map(|window| now + window);
            }
        } else if self.next_scan.is_some_and(|next| next <= now) {
            self.check_input()?;
            self.scanner.begin(&mut self.settle)?;
        }
        if now >= self.next_metrics {
            self.metrics.report(self.settle.ready() + self.settle.in_flight(), &self.last_totals);
            self.last_totals = self.metrics.totals();
            self.next_metrics = now + self.metrics_interval;
        }
        Ok(())
    }

    /// The staging path still stands for the directory that we have open and locked.
    fn check_input(&self) -> Result<(), Error> {
        let Some(input) = &self.input else { return Ok(()) };
        let fs = &self.shared.fs;
        let known = fs.stat_dir(&self.shared.staging)?.identity.key();
        let now = fs.open_dir(input).and_then(|dir| fs.stat_dir(&dir));
        match now {
            Ok(stat) if stat.identity.key() == known => Ok(()),
            _ => Err(Error::InputReplaced(input.clone())),
        }
    }

    fn follow(&mut self, hint: Option<Hint>, now: Duration) -> Result<(), Error> {
        match hint {
            Some(Hint::Names(names)) => {
                for name in names {
                    self.scanner.look(&mut self.settle, &name, now)?;
                }
            }
            Some(Hint::Rescan) => self.next_scan = Some(now),
            // The periodic scan goes on, and will find out what became of the directory.
            Some(Hint::Ended) | None => self.hints_ended(now),
        }
        Ok(())
    }

    fn hints_ended(&mut self, now: Duration) {
        self.hints = crossbeam::channel::never();
        self.next_scan = Some(now);
    }

    /// Hands out complete files until the queue or the limit is full.
    fn feed(
        &mut self,
        chunks: &Sender<Vec<Settled>>,
        to_commit: &Sender<ToCommit<RealFs>>,
        now: Duration,
    ) -> Result<(), Error> {
        if self.paused_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        self.paused_until = None;
        loop {
            if self.chunk.is_none() {
                self.chunk = self.next_chunk(to_commit)?;
            }
            let Some(chunk) = self.chunk.take() else { return Ok(()) };
            let small = chunk.iter().filter(|settled| settled.is_small()).count();
            match chunks.try_send(chunk) {
                Ok(()) => self.shared.under_way.fetch_add(small, Ordering::Relaxed),
                Err(TrySendError::Full(chunk)) => {
                    self.chunk = Some(chunk);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(Error::Thread("hash")),
            };
        }
    }

    /// The next files that travel together: as few as keep every worker busy, a large one alone.
    fn next_chunk(&mut self, to_commit: &Sender<ToCommit<RealFs>>) -> Result<Option<Vec<Settled>>, Error> {
        let share = self.settle.ready().div_ceil(self.concurrency);
        let files_max = share.clamp(1, CHUNK_FILES_MAX);
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while chunk.len() < files_max && bytes < CHUNK_BYTES_MAX {
            let Some((settled, is_resumed)) = self.next_file() else { break };
            if !chunk.is_empty() && !settled.is_small() {
                self.large = Some((settled, is_resumed));
                break;
            }
            if tracing::enabled!(tracing::Level::DEBUG)
                && let Some(input) = &self.input
            {
                self.metrics.file_ready(&input.join(&*settled.name), settled.identity.size);
            }
            // What is resumed stands in the journal already, with the id and instant that it keeps.
            if settled.identity.size >= NOTE_BYTES_MIN && !is_resumed {
                let note = ToCommit::Note(settled.clone());
                to_commit.send(note).map_err(|_| Error::Thread("commit"))?;
            }
            bytes += settled.identity.size;
            chunk.push(settled);
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The next file, and whether recovery resumes it.
    fn next_file(&mut self) -> Option<(Settled, bool)> {
        if let Some(large) = self.large.take() {
            return Some(large);
        }
        if let Some(settled) = self.resumed.pop() {
            return Some((settled, true));
        }
        if self.settle.in_flight() >= self.in_flight_max {
            return None;
        }
        self.settle.take_ready(self.shared.fs.now()).map(|settled| (settled, false))
    }

    /// Hears what became of a file.
    fn hear(&mut self, report: &Report, now: Duration) -> Result<(), Error> {
        let reaction = self.settle.report(report, now);
        self.log_refusal(report, &reaction, now);
        // `replay` watches nothing: what is not finished by what the journal knows is for the daemon to find.
        if reaction.look_again && self.input.is_some() {
            self.scanner.look_at(&mut self.settle, &report.name, true, now)?;
        }
        Ok(())
    }

    fn log_refusal(&mut self, report: &Report, reaction: &Reaction, now: Duration) {
        let path = |name: &OsStr| self.input.as_deref().unwrap_or(Path::new("")).join(name);
        match &report.outcome {
            Outcome::Refused(Refusal::Failed(error)) if error.is_no_space() => {
                if self.full.is_none() {
                    self.metrics.disk_full(&error.to_string(), FULL_DISK_RETRY);
                }
                self.full = Some(error.to_string());
                self.paused_until = Some(now + FULL_DISK_RETRY);
            }
            Outcome::Refused(Refusal::Failed(error)) => {
                self.metrics.file_failed(&path(&report.name), &error.to_string(), reaction.retry_in);
            }
            Outcome::Refused(Refusal::ChecksumDiffers { expected, actual }) => {
                let error = format!("SHA-256 is {actual}, but the sidecar says {expected}");
                self.metrics.file_failed(&path(&report.name), &error, None);
            }
            // The file that found no room may turn out to be a duplicate once it finds some.
            Outcome::Ingested { .. } | Outcome::Kept(_) | Outcome::Cleared if self.full.take().is_some() => {
                self.metrics.disk_has_room();
            }
            _ => {}
        }
    }

    /// True when nothing is left to wait for: only `--once` and `replay` ever are.
    fn is_finished(&self, now: Duration) -> bool {
        let nothing_under_way = !self.scanner.is_scanning()
            && self.chunk.is_none()
            && self.resumed.is_empty()
            && self.settle.in_flight() == 0;
        let Some(deadline) = self.deadline else { return false };
        let nothing_due = self.settle.next_due().is_none_or(|due| due > deadline);
        let stopped_by_full_disk = self.full.is_some();
        nothing_under_way && (stopped_by_full_disk || now >= deadline && nothing_due && self.settle.ready() == 0)
    }

    /// How long nothing will be due.
    fn sleep(&self, now: Duration) -> Duration {
        if self.scanner.is_scanning() {
            return Duration::ZERO;
        }
        let due = self.settle.next_due().filter(|due| self.deadline.is_none_or(|deadline| *due <= deadline));
        let wakes = [self.next_scan, due, self.paused_until, self.deadline.filter(|at| *at > now)];
        let next = wakes.into_iter().flatten().chain([self.next_metrics]).min().unwrap_or(SLEEP_MAX);
        next.saturating_sub(now).min(SLEEP_MAX)
    }
}

impl Left {
    fn path(&self) -> &Path {
        match self {
            Left::Waiting(path, _) | Left::Duplicate(path, _) => path,
        }
    }
}
