//! `csv-ingestor status --watch`: what the page shows, in a terminal.
//!
//! Invariants:
//! - It asks the ingestor through the control socket, and changes nothing.
//! - However it ends or is stopped, short of SIGKILL, the terminal is as it was.

mod screen;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};

use super::output::print_lines;
use crate::Error;
use crate::control::{self, Question};
use crate::daemon::signals;
use crate::fs::real::RealFs;
use crate::journal::files::Usage;
use crate::limits::{WATCH_COLUMNS_MAX, WATCH_ROWS_MAX};
use crate::log::json::text;
use crate::metrics::disks;
use screen::{Picture, screen};

/// The time between two pictures.
const INTERVAL: Duration = Duration::from_secs(2);
/// How soon a signal takes effect.
const STEP: Duration = Duration::from_millis(50);
/// The alternate screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// A terminal that does not know its size.
const SIZE: (usize, usize) = (80, 24);

fn take(fs: &RealFs, state_path: &Path, rows: usize) -> Picture {
    let ask = |question: &Question| control::view(state_path, question);
    let Some(mut status) = ask(&Question::Status) else { return Picture::default() };
    measure(fs, state_path, &mut status);
    Picture { status: Some(status), waiting: ask(&Question::Waiting(rows)), recent: ask(&Question::Recent) }
}

/// Adds what an ingestor that publishes no metrics does not measure.
fn measure(fs: &RealFs, state_path: &Path, status: &mut Value) {
    if status["journal"]["bytes"].is_null()
        && let Ok(usage) = Usage::measure(fs, state_path)
    {
        status["journal"]["bytes"] = (usage.segment_bytes + usage.snapshot_bytes).into();
        status["journal"]["snapshot_bytes"] = usage.newest_snapshot_bytes.into();
    }
    if status["disks"].as_array().is_some_and(Vec::is_empty) {
        let place = |key: &str| Some((key.to_owned(), PathBuf::from(status[key].as_str()?)));
        let places: Vec<_> = ["input", "warehouse", "manifests", "state_path"].into_iter().filter_map(place).collect();
        let told = disks::measure(fs, &places);
        status["disks"] =
            told.iter().map(|disk| json!({ "places": disk.places, "free_bytes": disk.free_bytes })).collect();
    }
}

/// Shows it until a signal comes.
pub(super) fn execute(fs: &RealFs, state_path: &Path, as_json: bool) -> Result<(), Error> {
    if !as_json && !io::stdout().is_terminal() {
        let why = "--watch redraws a terminal, and standard output is none: with --json, it prints a line every 2 s";
        return Err(Error::Usage(why.to_owned()));
    }
    let signals = Signals::install()?;
    if as_json { print(fs, state_path, &signals) } else { Ok(draw(fs, state_path, &signals)?) }
}

/// Prints a line each time, until its reader goes away.
fn print(fs: &RealFs, state_path: &Path, signals: &Signals) -> Result<(), Error> {
    loop {
        let began = Instant::now();
        let picture = take(fs, state_path, screen::WAITING_ROWS_MAX);
        let whole = json!({ "status": picture.status, "waiting": picture.waiting, "recent": picture.recent });
        print_lines([text(&whole)])?;
        if is_closed() || !signals.wait(began + INTERVAL) {
            return Ok(());
        }
    }
}

/// True if nothing reads standard output any more.
fn is_closed() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let out = io::stdout();
    let mut ends = [PollFd::new(&out, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&now)).is_ok() && ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

fn draw(fs: &RealFs, state_path: &Path, signals: &Signals) -> io::Result<()> {
    let _shown = Shown::begin()?;
    let mut last_answer = None;
    loop {
        let began = Instant::now();
        let (columns, rows) = size();
        let picture = take(fs, state_path, rows.min(screen::WAITING_ROWS_MAX));
        if picture.status.is_some() {
            last_answer = Some(began);
        }
        let silent = last_answer.map(|at| began.duration_since(at));
        show(&screen(&picture, state_path, silent, (columns, rows)))?;
        if !signals.wait(began + INTERVAL) {
            return Ok(());
        }
        if signals.suspended.swap(false, Ordering::Relaxed) {
            write(LEAVE)?;
            // Its default action: the process stops here until it is continued.
            signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
            write(ENTER)?;
        }
    }
}

/// Writes over the picture before, line by line: clearing all of it first would flicker.
fn show(lines: &[String]) -> io::Result<()> {
    write(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\n")))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col).min(WATCH_COLUMNS_MAX), usize::from(size.ws_row).min(WATCH_ROWS_MAX))
        }
        _ => SIZE,
    }
}

/// The terminal is ours as long as this exists.
struct Shown;

impl Shown {
    fn begin() -> io::Result<Shown> {
        write(ENTER)?;
        Ok(Shown)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = write(LEAVE);
    }
}

struct Signals {
    stop: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
    suspended: Arc<AtomicBool>,
}

impl Signals {
    fn install() -> Result<Signals, Error> {
        let signals = Signals { stop: signals::flag()?, resized: Arc::default(), suspended: Arc::default() };
        signal_hook::flag::register(SIGWINCH, signals.resized.clone())?;
        signal_hook::flag::register(SIGCONT, signals.resized.clone())?;
        signal_hook::flag::register(SIGTSTP, signals.suspended.clone())?;
        Ok(signals)
    }

    /// Waits until then, or until there is something to do earlier. False: it is to end.
    fn wait(&self, until: Instant) -> bool {
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            if self.resized.swap(false, Ordering::Relaxed) || self.suspended.load(Ordering::Relaxed) {
                return true;
            }
            thread::sleep(STEP);
        }
        !self.stop.load(Ordering::Relaxed)
    }
}
