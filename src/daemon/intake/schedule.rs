//! When the intake does what: scans, looks, reports. All instants count from its start.

use std::time::Duration;

use crate::config::{Config, Extent};
use crate::pipeline::settle::Mode;

/// The longest that the intake sleeps when nothing is due.
pub(super) const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What is due when.
pub(super) struct Schedule {
    /// None: no periodic scan.
    pub(super) scan_interval: Option<Duration>,
    pub(super) next_scan: Option<Duration>,
    /// How long the scan under way has taken so far.
    pub(super) scan_took: Duration,
    /// When the places are looked at again that must not go away.
    pub(super) next_look: Duration,
    /// Of `--once`: how long after the scan files may still become complete.
    pub(super) window: Option<Duration>,
    /// Nothing more is taken after this time; what was taken is finished.
    pub(super) deadline: Option<Duration>,
    /// Of `--once`: the last scan has begun.
    pub(super) searches_last: bool,
    pub(super) metrics_interval: Duration,
    pub(super) next_metrics: Duration,
    /// A copy found no room: nothing is tried before then.
    pub(super) paused_until: Option<Duration>,
    /// The longest that it sleeps: so often a watchdog looks whether it goes on.
    pub(super) turn_max: Duration,
}

impl Schedule {
    /// Without settings, nothing is scanned: only what recovery resumes is handed out.
    pub(super) fn new(config: Option<&Config>, turn_max: Duration) -> Schedule {
        let once = config.is_none_or(|config| config.extent == Extent::Once);
        let window = config.map_or(Duration::ZERO, |config| match config.mode {
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
            paused_until: None,
            turn_max,
        }
    }
}
