//! Decides which files are complete: the rules of the two modes, and the memory of what was seen when.
//!
//! Invariants:
//! - It does no I/O: the caller passes in what was seen, and the monotonic time of it.
//! - A file is handed out at most once until a report gives its outcome.
//! - The mtime determines only the order in which complete files are handed out.
//! - With an [`Order`], what becomes complete is handed out after [`Settle::release`].

mod abandonments;
pub mod bounds;
mod census;
mod counts;
mod files;
mod gone;
mod grouped;
mod groups;
mod look;
pub mod order;
mod presence;
mod queue;
mod report;
mod sidecars;
mod tracked;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use self::bounds::Bounds;
use super::sidecar::SidecarNames;
use super::{Settled, WhyNot};
use crate::journal::ingest::Kept;
use crate::types::{FileTime, Key, UnixMillis};

use abandonments::Abandonments;
pub use abandonments::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use census::{Census, second};
use files::Files;
use groups::Groups;
pub use groups::Overdue;
pub use look::{Age, Tracking};
use order::Order;
use presence::Presence;
pub use report::Reaction;
use sidecars::Sidecars;
use tracked::{Failing, Moment, Phase, Tracked};
pub use tracked::{Mode, Sighting};

/// The longest delay before a file that can be read, but is not as it should be, is hashed again: that serves only as a
/// reminder in the log.
pub const REMINDER_DELAY_MAX: Duration = Duration::from_secs(3600);

/// How many complete files wait for the end of a scan, so that the oldest is handed out first. With more there is enough
/// work for a while, and a scan of a large directory takes long.
const FOUND_FILES_MAX: usize = 256;

/// The memory of the files in staging.
pub struct Settle {
    mode: Mode,
    bounds: Bounds,
    /// How long to wait before a file that a writer has open is tried again.
    busy_delay: Duration,
    tracked: Files,
    kept: HashMap<(u64, u64), Kept>,
    sidecars: Sidecars,
    queues: Queues,
    /// Kept duplicates that were seen, if the caller wants to know.
    kept_names: Option<Vec<(Arc<OsStr>, Key)>>,
    in_flight: usize,
    census: Census,
    abandonments: Abandonments,
    presence: Presence,
    groups: Groups,
    scan: u16,
    next_ticket: u64,
}

/// Names, in the order in which they are due.
#[derive(Default)]
struct Queues {
    /// None: the oldest goes first, without a promise.
    order: Option<Order>,
    /// Complete files, in order.
    ready: BinaryHeap<Reverse<(FileTime, Arc<OsStr>)>>,
    /// Found complete by the current scan: they wait for its end, so that the oldest goes first, unless they are many.
    found: Vec<Reverse<(FileTime, Arc<OsStr>)>>,
    /// Complete files go to `found` until the scan ends.
    holds: bool,
    /// To be checked again, at that time.
    due: BinaryHeap<Reverse<(Moment, Arc<OsStr>)>>,
    /// Found too large, and not told yet.
    too_large: Vec<Arc<OsStr>>,
}

impl Settle {
    /// Starts with the duplicates that are known as kept.
    pub fn new(mode: Mode, busy_delay: Duration, kept: impl Iterator<Item = Kept>) -> Settle {
        let mut settle = Settle {
            mode,
            bounds: Bounds::default(),
            busy_delay,
            tracked: Files::default(),
            kept: HashMap::new(),
            sidecars: Sidecars::default(),
            queues: Queues::default(),
            kept_names: None,
            in_flight: 0,
            census: Census::default(),
            abandonments: Abandonments::default(),
            presence: Presence::default(),
            groups: Groups::default(),
            scan: 0,
            next_ticket: 0,
        };
        kept.for_each(|kept| settle.keep(kept));
        settle
    }

    /// The same, with these bounds.
    pub fn with_bounds(self, bounds: Bounds) -> Settle {
        Settle { bounds, ..self }
    }

    /// The same, with these names of sidecars.
    pub fn with_sidecars(mut self, names: Option<SidecarNames>) -> Settle {
        names.into_iter().for_each(|names| self.sidecars.name_as(names));
        self
    }

    /// The same, in this order.
    pub fn in_order(mut self, order: Option<Order>) -> Settle {
        self.queues.order = order;
        self.queues.holds |= order.is_some();
        self
    }

    fn keep(&mut self, kept: Kept) {
        self.kept.insert(kept.identity.key(), kept);
        self.watch_kept(kept.identity);
        if let Some(sidecar) = kept.sidecar {
            self.use_sidecar(sidecar, None);
        }
    }

    /// Records from now on which kept duplicates are seen.
    pub fn note_kept(&mut self) {
        self.kept_names = Some(Vec::new());
    }

    /// The kept duplicates that were seen, with their keys.
    pub fn take_kept(&mut self) -> Vec<(Arc<OsStr>, Key)> {
        let mut names = self.kept_names.take().unwrap_or_default();
        // A scan checks a file a second time when it comes to its sidecar.
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whatever is seen from now on belongs to a new scan.
    pub fn begin_scan(&mut self) {
        self.scan = self.scan.wrapping_add(1);
        self.presence.begin_scan();
        self.groups.begun += 1;
        self.queues.holds = true;
    }

    /// The scan is complete: files that it did not show are gone.
    pub fn end_scan(&mut self) {
        self.end_scan_except(&|_| false);
    }

    /// The same, except for files that the scan may not have seen.
    pub fn end_scan_except(&mut self, is_unread: &dyn Fn(&OsStr) -> bool) {
        let scan = self.scan;
        self.abandon_scan();
        let census = &mut self.census;
        self.tracked.retain(|name, tracked| {
            let stays = tracked.scan == scan || matches!(tracked.phase, Phase::InFlight { .. }) || is_unread(name);
            if !stays {
                tracked.leave(census);
            }
            stays
        });
        let tracked = &self.tracked;
        self.sidecars.end_scan(scan, |name| tracked.contains(name));
        self.find_gone();
        self.end_scan_of_groups();
    }

    /// The scan ended early: the files that it found go on, and none counts as gone.
    pub fn abandon_scan(&mut self) {
        if self.queues.order.is_none() {
            self.queues.holds = false;
            self.release();
        }
    }

    /// Takes in one check of a name. `nudged` says that an event on the name was reported, so a hold because of a writer
    /// is void.
    pub fn see(&mut self, name: &Arc<OsStr>, sighting: Option<&Sighting>, nudged: bool, now: Duration) {
        self.note_presence(sighting);
        let Some(sighting) = sighting else {
            if let Some(Phase::InFlight { dirty }) = self.tracked.get_mut(name).map(|tracked| &mut tracked.phase) {
                *dirty = true;
            } else {
                self.forget(name);
                self.abandonments.end(name);
            }
            return;
        };
        let identity = sighting.stat.identity;
        if let Some(kept) = self.kept.get(&identity.key()).filter(|kept| kept.identity == identity) {
            if let Some(names) = &mut self.kept_names {
                names.push((name.clone(), kept.key));
            }
            self.sidecars.add(name, self.scan);
            return;
        }
        self.sidecars.add(name, self.scan);
        let scan = self.scan;
        let census = &mut self.census;
        if !self.tracked.contains(name) {
            census.came(second(now));
            self.tracked.insert(name.clone(), Tracked::new(sighting, scan, now));
        }
        let Some(tracked) = self.tracked.get_mut(name) else { return };
        tracked.scan = scan;
        let before = tracked.first_seen_seconds;
        let Some(since) = tracked.observe(sighting, nudged, now, census) else { return };
        if tracked.first_seen_seconds != before {
            self.tracked.came_anew(name);
        }
        self.judge(name, since, sighting.age, now);
        self.trim();
    }

    /// Decides whether a tracked file of this age, unchanged since `since`, is complete, and within the bounds.
    fn judge(&mut self, name: &Arc<OsStr>, since: Duration, age: Duration, now: Duration) {
        if let Some(tracked) = self.tracked.get_mut(name).filter(|it| it.identity.size > self.bounds.size_max) {
            // At once, and not only when it is complete: a sender that ran away never stops.
            if !std::mem::replace(&mut tracked.is_told_too_large, true) {
                self.queues.too_large.push(name.clone());
            }
            return self.hold(name, None, WhyNot::TooLarge);
        }
        let why = self.incomplete_for(name, since, now);
        let Some(tracked) = self.tracked.get_mut(name) else { return };
        // Whatever the wall clock says: it was watched, unchanged, for as long as it was too young. After a hold that ran out,
        // `since` is zero.
        let was_watched = since.is_zero() && matches!(tracked.phase, Phase::Held { why: WhyNot::TooYoung, .. });
        let is_settled = matches!(why, None | Some(WhyNot::NoGroup | WhyNot::GroupIncomplete));
        if is_settled && age < self.bounds.min_age && !was_watched {
            return self.hold(name, Some(now + self.bounds.min_age - age), WhyNot::TooYoung);
        }
        if matches!(tracked.phase, Phase::Held { .. }) {
            self.census.release();
        }
        tracked.phase = match why {
            Some(why) => Phase::Waiting { since: since.into(), why },
            None => {
                self.queues.add(tracked.identity.mtime, name);
                Phase::Ready
            }
        };
    }

    /// Holds a file until it changes, or until then.
    pub(super) fn hold(&mut self, name: &Arc<OsStr>, until: Option<Duration>, why: WhyNot) {
        let Some(tracked) = self.tracked.get_mut(name) else { return };
        if !matches!(tracked.phase, Phase::Held { .. }) {
            self.census.hold();
        }
        tracked.phase = Phase::Held { until: until.map(Moment::from), why };
        self.queues.due.extend(until.map(|until| Reverse((until.into(), name.clone()))));
    }

    /// Why a tracked file, unchanged since `since`, is not complete by the rules of the mode.
    fn incomplete_for(&mut self, name: &Arc<OsStr>, since: Duration, now: Duration) -> Option<WhyNot> {
        let tracked = self.tracked.get(name)?;
        match (self.mode, tracked.sidecar.as_deref()) {
            (Mode::Stability(window), _) if now.saturating_sub(since) >= window => None,
            (Mode::Group(window), _) if now.saturating_sub(since) >= window => Some(self.waits_for_group(name)),
            (Mode::Stability(window) | Mode::Group(window), _) => {
                // Once for each start of the window: later checks within it find it in the queue already.
                let is_known = matches!(tracked.phase, Phase::Waiting { since: known, .. } if known == since.into());
                if since == now || !is_known {
                    self.queues.due.push(Reverse(((since + window).into(), name.clone())));
                }
                Some(WhyNot::Settling)
            }
            (Mode::Sidecar, None) => Some(WhyNot::NoSidecar),
            (Mode::Sidecar, Some(sidecar)) => {
                let used = self.sidecars.is_used(sidecar, name, tracked.is_dated);
                // What a non-empty sidecar contains is known when it is read.
                let is_void = tracked.orphaned && sidecar.size == 0;
                used.then_some(WhyNot::UsedSidecar).or(is_void.then_some(WhyNot::OrphanedSidecar))
            }
        }
    }

    /// The files that were found too large since the last call: each once, however often it grows.
    pub fn take_too_large(&mut self) -> Vec<(Arc<OsStr>, u64)> {
        let size = |name: Arc<OsStr>| Some((name.clone(), self.tracked.get(&name)?.identity.size));
        std::mem::take(&mut self.queues.too_large).into_iter().filter_map(size).collect()
    }

    /// The first complete file, the oldest by mtime unless there is another order; it is in flight from now on. `complete_at`
    /// is the time to record for it.
    pub fn take_ready(&mut self, complete_at: UnixMillis) -> Option<Settled> {
        if let Some(settled) = self.take_grouped() {
            return Some(settled);
        }
        while let Some(Reverse((key, name))) = self.queues.ready.pop() {
            let Some(tracked) = self.tracked.get_mut(&name) else { continue };
            // An entry for an earlier state of the file is stale.
            if !matches!(tracked.phase, Phase::Ready) || order::key(self.queues.order, tracked.identity.mtime) != key {
                continue;
            }
            tracked.phase = Phase::InFlight { dirty: false };
            self.in_flight += 1;
            self.next_ticket += 1;
            return Some(Settled {
                identity: tracked.identity,
                links: tracked.links_that_count(),
                sidecar: tracked.sidecar.as_deref().copied(),
                orphaned: tracked.orphaned,
                sidecar_name: None,
                name,
                complete_at,
                partition: None,
                ticket: self.next_ticket,
                failures: u32::from(tracked.failures),
                failing: tracked.failing.cause(),
                group: None,
            });
        }
        None
    }

    /// Takes in a file that recovery resumes: it is already in flight.
    pub fn adopt(&mut self, settled: &mut Settled) {
        self.next_ticket += 1;
        settled.ticket = self.next_ticket;
        self.in_flight += 1;
        let tracked = Tracked {
            identity: settled.identity,
            links: u32::try_from(settled.links).unwrap_or(u32::MAX),
            copies: false,
            sidecar: settled.sidecar.map(Box::new),
            orphaned: settled.orphaned,
            is_dated: false,
            is_told_too_large: false,
            phase: Phase::InFlight { dirty: false },
            first_seen_seconds: 0,
            failures: 0,
            failing: Failing::Not,
            scan: self.scan,
        };
        self.census.came(tracked.first_seen_seconds);
        self.sidecars.add(&settled.name, self.scan);
        self.tracked.insert(settled.name.clone(), tracked);
    }

    /// How long a file has to stay unchanged; None in sidecar mode.
    pub fn window(&self) -> Option<Duration> {
        self.mode.window()
    }
}
