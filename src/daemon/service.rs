//! Messages to the service manager (systemd, `Type=notify`): ready, stopping, a status line, and signs of life.
//!
//! Invariants:
//! - Without `NOTIFY_SOCKET` nothing happens, and no thread is started.
//! - The watchdog gets a sign of life only while every thread that the work depends on makes progress, or waits for the
//!   kernel: a separate thread checks the others.
//! - No text from outside can add a line to a message.
//! - A service manager that does not read delays the process only for a moment.

use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, RecvTimeoutError, Sender};
use sd_notify::NotifyState;

use crate::heartbeat::{Examiner, Heartbeats};
use crate::limits::{SERVICE_SEND_MAX, SERVICE_STATUS_INTERVAL, WATCHDOG_PARTS};
use crate::log;
use crate::metrics::Metrics;
use crate::metrics::units::bytes_text;

/// The connection to the service manager.
pub(super) struct Service {
    listens: bool,
    metrics: Arc<Metrics>,
    /// The time in which each watched thread has to turn at least once.
    pub(super) turn_max: Duration,
    /// When dropped, it ends the thread.
    teller: Option<(Sender<()>, JoinHandle<()>)>,
}

/// systemd drops messages of more than 4,096 bytes; a character has at most 4.
const STATUS_CHARS_MAX: usize = 1000;
/// The pause between two tries to send a message.
const SEND_PAUSE: Duration = Duration::from_millis(10);
/// The longest sleep of a thread that is not watched.
const UNWATCHED: Duration = Duration::from_secs(3600);

impl Service {
    /// Reports that recovery begins, if there is a service manager.
    pub(super) fn begin(metrics: &Arc<Metrics>) -> Service {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        let turn_max = watchdog().filter(|_| listens).map_or(UNWATCHED, |limit| limit / WATCHDOG_PARTS);
        let service = Service { listens, metrics: metrics.clone(), turn_max, teller: None };
        service.tell(&[NotifyState::Status("recovering: reading the journal, finishing what is half done")]);
        service
    }

    /// For a command that is not a service.
    pub(super) fn none(metrics: &Arc<Metrics>) -> Service {
        Service { listens: false, metrics: metrics.clone(), turn_max: UNWATCHED, teller: None }
    }

    /// Reports that recovery is done, and updates the status from now on.
    pub(super) fn ready(&mut self) {
        if !self.listens {
            return;
        }
        let mut status = status(&self.metrics);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        let (end, ended) = channel::bounded::<()>(0);
        let (metrics, heartbeats, turn_max) = (self.metrics.clone(), self.metrics.heartbeats().clone(), self.turn_max);
        let teller = move || {
            let mut watchdog = (turn_max < UNWATCHED).then(|| Watchdog::new(&heartbeats, turn_max));
            let pause = turn_max.min(SERVICE_STATUS_INTERVAL);
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let now = self::status(&metrics);
                if now != status {
                    send(&[NotifyState::Status(&now)]);
                    status = now;
                }
                if let Some(watchdog) = &mut watchdog {
                    watchdog.look();
                }
            }
        };
        // Without the thread a watchdog would end the process; that is better than unwatched work.
        match thread::Builder::new().name("service".to_owned()).spawn(teller) {
            Ok(thread) => self.teller = Some((end, thread)),
            Err(error) => tracing::warn!(event = "service_unwatched", error = %error),
        }
    }

    /// Reports that nothing new begins. Files under way may take as long as the unit allows for a stop.
    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping: finishing what is under way")]);
    }

    /// The last message: why the process failed.
    pub(super) fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.end();
        let status = log::escaped_line(&format!("failed: {error}"));
        let status: String = status.chars().take(STATUS_CHARS_MAX).collect();
        self.tell(&[NotifyState::Status(&status)]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.listens {
            send(state);
        }
    }

    fn end(&mut self) {
        if let Some((end, thread)) = self.teller.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// No work depends on whether the message arrives.
fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = try_send(state) {
        tracing::debug!(event = "service_not_told", error = %error);
    }
}

/// Sends one datagram. A service manager that hangs reads none, and a blocking send would delay the start and the end:
/// so it waits only for a moment, which a manager that is reloading may need.
fn try_send(state: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&name)?,
    };
    let message: String = state.iter().map(|state| format!("{state}\n")).collect();
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let until = Instant::now() + SERVICE_SEND_MAX;
    loop {
        match socket.send_to_addr(message.as_bytes(), &address) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                thread::sleep(SEND_PAUSE);
            }
            sent => return sent.map(drop),
        }
    }
}

/// The watchdog's timeout, if there is one.
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

/// Checks the heartbeats each time that all threads should have turned.
struct Watchdog {
    examiner: Examiner,
    turn_max: Duration,
    next: Instant,
    withheld: bool,
}

impl Watchdog {
    fn new(heartbeats: &Heartbeats, turn_max: Duration) -> Watchdog {
        Watchdog { examiner: Examiner::new(heartbeats), turn_max, next: Instant::now(), withheld: false }
    }

    fn look(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        // A thread sleeps for one turn at most. The interval is two turns, so that none has to be on time to the
        // millisecond.
        self.next = now + 2 * self.turn_max;
        let stuck = self.examiner.stuck();
        if stuck.is_empty() {
            self.withheld = false;
            send(&[NotifyState::Watchdog]);
        } else if !self.withheld {
            self.withheld = true;
            tracing::error!(event = "watchdog_withheld", threads = stuck.join(" "), "a thread is stuck");
        }
    }
}

/// A line for `systemctl status`.
fn status(metrics: &Metrics) -> String {
    let totals = metrics.totals();
    let mut line = String::new();
    if metrics.is_disk_full() {
        line.push_str("the disk is full, waiting for room; ");
    }
    let _ = write!(
        line,
        "ingested {} ({}), waiting {}, duplicates {}, failures {}",
        totals.files,
        bytes_text(totals.bytes),
        totals.queue_depth,
        totals.duplicates,
        totals.failures
    );
    line
}
