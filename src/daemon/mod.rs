//! The running ingestor: threads, channels, signals, shutdown.
//!
//! ```text
//! inotify ──hints──▶ intake ──chunks of small files──▶ N × hash ──▶ commit ◀──▶ publish
//!                      ▲ └─────large files─────────────▲             │
//!                      └──────────────────reports────────────────────┘
//! ```
//!
//! Invariants:
//! - Every channel is bounded. Reports never block the committer: there are never more of them than files in flight,
//!   and the channel has room for all of those.
//! - The committer finishes its batch before it ends; no other thread has anything that could be lost.

mod channels;
mod commit_loop;
mod compactor;
mod exposure;
mod hash_loop;
mod intake;
mod left;
mod publish_thread;
mod service;
pub mod signals;
mod socket;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Sender};

use crate::Error;
use crate::config::{Config, Extent};
use crate::control;
use crate::engine::lake::Reach;
use crate::engine::{self, Engine};
use crate::fs::notify::{Hint, Inotify};
use crate::fs::real::RealFs;
use crate::heartbeat;
use crate::journal::index::Index;
use crate::journal::record::{DEFAULT_TEMPLATE, Identity};
use crate::journal::replay::Ending;
use crate::lake::clock::Clock as _;
use crate::lake::system_clock::SystemClock;
use crate::limits;
use crate::log;
use crate::metrics::Metrics;
use crate::metrics::health::Phase;
use crate::page::Page;
use crate::pipeline::hash::Shared;
use crate::pipeline::lake::OnAway;
use crate::pipeline::layout::Layout;
use crate::pipeline::places::Accepts;
use crate::pipeline::recover::Recovered;
use crate::pipeline::scan::NameRules;
use crate::pipeline::scan::patterns::Patterns;
use crate::pipeline::settle::order::Order;
use crate::store::location::Options;
use channels::{Hints, Load, ToCommit, ToHash};
use compactor::Compactor;
use exposure::Exposure;
use hash_loop::HashQueues;
use intake::{Intake, Source};
pub use left::Left;
use publish_thread::PublishThread;
use service::Service;

/// The result of `run`.
#[derive(Debug, Default)]
pub struct Ended {
    /// With `--once`: the files left in staging.
    pub left: Vec<Left>,
    /// With `--once`, unless a signal ended it: files that failed.
    pub failures: u64,
}

/// Runs the ingestor until it is stopped, or once.
pub fn run(config: &Config) -> Result<Ended, Error> {
    let metrics = Arc::new(Metrics::default());
    // Find out that an address is in use before anything is modified.
    let mut exposure = Exposure::new(config, &metrics)?;
    let mut service = Service::begin(&metrics);
    let ended = run_as(&mut service, &mut exposure, config, &metrics);
    exposure.finish(ended.as_ref().err());
    ended.inspect_err(|error| service.failed(error))
}

fn run_as(
    service: &mut Service,
    exposure: &mut Exposure<'_>,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Result<Ended, Error> {
    let load = Load::new(config.concurrency);
    let stop = signals::install()?;
    let (page, asked) = Page::new(config, metrics);
    let page = Arc::new(page);
    exposure.listen(&page)?;
    let observer = metrics.clone();
    let fs = RealFs::observed(Arc::new(move |call, took| observer.synced(call, took)));
    let once = config.extent == Extent::Once;
    let flag = stop.flag.clone();
    let reach = Reach::real(config.store.clone(), on_away(stop.flag.clone()), once);
    let options = engine::Options {
        state_path: config.paths.state.clone(),
        settings: Some(config.settings()),
        names: config.name_rules(),
        validate: config.validate,
        require_checksum: config.require_checksum,
        layout: config.placement.layout.clone(),
        identity: config.completeness.identity,
        quarantine: config.quarantine(),
        accepts: config.accepts,
        metrics: metrics.clone(),
        reach: Some(Reach { remember: config.remember, ..reach }),
        on_full: Box::new(move || !once && wait_for_room(&flag)),
        stop: stop.flag.clone(),
    };
    let Some(engine) = engine::open(&fs, options)? else { return Ok(Ended::default()) };
    exposure.record(&fs, engine.journal)?;
    metrics.enter(Phase::Running);
    log_started(config, &engine.recovered);
    service.ready();
    let hints = if once { Hints::none() } else { watch(config) };
    let kept = engine.committer.index().kept().copied().collect();
    let rules = control::RunningRules::of(config);
    let _control = (!once).then(|| socket::listen(&config.paths.state, rules, &page));
    let source = Source::Staging { config, kept, hints, asked };
    let compactor = Compactor::new(&fs, &config.paths.state, config.remember, stop.flag.clone(), metrics);
    let (index, intake) = drive(engine, source, load, &stop, compactor, service)?;
    metrics.stopped();
    if !once {
        return Ok(Ended::default());
    }
    let left = intake.left(&config.paths.input, &index)?;
    let waiting = left.iter().filter(|left| matches!(left, Left::Waiting(_, why) if why.is_failure())).count();
    let failures = metrics.settled_failures() + waiting as u64;
    Ok(Ended { left, failures: if stop.flag.load(Ordering::Relaxed) { 0 } else { failures } })
}

/// Recovers from the journal alone, hashing again where needed. A journal that names no directories yet has nothing to
/// recover.
pub fn replay(state_path: PathBuf, store: Options, accepts: Accepts, concurrency: usize) -> Result<Replay, Error> {
    let load = Load::new(concurrency);
    let stop = signals::install()?;
    let fs = RealFs::default();
    let metrics = Arc::new(Metrics::default());
    let options = engine::Options {
        state_path,
        settings: None,
        names: NameRules::default(),
        validate: None,
        require_checksum: false,
        layout: Layout::default(),
        identity: Identity::default(),
        quarantine: None,
        accepts,
        metrics: metrics.clone(),
        reach: Some(Reach::real(store, on_away(stop.flag.clone()), true)),
        on_full: Box::new(|| false),
        stop: stop.flag.clone(),
    };
    let Some(engine) = engine::open(&fs, options)? else {
        let (ending, index) = (Ending::Empty, Index::default());
        return Ok(Replay { completed: 0, abandoned: 0, cleared: 0, resumed: 0, ending, index });
    };
    let (abandoned, cleared) = (engine.recovered.counts.abandoned, engine.recovered.counts.cleared);
    let (resumed, ending) = (engine.recovered.counts.resumed, engine.replayed.ending);
    let compactor = Compactor::none(&fs, &metrics);
    let (index, _) = drive(engine, Source::Resumed, load, &stop, compactor, &Service::none(&metrics))?;
    Ok(Replay { completed: metrics.totals().files, abandoned, cleared, resumed, ending, index })
}

/// What `replay` did.
pub struct Replay {
    /// Files that are in warehouse and manifest now and were not before.
    pub completed: u64,
    /// Files that were abandoned.
    pub abandoned: u64,
    /// Duplicates that were removed or moved.
    pub cleared: u64,
    /// Files that had to be hashed again.
    pub resumed: u64,
    /// How the journal ended.
    pub ending: Ending,
    /// The index at the end.
    pub index: Index,
}

/// Starts the threads, feeds them until the source ends or a signal comes, and stops them in order.
fn drive(
    engine: Engine<RealFs>,
    source: Source<'_>,
    load: Load,
    stop: &signals::Stop,
    compactor: Compactor<RealFs>,
    service: &Service,
) -> Result<(Index, Intake), Error> {
    let Engine { mut committer, shared, recovered, places, .. } = engine;
    let (small_sender, small) = channel::bounded(limits::HASH_QUEUE_CHUNKS_MAX);
    // Room for all files that may be in flight: a large file that waits must not block small ones.
    let (large_sender, large) = channel::bounded(limits::IN_FLIGHT_FILES_MAX + recovered.resumed.len());
    let to_hash = ToHash { small: small_sender, large: large_sender };
    let (commit_sender, to_commit) = channel::bounded(limits::IN_FLIGHT_FILES_MAX);
    let (report_sender, reports) = channel::bounded(limits::IN_FLIGHT_FILES_MAX + recovered.resumed.len());
    let metrics = compactor.metrics.clone();
    let mut intake = Intake::new(source, &shared, places, load, metrics.clone(), service.turn_max);
    intake.adopt(recovered, &mut committer);
    let keeps_order = intake.keeps_order();
    if keeps_order {
        committer.keep_order();
    }

    let workers =
        start_workers(load.concurrency, &shared, &HashQueues { small, large }, &commit_sender, service, &metrics)?;
    let publisher = PublishThread::start(&committer, metrics.heartbeats(), service.turn_max)
        .map_err(|_| Error::Thread("publish"))?;
    let (under_way, heartbeats, turn_max) = (shared.clone(), metrics.heartbeats().clone(), service.turn_max);
    let committing = thread::Builder::new()
        .name("commit".to_owned())
        .spawn(move || {
            let _beating = heartbeats.begin("commit");
            let under_way = &under_way.under_way;
            let next = commit_loop::Inbox { to_commit: &to_commit, under_way, turn_max, keeps_order };
            commit_loop::run(committer, compactor, &next, &report_sender, publisher)
        })
        .map_err(|_| Error::Thread("commit"))?;
    let beating = metrics.heartbeats().begin("intake");
    let fed = intake.run(&to_hash, &commit_sender, &reports, stop);
    drop(beating);
    service.stopping();
    // From here on nothing new begins: workers refuse files that they have not begun, and the committer finishes its
    // batch.
    metrics.enter(Phase::Stopping);
    shared.stop.store(true, Ordering::Relaxed);
    drop((to_hash, commit_sender));
    for worker in workers {
        worker.join().map_err(|_| Error::Thread("hash"))?;
    }
    let committed = committing.join().map_err(|_| Error::Thread("commit"))?;
    // The committer's error is the cause; if both have one, the intake's only says that the committer is gone.
    let index = committed?;
    fed?;
    Ok((index, intake))
}

fn start_workers(
    count: usize,
    shared: &Arc<Shared<RealFs>>,
    queues: &HashQueues,
    to_commit: &Sender<ToCommit<RealFs>>,
    service: &Service,
    metrics: &Metrics,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let start = |index| {
        let (shared, queues, to_commit) = (shared.clone(), queues.clone(), to_commit.clone());
        let (heartbeats, turn_max) = (metrics.heartbeats().clone(), service.turn_max);
        let name = format!("hash-{index}");
        thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let _beating = heartbeats.begin(&name);
                hash_loop::run(shared, &queues, &to_commit, turn_max);
            })
            .map_err(|_| Error::Thread("hash"))
    };
    (0..count).map(start).collect()
}

/// Starts the thread that waits for inotify. It ends with the process: it needs no clean-up.
fn watch(config: &Config) -> Hints {
    let input = &config.paths.input;
    let missed = |error: &dyn std::fmt::Display| {
        tracing::warn!(event = "inotify_unavailable", error = %error, "new files are found by the periodic scan only");
        Hints::none()
    };
    let mut watch = match Inotify::new(input) {
        Ok(watch) => watch,
        Err(error) => return missed(&error),
    };
    let (sender, receiver) = channel::bounded(limits::HINTS_MAX);
    let overflowed = Arc::new(AtomicBool::new(false));
    let tree = config.selection.tree;
    // Another mount may be of a kind that does not report everything.
    let hears_all = Inotify::hears_all(input) && !tree.is_some_and(|tree| tree.cross_mounts);
    let watched = tree.map(|_| watch.watched());
    let hints = Hints { receiver, overflowed: overflowed.clone(), hears_all, watched };
    let started = thread::Builder::new().name("inotify".to_owned()).spawn(move || {
        loop {
            let hint = watch.wait().unwrap_or(Hint::Ended);
            let ended = hint == Hint::Ended;
            // If the channel is full, the intake sees the flag when it takes one of the hints in it, and scans.
            if sender.try_send(hint).is_err_and(|error| error.is_full()) {
                overflowed.store(true, Ordering::Relaxed);
            }
            if ended {
                return;
            }
        }
    });
    match started {
        Ok(_) => hints,
        Err(error) => missed(&error),
    }
}

/// Waits a moment while the disk is full; returns false if the process is to stop.
fn wait_for_room(stop: &AtomicBool) -> bool {
    wait(limits::FULL_DISK_RETRY, stop)
}

/// How a host of a lake waits.
fn on_away(stop: Arc<AtomicBool>) -> OnAway {
    let clock = SystemClock::default();
    Box::new(move |time| {
        // Hosts that lost their store at the same time do not come back at the same time.
        let jitter = time / 4 * u32::from(clock.random()[0]) / 255;
        wait(time - jitter, &stop)
    })
}

/// Waits; returns false if the process is to stop.
fn wait(time: Duration, stop: &AtomicBool) -> bool {
    const STEP: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while waited < time && !stop.load(Ordering::Relaxed) {
        thread::sleep(STEP);
        heartbeat::step();
        waited += STEP;
    }
    !stop.load(Ordering::Relaxed)
}

fn log_started(config: &Config, recovered: &Recovered) {
    let path = log::path;
    let sidecar_name = config.name_rules().sidecars.map(|names| names.template().to_string_lossy().into_owned());
    let patterns = |patterns: &Option<Patterns>| patterns.as_ref().map(|patterns| patterns.texts().join(" "));
    tracing::info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        input = path(&config.paths.input),
        warehouse = path(&config.paths.warehouse),
        manifests = path(&config.paths.manifests),
        state_path = path(&config.paths.state),
        mode = config.completeness.mode.text(),
        stability_seconds = config.completeness.mode.window().map(|window| window.as_secs_f64()),
        sidecar_suffix = sidecar_name.as_deref().and_then(|name| name.strip_prefix("{name}")),
        sidecar_name = sidecar_name.as_deref(),
        group_timeout = config.completeness.group_timeout.map(|it| tracing::field::display(humantime::format_duration(it))),
        order = config.completeness.order.map(Order::text),
        scan_interval = %humantime::format_duration(config.scan_interval),
        concurrency = config.concurrency,
        include = patterns(&config.selection.include),
        exclude = patterns(&config.selection.exclude),
        max_depth = config.selection.tree.map(|tree| tree.max_depth),
        cross_mounts = config.selection.tree.map(|tree| tree.cross_mounts),
        layout = Some(config.placement.layout.rule().template.as_str()).filter(|template| *template != DEFAULT_TEMPLATE),
        name_pattern = config.placement.layout.rule().name_pattern.as_deref(),
        duplicates = config.placement.duplicates.text(),
        duplicates_dir = config.paths.duplicates.as_deref().map(path),
        quarantine = config.paths.quarantine.as_deref().map(path),
        validate = config.validate.map(|_| "csv"),
        csv_quote = config.validate.map(|validate| validate.quote.map_or("none".to_owned(), |it| char::from(it).to_string())),
        csv_comment = config.validate.and_then(|validate| validate.comment.map(|it| char::from(it).to_string())),
        csv_skip_rows = config.validate.map(|validate| validate.skip_rows),
        require_checksum = config.require_checksum,
        malformed = config.validate.map(|validate| if validate.refuse { "quarantine" } else { "mark" }),
        identity = config.completeness.identity.same_by.text(),
        empty = config.completeness.identity.empty.text(),
        remember = config.remember.map(|remember| tracing::field::display(humantime::format_duration(remember))),
        once = config.extent == Extent::Once,
        log_level = ?config.logging.level,
        metrics_interval = %humantime::format_duration(config.metrics.interval),
        metrics_listen = config.metrics.listen.as_deref(),
        no_page = !config.metrics.has_page,
        metrics_textfile = config.paths.metrics_textfile.as_deref().map(path),
        recovered_completed = recovered.counts.completed,
        recovered_abandoned = recovered.counts.abandoned,
        recovered_resumed = recovered.counts.resumed,
    );
}
