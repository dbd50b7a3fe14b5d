//! When the intake does what: scans, checks, reports. All instants are relative to its start.

use std::time::Duration;

use crate::config::{Config, Extent};
use crate::pipeline::settle::Mode;

/// The longest sleep of the intake when nothing is due.
pub(super) const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What is due when.
pub(super) struct Schedule {
    /// None: no periodic scan.
    pub(super) scan_interval: Option<Duration>,
    pub(super) next_scan: Option<Duration>,
    /// How long the scan under way has taken so far.
    pub(super) scan_took: Duration,
    /// When the directories that must not be replaced are checked again.
    pub(super) next_look: Duration,
    /// With `--once`: how long after the scan files may still become complete.
    pub(super) window: Option<Duration>,
    /// No file is taken after this time; files that were taken are finished.
    pub(super) deadline: Option<Duration>,
    /// With `--once`: the last scan has begun.
    pub(super) searches_last: bool,
    pub(super) metrics_interval: Duration,
    pub(super) next_metrics: Duration,
    /// With `--order`: when the files that were found complete since the last scan are handed out, at the latest.
    pub(super) round_until: Option<Duration>,
    /// A copy found no room: no file is handed out before this time.
    pub(super) paused_until: Option<Duration>,
    /// The longest sleep: the watchdog expects a turn that often.
    pub(super) turn_max: Duration,
}

impl Schedule {
    /// Without a config, nothing is scanned: only files that recovery resumes are handed out.
    pub(super) fn new(config: Option<&Config>, turn_max: Duration) -> Schedule {
        let once = config.is_none_or(|config| config.extent == Extent::Once);
        let window = config.map_or(Duration::ZERO, |config| match config.completeness.mode {
            Mode::Stability(window) => window,
            Mode::Sidecar => Duration::ZERO,
        });
        let metrics_interval = config.map_or(SLEEP_MAX, |config| config.metrics.interval);
        Schedule {
            scan_interval: config.filter(|_| !once).map(|config| config.scan_interval),
            next_scan: config.map(|_| Duration::ZERO),
            scan_took: Duration::ZERO,
            next_look: Duration::ZERO,
            window: once.then_some(window),
            deadline: config.is_none().then_some(Duration::ZERO),
            searches_last: false,
            metrics_interval,
            next_metrics: metrics_interval,
            round_until: None,
            paused_until: None,
            turn_max,
        }
    }
}
