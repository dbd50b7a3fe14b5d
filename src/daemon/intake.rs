//! The intake: decides when to scan staging, and hands complete files to the workers.
//!
//! Invariant: apart from its own select and its file calls, it waits in only two places, with its heartbeat marked as
//! waiting: in sends to the committer (DISCOVERED notes and removed kept duplicates), while the committer waits for the
//! disk; and in sends to the queue of large files, which has room for all files in flight. It never waits for the queue
//! of small files: when that is full, it tries again after the next report.

mod ahead;
mod answer;
mod feed;
mod groups;
mod hear;
mod look;
mod schedule;
mod staging;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use crossbeam::select;

use super::channels::{Committed, Hints, Load, ToCommit, ToHash};
use super::left::Left;
use super::signals::Stop;
use crate::Error;
use crate::config::{Config, Extent};
use crate::fs::Fs as _;
use crate::fs::notify::{Changes, Hint};
use crate::fs::real::RealFs;
use crate::heartbeat;
use crate::journal::index::Index;
use crate::journal::ingest::Kept;
use crate::journal::record::DuplicateAction;
use crate::limits::{FULL_DISK_RETRY, READY_FILES_MAX};
use crate::metrics::{Metrics, QueueDepths, Totals};
use crate::page::ask::Asked;
use crate::pipeline::Settled;
use crate::pipeline::commit::Committer;
use crate::pipeline::hash::Shared;
use crate::pipeline::places::Places;
use crate::pipeline::recover::Recovered;
use crate::pipeline::scan::{NameRules, Scanner, scan_pause};
use crate::pipeline::settle::bounds::Bounds;
use crate::pipeline::settle::{Mode, Settle};
use ahead::Ahead;
use schedule::{SLEEP_MAX, Schedule};
use staging::StagingHealth;

/// Where files come from.
pub(super) enum Source<'a> {
    /// The staging directory.
    Staging {
        /// The settings.
        config: &'a Config,
        /// Kept duplicates that are known to be in staging.
        kept: Vec<Kept>,
        /// From inotify.
        hints: Hints,
        /// Questions about files.
        asked: Receiver<Asked>,
    },
    /// Only files that recovery resumes.
    Resumed,
}

/// A file that found no room for its copy.
struct Full {
    name: Arc<OsStr>,
    error: String,
}

/// The state of the intake.
pub(super) struct Intake {
    started: Instant,
    settle: Settle,
    scanner: Scanner<RealFs>,
    shared: Arc<Shared<RealFs>>,
    metrics: Arc<Metrics>,
    last_totals: Totals,
    input: Option<PathBuf>,
    staging: StagingHealth,
    hints: Hints,
    asked: Receiver<Asked>,
    /// The last errors of files that are still there, the oldest first.
    errors: VecDeque<(Arc<OsStr>, String)>,
    schedule: Schedule,
    outbox: Outbox,
    /// The directories that must not be replaced.
    places: Arc<Places<RealFs>>,
    /// After how long an incomplete group is reported.
    group_timeout: Option<Duration>,
}

/// Files that wait to be handed out.
struct Outbox {
    /// Small files for which the queue had no room.
    chunk: Option<Vec<Settled>>,
    resumed: Vec<Settled>,
    load: Load,
    /// The file that found no room for its copy.
    full: Option<Full>,
    /// Where the order is kept: the files on their way.
    ahead: Option<Ahead>,
}

impl Intake {
    /// It never sleeps longer than `turn_max`.
    pub(super) fn new(
        source: Source<'_>,
        shared: &Arc<Shared<RealFs>>,
        places: Arc<Places<RealFs>>,
        load: Load,
        metrics: Arc<Metrics>,
        turn_max: Duration,
    ) -> Intake {
        let (kept, hints, asked, config) = match source {
            Source::Staging { config, kept, hints, asked } => (kept, hints, asked, Some(config)),
            Source::Resumed => (Vec::new(), Hints::none(), channel::never(), None),
        };
        // Without settings, only files of an earlier run are finished: in their order.
        let ahead = config.is_none_or(|config| config.completeness.order.is_some()).then(Ahead::default);
        let rules = config.map_or_else(NameRules::default, Config::name_rules);
        Intake {
            started: Instant::now(),
            settle: settle(config, &kept),
            scanner: Scanner::new(shared.fs.clone(), shared.staging.clone(), rules)
                .with_notes(shared.notes.clone())
                .with_own(config.map(Config::own_places).unwrap_or_default())
                .with_ear(hints.ear()),
            shared: shared.clone(),
            last_totals: metrics.totals(),
            metrics,
            input: config.map(|config| config.paths.input.clone()),
            staging: StagingHealth::new(shared, config),
            hints,
            asked,
            errors: VecDeque::new(),
            schedule: Schedule::new(config, turn_max),
            outbox: Outbox { chunk: None, resumed: Vec::new(), load, full: None, ahead },
            places,
            group_timeout: config.and_then(|config| config.completeness.group_timeout),
        }
    }

    /// True if files are committed in the order in which they are handed out.
    pub(super) fn keeps_order(&self) -> bool {
        self.outbox.ahead.is_some()
    }

    /// Takes over the files that recovery found DISCOVERED.
    pub(super) fn adopt(&mut self, mut recovered: Recovered, committer: &mut Committer<RealFs>) {
        recovered.resumed.sort_unstable_by_key(|(id, _)| *id);
        for (id, mut settled) in recovered.resumed {
            self.settle.adopt(&mut settled);
            committer.resume(settled.ticket, id);
            self.outbox.resumed.push(settled);
        }
        self.outbox.resumed.reverse();
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
            heartbeat::step();
            let (hints, asked) = (self.hints.receiver.clone(), self.asked.clone());
            let now = self.started.elapsed();
            self.look_around(now)?;
            self.tell_too_large();
            self.tell_gone(to_commit)?;
            self.tend_groups(to_commit, now)?;
            self.end_round(now);
            self.feed(to_hash, to_commit, now)?;
            if self.is_finished(now) && !self.wants_last_search(now) {
                return match self.outbox.full.take() {
                    Some(full) => Err(crate::pipeline::Error::Full(full.error).into()),
                    None => Ok(()),
                };
            }
            self.publish();
            let sleep = self.sleep(self.started.elapsed());
            heartbeat::rest();
            select! {
                recv(stop.wake) -> _ => return Ok(()),
                recv(reports) -> batch => {
                    let Committed { reports, finished } = batch.map_err(|_| Error::Thread("commit"))?;
                    heartbeat::step();
                    drop(finished);
                    let now = self.started.elapsed();
                    reports.iter().try_for_each(|report| self.hear(report, now))?;
                }
                recv(hints) -> hint => {
                    heartbeat::step();
                    self.follow(hint.ok(), self.started.elapsed())?;
                }
                recv(asked) -> asked => {
                    heartbeat::step();
                    self.answer(asked.ok(), self.started.elapsed());
                }
                default(sleep) => {}
            }
        }
    }

    /// The files that are left in staging, and why.
    pub(super) fn left(mut self, input: &Path, index: &Index) -> Result<Vec<Left>, Error> {
        let mut left = Vec::new();
        self.report_incomplete(Duration::ZERO, self.started.elapsed());
        for (name, key) in self.settle.take_kept() {
            let original = index.original(&key)?.map(|original| original.warehouse_path.to_path_buf());
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

    /// One step of whatever is due: single names, a slice of the scan, the metrics.
    fn look_around(&mut self, now: Duration) -> Result<(), Error> {
        // This check is independent of how long scans pause.
        if let Some(interval) = self.schedule.scan_interval.filter(|_| now >= self.schedule.next_look) {
            self.places.look()?;
            self.check_input()?;
            self.schedule.next_look = now + interval;
        }
        let due_until = self.schedule.deadline.map_or(now, |deadline| deadline.min(now));
        self.look_at_due(due_until, now)?;
        if self.may_scan() {
            let (began, was_scanning) = (Instant::now(), self.scanner.is_scanning());
            let seen = self.scanner.slice(&mut self.settle, now);
            self.schedule.scan_took += began.elapsed();
            let is_whole = was_scanning && seen.is_ok() && !self.scanner.is_scanning();
            self.is_scanned(seen, now)?;
            if is_whole {
                self.staging_was_seen();
                self.schedule.round_until = Some(now);
                self.metrics.scanned(self.shared.fs.now(), self.schedule.scan_took, self.scanner.ignored());
                let pause = |interval| scan_pause(interval, self.schedule.scan_took, self.hints.hears_all());
                if self.settle.wants_another_scan() {
                    self.schedule.next_scan = Some(now);
                }
                // Unless another scan was requested meanwhile: this one may have missed changes in the part that it had
                // already read.
                self.schedule.next_scan =
                    self.schedule.next_scan.or(self.schedule.scan_interval.map(|interval| now + pause(interval)));
                if !self.schedule.searches_last {
                    self.schedule.deadline = self.schedule.window.map(|window| now + window);
                }
            }
            self.scan_what_is_unwatched(now);
        } else if !self.scanner.is_scanning() && self.schedule.next_scan.is_some_and(|next| next <= now) {
            (self.schedule.scan_took, self.schedule.next_scan) = (Duration::ZERO, None);
            let begun = self.check_input()?.map_or_else(|| self.scanner.begin(&mut self.settle), Err);
            self.is_scanned(begun, now)?;
        }
        if now >= self.schedule.next_metrics {
            self.publish();
            self.metrics.report(&self.last_totals);
            self.last_totals = self.metrics.totals();
            self.schedule.next_metrics = now + self.schedule.metrics_interval;
        }
        Ok(())
    }

    /// If a directory could not be watched since the last scan, the pause until the next one was chosen as if all were.
    fn scan_what_is_unwatched(&mut self, now: Duration) {
        if let Some(interval) = self.schedule.scan_interval.filter(|_| self.hints.misses()) {
            self.schedule.next_scan = self.schedule.next_scan.map(|next| next.min(now + interval));
        }
    }

    /// Publishes the lengths of the queues.
    fn publish(&self) {
        self.metrics.queue(&QueueDepths {
            waiting: self.settle.incomplete(),
            held: self.settle.held(),
            ready: self.settle.ready(),
            in_flight: self.settle.in_flight(),
            oldest: self.settle.oldest_seen().map(|seen| self.started + seen),
        });
    }

    /// There is something to list, and room for what that finds: each name uses memory until its file is ingested.
    fn may_scan(&self) -> bool {
        let is_sorted = self.settle.order().is_some();
        self.scanner.has_work() && (is_sorted || self.settle.ready() < READY_FILES_MAX)
    }

    fn follow(&mut self, hint: Option<Hint>, now: Duration) -> Result<(), Error> {
        if self.hints.overflowed.swap(false, Ordering::Relaxed) {
            self.schedule.next_scan = Some(now);
        }
        match hint {
            Some(Hint::Changes(changes)) => self.follow_changes(changes, now)?,
            Some(Hint::Rescan) => self.schedule.next_scan = Some(now),
            // The periodic scan continues, and will find out what happened to the directory.
            Some(Hint::Ended) | None => self.hints_ended(now),
        }
        Ok(())
    }

    fn follow_changes(&mut self, changes: Changes, now: Duration) -> Result<(), Error> {
        let (names, mut directories) = (changes.names, changes.directories);
        let names = names.into_iter().chain(match self.scanner.is_recursive() {
            true => Vec::new(),
            false => std::mem::take(&mut directories),
        });
        for name in names {
            let seen = self.scanner.look(&mut self.settle, &name, now);
            self.is_seen(seen, now)?;
        }
        let mut has_room = true;
        let readable = changes.changed.into_iter().filter(|name| self.scanner.could_not_read(name));
        for name in directories.into_iter().chain(readable.collect::<Vec<_>>()) {
            has_room &= self.scanner.visit(&name);
        }
        // Where they are now, another event says; and one that was entered there already is watched anew.
        for watch in changes.moved {
            if let Some(path) = self.hints.watched.as_mut().and_then(|watched| watched.forget(watch)) {
                has_room &= self.scanner.visit(path.as_os_str());
            }
        }
        if !has_room {
            self.schedule.next_scan = Some(now);
        }
        Ok(())
    }

    fn hints_ended(&mut self, now: Duration) {
        self.hints = Hints::none();
        self.schedule.next_scan = Some(now);
    }

    /// True when nothing is left to wait for: only `--once` and `replay` ever finish.
    fn is_finished(&self, now: Duration) -> bool {
        let ends = self.schedule.window.is_some() || self.schedule.deadline.is_some();
        let is_under_way =
            self.outbox.chunk.is_some() || !self.outbox.resumed.is_empty() || self.settle.in_flight() > 0;
        if !ends || is_under_way {
            return false;
        }
        if self.outbox.full.is_some() {
            return true;
        }
        let Some(deadline) = self.schedule.deadline else { return false };
        let nothing_due = self.settle.next_due().is_none_or(|due| due > deadline);
        // Another scan may be wanted, to find out which files are gone.
        !self.scanner.is_scanning()
            && self.schedule.next_scan.is_none()
            && now >= deadline
            && nothing_due
            && self.settle.ready() == 0
            && !self.settle.holds_back()
    }

    /// At the end of `--once`: begins a last scan, if a file that belongs to those taken may have been missed.
    fn wants_last_search(&mut self, now: Duration) -> bool {
        let wants = self.schedule.window.is_some()
            && !self.schedule.searches_last
            && self.outbox.full.is_none()
            && self.settle.misses_something();
        if wants {
            (self.schedule.searches_last, self.schedule.next_scan) = (true, Some(now));
        }
        wants
    }

    /// How long nothing will be due.
    fn sleep(&self, now: Duration) -> Duration {
        if self.may_scan() {
            return Duration::ZERO;
        }
        let next_scan = self.schedule.next_scan.filter(|_| !self.scanner.is_scanning());
        let is_looked_at = !self.staging.is_failing;
        let due = self.settle.next_due().filter(|_| is_looked_at);
        let due = due.filter(|due| self.schedule.deadline.is_none_or(|deadline| *due <= deadline));
        let wakes = [
            next_scan,
            due,
            self.schedule.paused_until,
            self.schedule.deadline.filter(|at| *at > now),
            self.schedule.round_until,
        ];
        let next_look = self.schedule.scan_interval.map(|_| self.schedule.next_look);
        let next = wakes
            .into_iter()
            .chain([next_look])
            .flatten()
            .chain([self.schedule.next_metrics])
            .min()
            .unwrap_or(SLEEP_MAX);
        next.saturating_sub(now).min(self.schedule.turn_max)
    }
}

/// Decides which files are complete, by these settings; `kept` are duplicates that are known to be in staging.
fn settle(config: Option<&Config>, kept: &[Kept]) -> Settle {
    let mode = config.map_or(Mode::Stability(Duration::ZERO), |config| config.completeness.mode);
    let bounds = config.map_or_else(Bounds::default, |config| config.completeness.bounds);
    let busy_delay = config.map_or(FULL_DISK_RETRY, |config| config.scan_interval);
    let recognizes = config.is_some_and(|config| config.placement.duplicates == DuplicateAction::Keep);
    let mut settle = Settle::new(mode, busy_delay, kept.iter().copied().filter(|_| recognizes)).with_bounds(bounds);
    if let Some(config) = config {
        settle = settle.with_sidecars(config.name_rules().sidecars).in_order(config.completeness.order);
    }
    // Under another setting they are ingested like new files; the intake still notices which of them disappear.
    kept.iter().filter(|_| !recognizes).for_each(|kept| settle.watch_kept(kept.identity));
    if config.is_none_or(|config| config.extent == Extent::Once) {
        settle.note_kept();
    }
    settle
}
